"""What a run makes, and its removal.

Everything carries the run's id. So it is found even if the answer to its call was lost.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from botocore.exceptions import BotoCoreError, ClientError

from .account import DENIED, Account, code_of
from .progress import WaitTimedOut
from .table import Answer, CheckError, Question

TAG = "frontload:check"
"""Not a tag of Frontload: a deployed stack's reaper would treat what it finds as its own."""
PARAMETERS = "/frontload-check"
OBJECTS = "frontload-check"
STACKS = "frontload-check-"
NOTHING_LEFT = Question(
    "nothing is left",
    "delete, and look whether everything that carries this run's tag is gone",
    "The account is as it was, but for SSM's history of commands.",
    "Something still costs money. Run it with --clean-up, or delete it by hand.",
)


class CreatedResource(NamedTuple):
    """Something that a run made."""

    kind: str
    id: str
    run: str

    def __str__(self) -> str:
        return f"{self.kind} {self.id} (run {self.run})"


def tags(account: Account, name: str, *kinds: str) -> list[dict[str, Any]]:
    """`TagSpecifications` for what a call to EC2 makes."""
    own = [{"Key": TAG, "Value": account.run}, {"Key": "Name", "Value": f"frontload check {name}"}]
    return [{"ResourceType": kind, "Tags": own} for kind in kinds]


class CreatedResources:
    """What this run made so far; `bucket` is where a template may have been put."""

    def __init__(self, account: Account, bucket: str | None = None) -> None:
        self._account = account
        self._bucket = bucket
        self._noted: set[CreatedResource] = set()

    def note(self, kind: str, id: str) -> None:
        """Remember what was made, because EC2 may not find it by its tag yet."""
        self._noted.add(CreatedResource(kind, id, self._account.run))

    def find(self, run: str | None = None) -> list[CreatedResource]:
        """What a run left, or what all runs left, as AWS finds it."""
        account = self._account
        found = [*_tagged(account, run), *_parameters(account), *_stacks(account)]
        if self._bucket:
            found += _objects(account, self._bucket)
        return [thing for thing in found if run in (None, thing.run)]

    def remove(self, run: str | None, limit: float, pause: float) -> Answer:
        """Remove what a run made, or what all runs made. Raises CheckError with what is left."""
        removal = _Removal(self._account, self._bucket)
        noted = self._noted if run else set()

        def look() -> tuple[Any, str]:
            left = removal.step(noted, lambda: self.find(run))
            if removal.hopeless_looks >= HOPELESS_LOOKS:
                raise CheckError(f"what is left may not be removed: {left}", removal.errors())
            return (True if removal.clean_looks >= CLEAN_LOOKS else None), left

        try:
            self._account.progress.wait_for("the removal", look, limit, pause)
        except WaitTimedOut as late:
            raise CheckError(str(late), removal.errors()) from late
        count = len(removal.gone)
        return Answer(f"{count} removed" if count else "nothing was made")


class _Removal:
    """One removal, step by step."""

    def __init__(self, account: Account, bucket: str | None) -> None:
        self._account = account
        self._bucket = bucket
        self.gone: set[CreatedResource] = set()
        self.clean_looks = 0
        self.hopeless_looks = 0
        self._errors: dict[str, Exception] = {}

    def step(self, noted: set[CreatedResource], find: Callable[[], list[CreatedResource]]) -> str:
        """Remove what is there; returns what is left as text."""
        self._errors = {}
        found: set[CreatedResource] = set()
        try:
            found = set(find())
        except (BotoCoreError, ClientError) as error:
            self._errors["looking for it"] = error
        for thing in sorted(found | (noted - self.gone)):
            self._remove(thing)
        left = found | (noted - self.gone)
        self.clean_looks = 0 if left or self._errors else self.clean_looks + 1
        denied = self._errors and all(code_of(one) in DENIED for one in self._errors.values())
        self.hopeless_looks = self.hopeless_looks + 1 if denied else 0
        return ", ".join([*map(str, sorted(left)), *sorted(self._errors)]) or "nothing"

    def _remove(self, thing: CreatedResource) -> None:
        try:
            done = REMOVERS[thing.kind](self._account, thing, self._bucket)
        except (BotoCoreError, ClientError) as error:
            done = code_of(error).endswith("NotFound")
            if not done:
                self._errors[str(thing)] = error
        if done:
            self.gone.add(thing)

    def errors(self) -> str:
        """Why the last step did not remove everything."""
        return "\n".join(f"{what}: {why}" for what, why in sorted(self._errors.items()))


