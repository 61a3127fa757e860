"""A cloud on one machine: everything Frontload talks to, without an AWS account.

`cloud.LocalCloud` starts and stops it. `aws/` is EC2, SSM, ECR and STS (moto, extended),
`ministack.py` is Lambda, Step Functions, EventBridge and CloudFormation, `registry.py` holds
the images, `images.py` makes them, and `builder_host/` is what an instance really runs on.
"""

ACCOUNT = "123456789012"
REGION = "us-east-1"
ECR_HOST = f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com"
PUBLIC_HOST = "registry.example.com"
