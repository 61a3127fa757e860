"""One real small builder: launched, used, ended and snapshotted as Frontload does it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tools import pull_script

from .account import Account, Options
from .commands import HERE, PROBE, for_admin, require_success, run_command
from .created import CreatedResources, tags
from .dry_runs import KEEP, SNAPSHOT, DryRuns, kept
from .launches import DATA_DEVICE, Launch
from .rust import PULL_SECONDS, BuilderInput
from .scripts import PATHS, host_programs, identity, programs
from .table import Answer, CheckError, Question, Table

ORCHESTRATION = "/document/orchestration/"
"""In the path of the SSM agent's copy of a command; the script reads its id from the path."""
EXPIRY_SECONDS = 5400
PROBE_SECONDS, LIST_SECONDS = 30, 120

LAUNCHED = Question(
    "builder is launched",
    "ec2:RunInstances with the real profile, user data and block devices",
    "The request is complete, and the instance profile can be passed.",
    "No build gets a builder.",
)
ONLINE = Question(
    "builder is online",
    "ssm:DescribeInstanceInformation until PingStatus Online",
    "Bottlerocket boots with this user data, pulls its control container, and reaches SSM.",
    "Every build fails in the step LaunchBuilder: the subnet has no way to AWS (see "
    "builder.publicIp), or the role may not pull the control container or register.",
)
ANSWERS = Question(
    "admin container answers",
    f"`{PROBE}` by SSM",
    "The user data switches the admin container on.",
    "Every build fails in the step LaunchBuilder.",
)
LISTED = Question(
    "what is in the admin container",
    "which programs and paths exist that Frontload's script uses",
    "The script finds what it uses, and SSM's agent keeps its commands where the script thinks.",
    "Every build fails in the step PullImages, or leaves something of the builder in its snapshot.",
)
PULLED = Question(
    "real command",
    "the command of a build of one small image, from Frontload's own code",
    "A build pulls, checks and flushes its images.",
    "Every build fails in the step PullImages.",
)
STAYS = Question(
    "data volume stays",
    "ec2:ModifyInstanceAttribute, and DeleteOnTermination seen to be false",
    "The volume outlives its builder.",
    "Every build fails in the step End.",
)
ENDS = Question(
    "builder ends in order",
    "ec2:TerminateInstances, until it is terminated and the volume available",
    "The shutdown is over before the snapshot is made.",
    "Frontload gives up every build: an end that takes longer than it trusts, or loses the volume.",
)
SNAPSHOTTED = Question(
    "snapshot is completed",
    "ec2:CreateSnapshot of the volume, until it is completed",
    "A build ends with a snapshot.",
    "Every build fails in the step SnapshotVolume.",
)
QUESTIONS = (
    LAUNCHED,
    ONLINE,
    ANSWERS,
    LISTED,
    PULLED,
    KEEP,
    STAYS,
    ENDS,
    SNAPSHOT,
    SNAPSHOTTED,
)


@dataclass(frozen=True)
class BuilderResult:
    """The results of the builder, as far as it came."""

    snapshot: str | None = None
    digest: str | None = None
    """The image's digest; None when it was not pulled."""