CLEAN_LOOKS = 2
"""EC2 may show a resource late after it was made, and for a moment after it was deleted."""
HOPELESS_LOOKS = 5
"""After so many looks with only denials left, it is of no use to wait longer."""


def _tagged(account: Account, run: str | None) -> Iterator[CreatedResource]:
    mine = {"Name": "tag-key", "Values": [TAG]}
    if run:
        mine = {"Name": f"tag:{TAG}", "Values": [run]}
    for kind, operation, list_of in (
        ("instance", "describe_instances", _instances),
        ("volume", "describe_volumes", lambda page: page["Volumes"]),
        ("snapshot", "describe_snapshots", lambda page: page["Snapshots"]),
    ):
        own = {"OwnerIds": ["self"]} if kind == "snapshot" else {}
        for page in account.ec2.get_paginator(operation).paginate(Filters=[mine], **own):
            for one in list_of(page):
                state = one["State"]["Name"] if kind == "instance" else one.get("State")
                if state not in ("terminated", "deleting", "deleted"):
                    told = {tag["Key"]: tag["Value"] for tag in one.get("Tags", [])}
                    id_field = f"{kind.capitalize()}Id"
                    yield CreatedResource(kind, one[id_field], told.get(TAG, "?"))


def _instances(page: dict[str, Any]) -> list[dict[str, Any]]:
    return [one for reservation in page["Reservations"] for one in reservation["Instances"]]


def _parameters(account: Account) -> Iterator[CreatedResource]:
    pages = account.ssm.get_paginator("get_parameters_by_path")
    for page in pages.paginate(Path=PARAMETERS, Recursive=True):
        for one in page["Parameters"]:
            yield CreatedResource("parameter", one["Name"], one["Name"].split("/")[2])


def _stacks(account: Account) -> Iterator[CreatedResource]:
    pages = account.client("cloudformation").get_paginator("describe_stacks")
    for page in pages.paginate():
        for one in page["Stacks"]:
            name = one["StackName"]
            if name.startswith(STACKS) and one["StackStatus"] != "DELETE_COMPLETE":
                yield CreatedResource("stack", name, name.removeprefix(STACKS))


def _objects(account: Account, bucket: str) -> Iterator[CreatedResource]:
    pages = account.client("s3").get_paginator("list_objects_v2")
    for page in pages.paginate(Bucket=bucket, Prefix=f"{OBJECTS}/"):
        for one in page.get("Contents", []):
            yield CreatedResource("object", one["Key"], one["Key"].split("/")[1])


def _remove_instance(account: Account, thing: CreatedResource, _: str | None) -> bool:
    found = account.ec2.describe_instances(InstanceIds=[thing.id])
    states = [one["State"]["Name"] for one in _instances(found)]
    if all(state == "terminated" for state in states):
        return True
    if states != ["shutting-down"]:
        account.ec2.terminate_instances(InstanceIds=[thing.id])
    return False


def _remove_volume(account: Account, thing: CreatedResource, _: str | None) -> bool:
    found = account.ec2.describe_volumes(VolumeIds=[thing.id])["Volumes"]
    # An attached volume goes with its instance, or is free when the instance has ended.
    if found and found[0]["State"] != "in-use":
        account.ec2.delete_volume(VolumeId=thing.id)
        return True
    return not found


def _remove_snapshot(account: Account, thing: CreatedResource, _: str | None) -> bool:
    account.ec2.delete_snapshot(SnapshotId=thing.id)
    return True


def _remove_parameter(account: Account, thing: CreatedResource, _: str | None) -> bool:
    account.ssm.delete_parameters(Names=[thing.id])
    return True


def _remove_stack(account: Account, thing: CreatedResource, _: str | None) -> bool:
    formation = account.client("cloudformation")
    try:
        (stack,) = formation.describe_stacks(StackName=thing.id)["Stacks"]
    except ClientError as error:
        if code_of(error) != "ValidationError":
            raise
        return True
    if stack["StackStatus"] == "DELETE_COMPLETE":
        return True
    if stack["StackStatus"] != "DELETE_IN_PROGRESS":
        formation.delete_stack(StackName=thing.id)
    return False


def _remove_object(account: Account, thing: CreatedResource, bucket: str | None) -> bool:
    account.client("s3").delete_object(Bucket=bucket, Key=thing.id)
    return True


REMOVERS: dict[str, Callable[[Account, CreatedResource, str | None], bool]] = {
    "instance": _remove_instance,
    "volume": _remove_volume,
    "snapshot": _remove_snapshot,
    "parameter": _remove_parameter,
    "object": _remove_object,
    "stack": _remove_stack,
}
