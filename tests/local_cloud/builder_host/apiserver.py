#!/usr/bin/python3 -IS
"""Bottlerocket's API server, as far as it runs commands in host containers, together with the
`ctr task exec` that it starts for each. A program of its own, started by `instance` on the host;
`apiclient` is its client.

It loses, mixes and refuses what the real one does. What is chance in reality is drawn here from
the number in the host's /run/apiclient.seed, when there is one: the same commands after the same
number have the same luck. In brackets: the source, a path of bottlerocket-core-kit or containerd,
or "measured", by running both with real containers.
"""

import bisect
import contextlib
import json
import os
import random
import select
import signal
import socket
import struct
import sys
import time
from typing import Any

CONTAINERS = "/run/host-containers"
# [sources/host-ctr/cmd/host-ctr/main.go: withDefaultMounts mounts it into each container]
SOCKETS = (
    "/run/api.sock",
    *(f"{CONTAINERS}/{c}/rootfs/run/api.sock" for c in ("control", "admin")),
)
SEED = "/run/apiclient.seed"
# [sources/api/apiserver/src/server/exec.rs: "Actix has a max 64k message size"]
LARGEST_MESSAGE = 65_536
# [sources/api/apiserver/src/server/exec.rs: MAX_MESSAGES_OUTSTANDING] of 4,096 bytes each.
LARGEST_INPUT_WAITING = 1024 * 4096
# [measured: 30,000 characters came whole, somewhere beyond this the tail was dropped]
LARGEST_OUTPUT = 100_000
# [measured: 7 of 3,000 commands that lived shorter lost all they printed.] Here it is one of ten,
# for tests to notice.
SHORT_LIFE_SECONDS = 0.2
LOST_SHARE = 0.1
# [measured: in 36 of 100 runs a line of stderr came after a line that stdout had got later]
LATE_STREAMS = ("stdout", "stderr", None)
LATE_SECONDS = 0.05
# What follows in a frame, and its length. Stands for the WebSocket's frames.
HEADER = struct.Struct(">cI")


class Refused(Exception):
    """`ctr` runs nothing and says why."""


class Gone(Exception):
    """The client has gone."""


