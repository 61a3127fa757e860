"""Names of resources in the account that is asked: those of the stack, and made-up ones."""

from __future__ import annotations

from .account import Account
from .template import Stack

Keys = dict[str, str | bool | int | list[str]]
"""Condition keys of a call."""
USUAL_OWNER = "328549459982"
OWNERS = {
    "af-south-1": "917644944286",
    "ap-east-1": "375569722642",
    "ap-south-2": "764716012617",
    "ap-southeast-3": "386774335080",
    "ap-southeast-4": "731751899352",
    "ap-southeast-5": "851725293737",
    "ca-west-1": "253897149516",
    "cn-north-1": "183470599484",
    "cn-northwest-1": "183901325759",
    "eu-central-2": "861738308508",
    "eu-isoe-west-1": "589460436674",
    "eu-south-1": "586180183710",
    "eu-south-2": "620625777247",
    "il-central-1": "288123944683",
    "me-central-1": "553577323255",
    "me-south-1": "509306038620",
    "us-gov-east-1": "388230364387",
    "us-gov-west-1": "347163068887",
}
"""Owners of the control and admin containers where it is not the usual account
(bottlerocket-core-kit, `sources/api/schnauzer/src/helpers/mod.rs`)."""


class Names:
    """ARNs in the home region and in another one, `elsewhere`; `consumer` is another account."""

    def __init__(self, account: Account, stack: Stack, elsewhere: str, consumer: str) -> None:
        self.account = account
        self.stack = stack
        self.home = account.region
        self.elsewhere = elsewhere
        self.consumer = consumer
        self.image = self._public("ec2", "image/ami-0123456789abcdef0")
        self.instance = self.own("ec2", "instance/i-0123456789abcdef0")
        self.volume = self.own("ec2", "volume/vol-0123456789abcdef0")
        self.lease_table = self.own("dynamodb", f"table/{self.id('LeaseTable')}")
        self.queue = self.own("sqs", self.id("DeadLetterQueue").rpartition("/")[2])
        self.bus = self.own("events", "event-bus/default")
        self.builder_role = self._iam(f"role/{self.id('BuilderRole')}")

    def id(self, logical: str) -> str:
        """The physical id of a resource of the template, made up if the stack lacks it."""
        return self.stack.ids.get(logical, f"no-{logical}")

    def own(self, service: str, resource: str, region: str | None = None) -> str:
        """The ARN of a resource of this account."""
        return self.account.arn(service, resource, region)

    def _public(self, service: str, resource: str, region: str | None = None) -> str:
        partition = self.account.partition
        return f"arn:{partition}:{service}:{region or self.home}::{resource}"

    def _iam(self, resource: str, account: str | None = None) -> str:
        return f"arn:{self.account.partition}:iam::{account or self.account.id}:{resource}"

    def service(self, name: str, region: str | None = None) -> str:
        """A service's name as in condition keys, with the region if one is given."""
        suffix = "amazonaws.com.cn" if self.account.partition == "aws-cn" else "amazonaws.com"
        return ".".join(filter(None, (name, region, suffix)))

    def snapshot(self, region: str | None = None, id: str = "snap-0123456789abcdef0") -> str:
        """A snapshot; one that a call would make has an asterisk as its id."""
        return self._public("ec2", f"snapshot/{id}", region)

    def document(self, name: str) -> str:
        """A document that SSM provides."""
        return self._public("ssm", f"document/{name}")

    def released(self) -> str:
        """A public parameter of Bottlerocket."""
        path = "aws/service/bottlerocket/aws-k8s-1.35/x86_64/latest/image_id"
        return self._public("ssm", f"parameter/{path}")

    def parameter(self, path: str, region: str | None = None) -> str:
        """A parameter of the stack."""
        return self.own("ssm", f"parameter{self.stack.prefix}/{path}", region)

    def published(self) -> list[str]:
        """The parameters of a publication in the region `elsewhere`."""
        names = ("snapshot-id", "manifest")
        return [self.parameter(f"default/x86_64/{name}", self.elsewhere) for name in names]

    def key(self, region: str) -> str:
        """A key of KMS."""
        return self.own("kms", "key/01234567-89ab-cdef-0123-456789abcdef", region)

    def repository(self) -> str:
        """An image repository of this account in the region `elsewhere`."""
        return self.own("ecr", "repository/team/app", self.elsewhere)

    def host_containers(self) -> list[str]:
        """The repositories that a builder's control and admin containers come from."""
        owner = OWNERS.get(self.home, USUAL_OWNER)
        prefix = f"arn:{self.account.partition}:ecr:{self.home}:{owner}:repository/bottlerocket"
        return [f"{prefix}-{container}" for container in ("control", "admin")]

    def function(self, name: str) -> str:
        """A function of the stack."""
        return self.own("lambda", f"function:{self.id(f'{name}Function')}")

    def execution(self, machine: str) -> str:
        """An execution of a state machine of the stack."""
        return f"{self.id(machine).replace(':stateMachine:', ':execution:')}:0123"

    def profile(self, name: str | None = None) -> str:
        """The builders' instance profile, or another."""
        return self._iam(f"instance-profile/{name or self.stack.profile}")

    def consumer_roles(self) -> tuple[str, str]:
        """The roles in the consumer's account that publish and that read."""
        name = self.stack.parameters.get("ConsumerRoleName", "")
        publisher = self._iam(f"role/{name}", self.consumer)
        return publisher, f"{publisher}-reader"

    def log_stream(self, function: str) -> str:
        """A log stream of a function."""
        group = self.id(f"{function}LogGroup")
        return self.own("logs", f"log-group:{group}:log-stream:check")

    def tagged(self, stack: str | None = None) -> Keys:
        """The condition keys of a resource with the tag of this stack, or of another."""
        value = stack or self.stack.name
        return {f"{of}:ResourceTag/frontload:stack": value for of in ("aws", "ec2")}

    def tagging(self, stack: str | None = None) -> Keys:
        """The condition keys of a call that makes something with that tag."""
        return {"aws:RequestTag/frontload:stack": stack or self.stack.name}
