"""A second small builder with a data volume from the snapshot, and what came with the volume."""

from __future__ import annotations

from tools import pull_script

from .builder import EXPIRY_SECONDS, LIST_SECONDS, Builder, BuilderResult
from .commands import for_admin, require_success, run_command
from .launches import Launch
from .scripts import HOST_CONTAINERS, OF_SCRIPTS, identity
from .table import Answer, CheckError, Question

SNAPSHOTTER = "overlayfs"

LAUNCHED = Question(
    "builder from the snapshot",
    "ec2:RunInstances with the data volume from it, until SSM and the admin container answer",
    "A node or an incremental build boots from such a snapshot.",
    "Nodes that start from a snapshot do not boot, or SSM's agent does not register.",
)
HELD = Question(
    "what the snapshot holds",
    "files outside of containerd's store that are older than this builder",
    "Nothing that makes one instance this one is carried to the nodes.",
    "Every node starts with the builder's keys, logs or state; see the details.",
)
IMAGE = Question(
    "image is there",
    "`ctr images ls` and `ctr images check`, by tag and by digest",
    "A pod finds the image by either name without a registry.",
    "Nodes pull the image again: the snapshot is of no use.",
)
STARTS = Question(
    "container starts",
    "`ctr run` of the image, without pulling",
    "The unpacked layers are whole.",
    "Pods do not start from the snapshot, or `ctr run` is not allowed on this host.",
)
QUESTIONS = (LAUNCHED, HELD, IMAGE, STARTS)


def ask_restored(builder: Builder, launch: Launch, came_to: BuilderResult) -> None:
    """Ask the rows of the second builder."""
    table = builder.table
    if came_to.snapshot is None:
        table.skip_all(QUESTIONS, "there is no snapshot")
        return
    restored = _Restored(builder, came_to)
    if table.ask(LAUNCHED, lambda: restored.launch(launch)) is None:
        table.skip_all(QUESTIONS[1:], "the second builder does not answer")
        return
    if came_to.digest is None:
        table.skip_all(QUESTIONS[1:], "the real command failed: Frontload would make no snapshot")
        return
    table.ask(HELD, restored.list_what_came)
    if not restored.lines:
        table.skip_all((IMAGE, STARTS), "the list was not made")
        return
    table.ask(IMAGE, restored.find_image)
    table.ask(STARTS, restored.start_container)


class _Restored:
    """The second builder; `lines` is what it listed."""

    def __init__(self, builder: Builder, came_to: BuilderResult) -> None:
        self._builder = builder
        self._came_to = came_to
        self._instance = ""
        self.lines: list[str] = []

    def launch(self, launch: Launch) -> Answer:
        """Launch it, and wait until it takes commands."""
        snapshot = self._came_to.snapshot
        self._instance = self._builder.launch(launch, "restored builder", snapshot).value
        online = self._builder.wait_online(self._instance)
        self._builder.wait_answering(self._instance)
        return Answer(f"{self._instance} from {snapshot}: {online.said}", True)

    def list_what_came(self) -> Answer:
        """List what is on the volume outside of containerd's store and older than this builder."""
        launched = self._builder.describe(self._instance)["LaunchTime"]
        text = for_admin(
            "restored.sh",
            launched=str(int(launched.timestamp())),
            identity=f"{identity(pull_script.text())} {HOST_CONTAINERS} {OF_SCRIPTS}",
            image=self._builder.options.image,
            digest=str(self._came_to.digest),
            snapshotter=SNAPSHOTTER,
            seconds=str(EXPIRY_SECONDS),
        )
        ended = require_success(
            run_command(self._builder.account, self._instance, "list", text, LIST_SECONDS)
        )
        self.lines = ended.stdout.splitlines()
        counts = {kind: int(count) for kind, count in self._rows("count")}
        if set(counts) != {"identity", "other", "directory"}:
            raise CheckError(f"the list is not whole: {ended.output[-300:]}", ended.output)
        files = [
            " ".join(line.split(" ")[2:]) for line in self.lines if line.startswith("identity")
        ]
        if counts["identity"]:
            shown = ", ".join(files[:5])
            raise CheckError(f"{counts['identity']} files of the builder: {shown}", ended.output)
        said = f"{counts['other']} other files, {counts['directory']} directories, none of identity"
        return Answer(said, True, ended.stdout)

    def _rows(self, first: str) -> list[list[str]]:
        """The other words of the lines that begin with this one."""
        return [line.split(" ")[1:] for line in self.lines if line.split(" ")[0] == first]

    def find_image(self) -> Answer:
        """Check that containerd knows the image under both names, complete and unpacked."""
        wrong = [
            f"{name} has digest {digest} and is {' '.join(state)}"
            for name, digest, *state in self._rows("image")
            if (digest, state) != (self._came_to.digest, ["complete", "true"])
        ]
        names = self._rows("image")
        if wrong or len(names) != 2:
            raise CheckError("; ".join(wrong) or "the list names no image")
        return Answer(f"complete and unpacked as {' and '.join(one[0] for one in names)}")

    def start_container(self) -> Answer:
        """Check that the container's program printed what it should."""
        said = " ".join(one for row in self._rows("container") for one in row)
        if said != "started":
            raise CheckError(f"it printed {said!r}")
        return Answer("it ran /bin/echo")