class Client:
    """The connection to one client."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self._incoming = bytearray()

    def first_message(self) -> bytes | None:
        """What to run. Of a message that is too large nothing is looked at, and the connection ends
        without a word. [sources/api/apiserver/src/server/exec.rs: handle, `Err(e)`]"""
        while True:
            for _, content in self.messages():
                return content if len(content) <= LARGEST_MESSAGE else None
            self.receive()

    def receive(self) -> None:
        """Take what has come; raises Gone."""
        try:
            content = self.connection.recv(LARGEST_MESSAGE)
        except ConnectionResetError:
            content = b""
        if not content:
            raise Gone
        self._incoming += content

    def messages(self):
        """The whole messages that have come: kind and content."""
        while len(self._incoming) >= HEADER.size:
            kind, size = HEADER.unpack_from(self._incoming)
            end = HEADER.size + size
            if len(self._incoming) < end:
                break
            content = bytes(self._incoming[HEADER.size : end])
            del self._incoming[:end]
            yield kind, content

    def send(self, kind: bytes, content: bytes) -> None:
        """Send a message; raises Gone."""
        try:
            self.connection.sendall(HEADER.pack(kind, len(content)) + content)
        except (BrokenPipeError, ConnectionResetError):
            raise Gone from None


class Child:
    """A command in a container."""

    def __init__(self, target: str, command: list[bytes]) -> None:
        # Each pair is for reading and for writing.
        stdin, stdout, stderr, failure = (os.pipe() for _ in range(4))
        self.started = time.monotonic()
        self.pid = os.fork()
        if self.pid == 0:
            os.dup2(stdin[0], 0)
            os.dup2(stdout[1], 1)
            os.dup2(stderr[1], 2)
            enter_and_run(target, command, failure[1])
        for fd in (stdin[0], stdout[1], stderr[1], failure[1]):
            os.close(fd)
        self.stdin: int | None = stdin[1]
        self.outputs = {stdout[0]: "stdout", stderr[0]: "stderr"}
        os.set_blocking(self.stdin, False)
        with open(failure[0]) as told:
            reason = told.read()
        if reason:
            os.waitpid(self.pid, 0)
            raise Refused(reason)
        self.ended = os.pidfd_open(self.pid)
        self.code: int | None = None

    def close_input(self) -> None:
        """Let the command read the end of its input."""
        if self.stdin is not None:
            os.close(self.stdin)
            self.stdin = None

    def collect(self) -> float:
        """Keep the exit code; returns how long the command lived.

        [sources/api/apiserver/src/server/exec/child.rs: "Use shell-style return codes for signals"]
        """
        code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        self.code = code if code >= 0 else 128 - code
        return time.monotonic() - self.started


def enter_and_run(target: str, command: list[bytes], failure: int) -> None:
    """Become the command in the container, or tell why not. Never returns."""
    path = f"/usr/lib/bottlerocket/{target}:/usr/sbin:/usr/bin:/sbin:/bin"
    try:
        os.setsid()
        # What this interpreter ignores, the command would, too.
        for number in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        os.chroot(f"{CONTAINERS}/{target}/rootfs")
        os.chdir("/")
        os.execvpe(command[0], command, {"PATH": path, "HOME": "/root"})
    except OSError as error:
        os.write(failure, why_not_run(os.fsdecode(command[0]), error).encode())
    os._exit(1)


def why_not_run(name: str, error: OSError) -> str:
    """What runc says of a command that cannot be run; the exit code is then 1. [measured]"""
    reason = str(error.strerror).lower()
    if "/" not in name:
        reason = "executable file not found in $PATH"
    elif isinstance(error, FileNotFoundError):
        reason = f"stat {name}: {reason}"
    return (
        "OCI runtime exec failed: exec failed: unable to start container process: "
        f'exec: "{name}": {reason}'
    )


def check_runs(target: str, were_running: set[str]) -> None:
    """Raise Refused unless the container runs. [measured]"""
    if is_running(target):
        return
    if target in were_running:
        raise Refused("cannot exec in a stopped state")
    raise Refused(f'container "{target}" in namespace "default": not found')


def is_running(target: str) -> bool:
    """Whether the container takes commands."""
    return "/" not in target and os.path.exists(f"{CONTAINERS}/{target}/ready")


class Output:
    """What the command printed, on its way to the client.

    Both streams go into one pipe [sources/api/apiserver/src/server/exec/child.rs: pipe_fds], each
    copied by a goroutine of `ctr` [containerd cmd/ctr/commands/tasks/exec.go: cio.WithStreams]: one
    of them may be late.
    """

    def __init__(self, luck: random.Random, started: float) -> None:
        self._late = luck.choice(LATE_STREAMS)
        self._may_be_lost = luck.random() < LOST_SHARE
        self._started = started
        self._left = LARGEST_OUTPUT
        self._waiting: list[tuple[float, bytes]] = []

    def add(self, stream: str, content: bytes) -> None:
        """Take something printed just now. The tail of too much is dropped."""
        content = content[: self._left]
        self._left -= len(content)
        due = time.monotonic()
        if stream == self._late:
            due += LATE_SECONDS
        if self._may_be_lost:
            due = max(due, self._started + SHORT_LIFE_SECONDS)
        if content:
            bisect.insort_right(self._waiting, (due, content), key=lambda one: one[0])

    def wait_milliseconds(self) -> int | None:
        """How long until something is due."""
        if not self._waiting:
            return None
        return max(0, round((self._waiting[0][0] - time.monotonic()) * 1000) + 1)

    def take_due(self) -> list[bytes]:
        """What may be sent by now."""
        now = time.monotonic()
        return self._take(sum(due <= now for due, _ in self._waiting))

    def take_rest(self, life_seconds: float) -> list[bytes]:
        """What may be sent after the command's end."""
        if self._may_be_lost and life_seconds < SHORT_LIFE_SECONDS:
            return []
        return self._take(len(self._waiting))

    def _take(self, count: int) -> list[bytes]:
        taken, self._waiting = self._waiting[:count], self._waiting[count:]
        return [content for _, content in taken]


class Input:
    """What the client sent for the command's standard input."""

    def __init__(self, child: Child) -> None:
        self._child = child
        self._any = False
        self._complete = False
        self.waiting = bytearray()

    def add(self, kind: bytes, content: bytes) -> None:
        """Take a message of the client. Text is `ContentComplete`, the end of the input."""
        if kind == b"B":
            self._any = True
            if self._child.stdin is not None:
                self.waiting += content
        else:
            self._complete = True
        self._close_when_written()

    def write(self) -> None:
        """Write what the command's pipe takes. A command that reads no more makes no error."""
        assert self._child.stdin is not None
        try:
            written = os.write(self._child.stdin, self.waiting)
            del self.waiting[:written]
        except BrokenPipeError:
            self.waiting.clear()
            self._child.close_input()
        self._close_when_written()

    def _close_when_written(self) -> None:
        """The end of an *empty* input never reaches the command: `ctr` reads it before it knows how
        to pass it on. [containerd cmd/ctr/commands/tasks/exec.go: `stdinC.closer` is set after
        task.Exec; measured: 38 of 40 commands hung, after data 200 of 200 did not]"""
        if self._any and self._complete and not self.waiting:
            self._child.close_input()


