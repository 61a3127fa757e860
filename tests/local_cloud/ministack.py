"""MiniStack: the services that the AWS layer does not serve.

They are Lambda, Step Functions, EventBridge, Scheduler, DynamoDB, CloudFormation, IAM, S3 and
CloudWatch Logs. AWS_ENDPOINT_URL leads a Lambda here for all services outside `LAYER_SERVICES`.
"""

from __future__ import annotations

import json
from pathlib import Path

from . import ACCOUNT, REGION
from .processes import Process, answers_http, clean_environment, python_module

READY_SECONDS = 30.0
LAYER_SERVICES = ("EC2", "SSM", "ECR", "KMS", "STS")
"""Services of our AWS layer; the Lambdas' SDK finds it by the variables AWS_ENDPOINT_URL_<name>."""
FUNCTION_TOKEN = "function-role."
"""Prefix of the session token of a Lambda's credentials; the role's name follows."""
ASSUMED_TOKEN = "assumed-role."
"""Prefix of the session token of an assumed role; the role's name and a slash follow."""
OWN_SERVICES = ("DYNAMODB", "SFN", "EVENTBRIDGE")
"""Services of MiniStack itself that the Lambdas call."""


def environment(
    home: Path,
    port: int,
    endpoints: dict[str, str],
    wait_scale: float,
    latencies: dict[str, float],
) -> dict[str, str]:
    """MiniStack's whole environment, which the Lambdas inherit.

    `endpoints` are URLs by a service's name in the variables. MiniStack serves all other services.
    """
    home.mkdir(parents=True, exist_ok=True)
    return clean_environment(
        home,
        GATEWAY_PORT=str(port),
        BIND_HOST="127.0.0.1",
        MINISTACK_ACCOUNT_ID=ACCOUNT,
        MINISTACK_REGION=REGION,
        STATE_DIR=str(home / "state"),
        S3_DATA_DIR=str(home / "s3"),
        LAMBDA_EXECUTOR="local",
        SFN_WAIT_SCALE=str(wait_scale),
        FRONTLOAD_LOCAL_LATENCIES=json.dumps(latencies),
        SFTP_ENABLED="0",
        IOT_MTLS_ENABLED="0",
        # MiniStack must not look for a Docker daemon of this machine.
        DOCKER_HOST=f"unix://{home}/no-docker.sock",
        # MiniStack treats a 12-digit access key id as the account.
        AWS_ACCESS_KEY_ID=ACCOUNT,
        AWS_SECRET_ACCESS_KEY="local",
        AWS_REGION=REGION,
        AWS_DEFAULT_REGION=REGION,
        AWS_ENDPOINT_URL=f"http://127.0.0.1:{port}",
        **{f"AWS_ENDPOINT_URL_{service}": url for service, url in endpoints.items()},
    )


class MiniStack:
    """A running MiniStack; `latencies` are `ministack_record.Latencies`."""

    def __init__(
        self,
        home: Path,
        port: int,
        endpoints: dict[str, str],
        wait_scale: float,
        latencies: dict[str, float],
    ) -> None:
        self.url = f"http://127.0.0.1:{port}"
        variables = environment(home, port, endpoints, wait_scale, latencies)
        self.process = Process(
            "MiniStack",
            python_module("local_cloud.ministack_server"),
            variables,
            home / "ministack.log",
        )

    def wait_until_ready(self) -> None:
        """Return when MiniStack answers. Raises StartError."""
        self.process.wait_until_ready(
            lambda: answers_http(f"{self.url}/_ministack/health"), READY_SECONDS
        )
