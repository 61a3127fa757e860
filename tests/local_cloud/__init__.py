"""A cloud on one machine: everything Frontload talks to, without an AWS account.

`cloud.LocalCloud` starts and stops it. `aws/` is EC2, SSM, ECR, KMS and STS (moto, extended),
`ministack.py` is Lambda, Step Functions, EventBridge, Scheduler, DynamoDB and CloudFormation,
`registry.py` stores the images, `images.py` makes them, `ecr_events.py` makes the events that ECR
sends to the bus, and `builder_host/` really runs the instances.
"""

ACCOUNT = "123456789012"
REGION = "us-east-1"
CONSUMERS = ("210987654321", "345678901234")
"""Accounts that launch nodes; any other twelve digits name an account too."""
REGIONS = (REGION, "eu-west-1", "ap-southeast-2")
"""The regions that are used most; the local cloud has every other region of AWS too."""
ECR_HOST = f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com"
PUBLIC_HOST = "registry.example.com"