class Execution:
    """One command, between its client and its processes."""

    def __init__(self, client: Client, child: Child, luck: random.Random) -> None:
        self._client, self._child = client, child
        self._input, self._output = Input(child), Output(luck, child.started)
        self._life_seconds = 0.0

    def run(self) -> None:
        """Carry input and output until the command has ended and nobody holds its output any more,
        no process in the background either; raises Gone.

        [measured: containerd 2.1 waits as long as that takes, 1.7 closes the pipe after 2 seconds]
        """
        self._take_messages()
        while self._child.code is None or self._child.outputs:
            for fd, events in self._poll().poll(self._output.wait_milliseconds()):
                self._handle(fd, events)
            self._send(self._output.take_due())
        self._send(self._output.take_rest(self._life_seconds))
        # [sources/api/apiserver/src/server/exec.rs: ProcessReturn]
        self._client.send(b"C", str(self._child.code).encode())

    def _poll(self) -> select.poll:
        poll = select.poll()
        has_room = len(self._input.waiting) < LARGEST_INPUT_WAITING
        poll.register(self._client.connection, select.POLLIN if has_room else 0)
        if self._input.waiting and self._child.stdin is not None:
            poll.register(self._child.stdin, select.POLLOUT)
        if self._child.code is None:
            poll.register(self._child.ended, select.POLLIN)
        for fd in self._child.outputs:
            poll.register(fd, select.POLLIN)
        return poll

    def _handle(self, fd: int, events: int) -> None:
        if fd == self._client.connection.fileno():
            if events & select.POLLHUP:
                raise Gone
            self._client.receive()
            self._take_messages()
        elif fd == self._child.stdin:
            self._input.write()
        elif fd == self._child.ended:
            self._life_seconds = self._child.collect()
        elif fd in self._child.outputs:
            content = os.read(fd, 4096)
            if content:
                self._output.add(self._child.outputs[fd], content)
            else:
                os.close(fd)
                del self._child.outputs[fd]

    def _take_messages(self) -> None:
        for kind, content in self._client.messages():
            self._input.add(kind, content)

    def _send(self, contents: list[bytes]) -> None:
        for content in contents:
            self._client.send(b"B", content)

    def abandon(self) -> None:
        """What becomes of a command whose client is gone.

        The server sends TERM to `ctr`, which passes it on to the command, and to nothing that the
        command started. Nobody reads the output then, and nobody closes the pipe.
        [sources/api/apiserver/src/server/exec.rs: finished; exec/child.rs: stop_impl and
        read_from_child; containerd cmd/ctr/commands/tasks/exec.go: ForwardAllSignals]
        """
        child = self._child
        child.close_input()
        if child.code is None:
            os.kill(child.pid, signal.SIGTERM)
            child.collect()
        poll, held = select.poll(), set(child.outputs)
        for fd in held:
            poll.register(fd, 0)
        while held:
            for fd, _ in poll.poll():
                poll.unregister(fd)
                held.discard(fd)


def serve(connection: socket.socket, were_running: set[str], luck: random.Random) -> None:
    """Run the client's command."""
    client = Client(connection)
    message = client.first_message()
    if message is None:
        return
    request = json.loads(message)["Initialize"]
    command = [bytes(argument["Unix"]) for argument in request["command"]]
    try:
        check_runs(request["target"], were_running)
        execution = Execution(client, Child(request["target"], command), luck)
    except Refused as error:
        # It is `ctr` that says so, and its standard error is the command's output.
        client.send(b"B", f"ctr: {error}\n".encode())
        client.send(b"C", b"1")
        return
    try:
        execution.run()
    except Gone:
        connection.close()
        execution.abandon()


class Luck:
    """What is drawn for one command after the other."""

    def __init__(self) -> None:
        self._seeded = 0
        self._commands = 0

    def of_next_command(self) -> random.Random:
        """From the seed when there is one; it begins anew when the file is written again."""
        try:
            with open(SEED) as file:
                seed, seeded = file.read().strip(), os.fstat(file.fileno()).st_mtime_ns
        except FileNotFoundError:
            return random.Random()
        self._commands = 0 if seeded != self._seeded else self._commands + 1
        self._seeded = seeded
        return random.Random(f"{seed} {self._commands}")


def listen() -> list[socket.socket]:
    """A socket for the host and one for each container, each in its own /run."""
    sockets = []
    for path in SOCKETS:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        one = socket.socket(socket.AF_UNIX)
        one.bind(path)
        one.listen(128)
        sockets.append(one)
    return sockets


def accept_for_ever(sockets: list[socket.socket]) -> None:
    """A process for each client."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    luck, were_running = Luck(), set()
    while True:
        for one in select.select(sockets, [], [])[0]:
            connection = one.accept()[0]
            were_running |= {name for name in os.listdir(CONTAINERS) if is_running(name)}
            of_command = luck.of_next_command()
            if os.fork() == 0:
                serve_and_exit(connection, were_running, of_command)
            connection.close()


def serve_and_exit(*what: Any) -> None:
    """Serve one client in a process of its own. Its copy of the listening sockets does no harm."""
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        with contextlib.suppress(Gone):
            serve(*what)
    except BaseException:
        sys.excepthook(*sys.exc_info())
    os._exit(0)


def main() -> int:
    """Return as soon as clients can connect; the server goes on in the background."""
    sockets = listen()
    if os.fork():
        return 0
    os.setsid()
    os.dup2(os.open("/dev/null", os.O_RDWR), 0)
    log = os.open("/run/apiserver.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    accept_for_ever(sockets)
    return 1


if __name__ == "__main__":
    sys.exit(main())