@dataclass(frozen=True)
class Builder:
    """The rows of one builder."""

    account: Account
    options: Options
    table: Table
    created: CreatedResources

    def build(self, launch: Launch, given: BuilderInput, dry_runs: DryRuns) -> BuilderResult:
        """Ask all rows; each may need the one before it."""
        ask = self.table.ask
        instance = ask(LAUNCHED, lambda: self.launch(launch, "builder"))
        if instance is None or ask(ONLINE, lambda: self.wait_online(instance)) is None:
            self._skip_rest("the builder did not come online")
            return BuilderResult()
        digest = self._use(instance, given)
        dry_runs.keep(instance)
        volume = ask(STAYS, lambda: self._keep_volume(instance))
        if volume is None or ask(ENDS, lambda: self._end(instance, volume)) is None:
            self._skip_rest("the builder did not end with its volume kept")
            return BuilderResult(digest=digest)
        dry_runs.create_snapshot(volume)
        return BuilderResult(ask(SNAPSHOTTED, lambda: self._snapshot(volume)), digest)

    def _skip_rest(self, reason: str) -> None:
        answered = {row.name for row in self.table.rows}
        self.table.skip_all([one for one in QUESTIONS if one.name not in answered], reason)

    def _use(self, instance: str, given: BuilderInput) -> str | None:
        """Ask the rows about what runs on it; returns the digest that was pulled."""
        ask = self.table.ask
        if ask(ANSWERS, lambda: self.wait_answering(instance)) is None:
            self.table.skip_all((LISTED, PULLED), "the admin container does not answer")
            return None
        ask(LISTED, lambda: self._list_programs(instance))
        return ask(PULLED, lambda: self._pull(instance, given))

    # Launch

    def launch(self, launch: Launch, name: str, snapshot: str | None = None) -> Answer:
        """Launch a builder; the answer's value is its id."""
        asked = launch.request(name, self.options.subnet, snapshot)
        answer = self.account.ec2.run_instances(**asked)
        instance = answer["Instances"][0]["InstanceId"]
        self.created.note("instance", instance)
        return Answer(f"{instance}, {self.options.machine}", instance)

    def wait_online(self, instance: str) -> Answer:
        """Wait until SSM's agent is online.

        Raises WaitTimedOut at the limit, and CheckError when the instance ends before.
        """
        limits, begun = self.account.limits, self.account.progress.seconds

        def look() -> tuple[Any, str]:
            state = self.describe(instance)["State"]["Name"]
            if state in ("shutting-down", "terminated", "stopping", "stopped"):
                reason = self.describe(instance).get("StateReason", {}).get("Message", "no reason")
                raise CheckError(f"{instance} is {state}: {reason}")
            wanted = {"Key": "InstanceIds", "Values": [instance]}
            shown = self.account.ssm.describe_instance_information(Filters=[wanted])
            pings = [one["PingStatus"] for one in shown["InstanceInformationList"]]
            return (True if pings == ["Online"] else None), f"{state}, {pings or 'no agent yet'}"

        self._wait(f"{instance} to come online", look, limits.online)
        seconds = self.account.progress.seconds - begun
        return Answer(f"Online {seconds:.0f} s after the launch", True)

    def wait_answering(self, instance: str) -> Answer:
        """Wait until the admin container takes commands. Raises WaitTimedOut at the limit."""
        probes = 0

        def look() -> tuple[Any, str]:
            nonlocal probes
            probes += 1
            ended = run_command(self.account, instance, "probe", PROBE, PROBE_SECONDS)
            return (True if ended.status == "Success" else None), ended.output[
                -200:
            ] or ended.details

        limit = self.account.limits.answering
        self._wait(f"the admin container of {instance}", look, limit)
        return Answer(f"exit code 0, at probe {probes}", True)

    def describe(self, instance: str) -> dict[str, Any]:
        """The instance as EC2 shows it; one that EC2 does not show yet is pending."""
        found = self.account.ec2.describe_instances(
            Filters=[{"Name": "instance-id", "Values": [instance]}]
        )["Reservations"]
        return found[0]["Instances"][0] if found else {"State": {"Name": "pending"}}

    def _wait(self, what: str, look: Callable[[], tuple[Any, str]], limit: float) -> Any:
        return self.account.progress.wait_for(what, look, limit, self.account.limits.pause)

    # Use

    def _list_programs(self, instance: str) -> Answer:
        pull = pull_script.text()
        spoken = [pull, *(script.read_text() for script in HERE.glob("*.sh"))]
        text = for_admin(
            "programs.sh",
            programs=programs(*spoken),
            host_programs=host_programs(*spoken),
            paths=PATHS,
            places=identity(pull),
            seconds=str(EXPIRY_SECONDS),
        )
        ended = require_success(
            run_command(self.account, instance, "list of programs", text, LIST_SECONDS)
        )
        lines = ended.stdout.splitlines()
        told = dict(line.split(" ", 1) for line in lines if " " in line)
        absent = ", ".join(line.removeprefix("absent ") for line in lines if line[:7] == "absent ")
        missing = [line.removeprefix("missing ") for line in lines if line.startswith("missing ")]
        if ORCHESTRATION not in told.get("agent", ""):
            missing.append(f"{ORCHESTRATION} in the path {told.get('agent', '')!r} of SSM's agent")
        if missing:
            raise CheckError(f"missing: {', '.join(missing)}", ended.stdout)
        said = f"all there; bash {told.get('bash')}, {told.get('admin')}, on {told.get('host')}"
        if absent:
            said += f"; of the places that are emptied there is no {absent}"
        return Answer(said, True, ended.stdout)

    def _pull(self, instance: str, given: BuilderInput) -> Answer:
        what = f"pull of {self.options.image}"
        ended = run_command(self.account, instance, what, given.command, PULL_SECONDS)
        try:
            report = json.loads(ended.stdout)
        except ValueError as error:
            said = f"SSM says {ended.details}, and the output is no report: {ended.output[-300:]}"
            raise CheckError(said, ended.output) from error
        if report.get("outcome") != "pulled":
            said = f"{report.get('step')}: {report.get('image')} {report.get('reason')}"
            raise CheckError(said, ended.output)
        require_success(ended)
        digests = report.get("digests", [])
        if len(digests) != 1 or report.get("flushed") is not True:
            raise CheckError("the report is not that of one flushed image", ended.output)
        return Answer(
            f"pulled {digests[0]} in {ended.seconds:.0f} s, {report.get('usedBytes', 0):,} bytes "
            f"used; containerd {report.get('containerd')}, kernel {report.get('kernel')}",
            digests[0],
            ended.output,
        )

    # End, as functions/src/steps/end.rs does it

    def _keep_volume(self, instance: str) -> Answer:
        begun = self.account.progress.seconds

        def look() -> tuple[Any, str]:
            shown = self.describe(instance)
            volumes = {one["DeviceName"]: one["Ebs"] for one in shown["BlockDeviceMappings"]}
            if DATA_DEVICE not in volumes:
                raise CheckError(f"EC2 shows no {DATA_DEVICE} of {instance}")
            data = volumes[DATA_DEVICE]
            if data["DeleteOnTermination"] is False:
                self.created.note("volume", data["VolumeId"])
                return data["VolumeId"], ""
            self.account.ec2.modify_instance_attribute(
                InstanceId=instance, BlockDeviceMappings=[kept()]
            )
            return None, f"{data['VolumeId']} still goes with {instance}"

        volume = self._wait("the volume to stay", look, self.account.limits.trusted_end)
        seconds = self.account.progress.seconds - begun
        return Answer(f"{volume}: DeleteOnTermination is false, seen after {seconds:.0f} s", volume)

    def _end(self, instance: str, volume: str) -> Answer:
        begun = self.account.progress.seconds
        self.account.ec2.terminate_instances(InstanceIds=[instance])

        def look() -> tuple[Any, str]:
            state = self.describe(instance)["State"]["Name"]
            if state != "terminated":
                return None, f"{instance} is {state}"
            found = self.account.ec2.describe_volumes(
                Filters=[{"Name": "volume-id", "Values": [volume]}]
            )["Volumes"]
            if not found or found[0]["State"] == "deleting":
                raise CheckError(f"{volume} went with {instance} although it was to stay")
            left = found[0]["State"]
            return (True if left == "available" else None), f"{volume} is {left}"

        self._wait(f"the end of {instance}", look, self.account.limits.end)
        seconds = self.account.progress.seconds - begun
        if seconds > self.account.limits.trusted_end:
            raise CheckError(f"terminated, and {volume} available, only after {seconds:.0f} s")
        said = f"terminated, and {volume} available, after {seconds:.0f} s"
        return Answer(said, True)

    def _snapshot(self, volume: str) -> Answer:
        begun = self.account.progress.seconds
        created = self.account.ec2.create_snapshot(
            VolumeId=volume, TagSpecifications=tags(self.account, "snapshot", "snapshot")
        )
        snapshot = created["SnapshotId"]
        self.created.note("snapshot", snapshot)

        def look() -> tuple[Any, str]:
            (shown,) = self.account.ec2.describe_snapshots(
                Filters=[{"Name": "snapshot-id", "Values": [snapshot]}], OwnerIds=["self"]
            )["Snapshots"] or [{"State": "not shown yet"}]
            if shown["State"] == "error":
                raise CheckError(f"{snapshot} is in state error: {shown.get('StateMessage')}")
            done = shown["State"] == "completed"
            return (True if done else None), f"{shown['State']}, {shown.get('Progress')}"

        self._wait(f"{snapshot} to be completed", look, self.account.limits.snapshot)
        seconds = self.account.progress.seconds - begun
        return Answer(f"{snapshot} completed after {seconds:.0f} s", snapshot)
