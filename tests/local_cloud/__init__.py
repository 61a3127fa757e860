"""A cloud on one machine: everything Frontload talks to, without an AWS account.

`cloud.LocalCloud` starts and stops it. `aws/` is EC2, SSM, ECR, KMS and STS (moto, extended),
`ministack.py` is Lambda, Step Functions, EventBridge, Scheduler, DynamoDB and CloudFormation,
`registry.py` holds the images, `images.py` makes them, `ecr_events.py` is what ECR tells the bus,
and `builder_host/` is what an instance really runs on.
"""

ACCOUNT = "123456789012"
REGION = "us-east-1"
CONSUMERS = ("210987654321", "345678901234")
"""Accounts that launch nodes; any other twelve digits are an account too."""
REGIONS = (REGION, "eu-west-1", "ap-southeast-2")
"""Where the local cloud is used most; every other region of AWS is there too."""
ECR_HOST = f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com"
PUBLIC_HOST = "registry.example.com"
