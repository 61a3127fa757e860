#!/usr/bin/python3 -IS
"""Stands in for Bottlerocket's API server: runs commands in host containers.

It includes the `ctr task exec` that the real server starts for each command. `instance` starts it
on the host as a program of its own; `apiclient` is its client.

It loses, mixes and refuses what the real server does. Where the real outcome is chance, a random
generator decides, seeded with the number in the host's /run/apiclient.seed if that file exists: the
same commands after the same number have the same outcome. In brackets: the source, a path of
bottlerocket-core-kit or containerd, or "measured", by running both with real containers.
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
# [measured: 30,000 characters arrived whole; somewhere beyond this the tail was dropped]
LARGEST_OUTPUT = 100_000
# [measured: 7 of 3,000 commands that ran for less time lost all their output.] Here one in ten
# does, so that tests notice.
SHORT_LIFE_SECONDS = 0.2
LOST_SHARE = 0.1
# [measured: in 36 of 100 runs a stderr line arrived after a stdout line that was written later]
LATE_STREAMS = ("stdout", "stderr", None)
LATE_SECONDS = 0.05
# A frame's header: the kind and the length of its content. Replaces the WebSocket's frames.
HEADER = struct.Struct(">cI")


class Refused(Exception):
    """`ctr` did not run the command; the message says why."""


class ClientGone(Exception):
    """The client has disconnected."""


class Client:
    """The connection to one client."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self._incoming = bytearray()

    def first_message(self) -> bytes | None:
        """Return the message that says what to run, or None when it is too large.

        A message that is too large is ignored, and the connection then ends silently
        [sources/api/apiserver/src/server/exec.rs: handle, `Err(e)`]. Raises ClientGone when the
        client disconnects.
        """
        while True:
            for _, content in self.messages():
                return content if len(content) <= LARGEST_MESSAGE else None
            self.receive()

    def receive(self) -> None:
        """Read what has arrived. Raises ClientGone when the client has disconnected."""
        try:
            content = self.connection.recv(LARGEST_MESSAGE)
        except ConnectionResetError:
            content = b""
        if not content:
            raise ClientGone
        self._incoming += content

    def messages(self):
        """Yield kind and content of each message that has arrived whole."""
        while len(self._incoming) >= HEADER.size:
            kind, size = HEADER.unpack_from(self._incoming)
            end = HEADER.size + size
            if len(self._incoming) < end:
                break
            content = bytes(self._incoming[HEADER.size : end])
            del self._incoming[:end]
            yield kind, content

    def send(self, kind: bytes, content: bytes) -> None:
        """Send a message. Raises ClientGone when the client has disconnected."""
        try:
            self.connection.sendall(HEADER.pack(kind, len(content)) + content)
        except (BrokenPipeError, ConnectionResetError):
            raise ClientGone from None


class Child:
    """A command in a container. The constructor raises Refused when the command cannot run."""

    def __init__(self, target: str, command: list[bytes]) -> None:
        # Each pair is a read end and a write end.
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
        """Wait for the command's end and keep its exit code; return how many seconds it ran.

        [sources/api/apiserver/src/server/exec/child.rs: "Use shell-style return codes for signals"]
        """
        code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        self.code = code if code >= 0 else 128 - code
        return time.monotonic() - self.started


def enter_and_run(target: str, command: list[bytes], failure: int) -> None:
    """Become the command in the container, or report why not. Never returns."""
    path = f"/usr/lib/bottlerocket/{target}:/usr/sbin:/usr/bin:/sbin:/bin"
    try:
        os.setsid()
        # The command would inherit the signals that this interpreter ignores.
        for number in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        os.chroot(f"{CONTAINERS}/{target}/rootfs")
        os.chdir("/")
        os.execvpe(command[0], command, {"PATH": path, "HOME": "/root"})
    except OSError as error:
        os.write(failure, why_not_run(os.fsdecode(command[0]), error).encode())
    os._exit(1)


def why_not_run(name: str, error: OSError) -> str:
    """Return runc's message for a command that cannot run. The exit code is then 1. [measured]"""
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

    Both streams go into one pipe [sources/api/apiserver/src/server/exec/child.rs: pipe_fds]. A
    goroutine of `ctr` copies each stream [containerd cmd/ctr/commands/tasks/exec.go:
    cio.WithStreams], so one of them may be late.
    """

    def __init__(self, luck: random.Random, started: float) -> None:
        self._late = luck.choice(LATE_STREAMS)
        self._may_be_lost = luck.random() < LOST_SHARE
        self._started = started
        self._left = LARGEST_OUTPUT
        self._waiting: list[tuple[float, bytes]] = []

    def add(self, stream: str, content: bytes) -> None:
        """Take output that was printed just now. What exceeds the limit is dropped."""
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
        """Return how long until the next output is due; None when none is waiting."""
        if not self._waiting:
            return None
        return max(0, round((self._waiting[0][0] - time.monotonic()) * 1000) + 1)

    def take_due(self) -> list[bytes]:
        """Remove and return the output that is due."""
        now = time.monotonic()
        return self._take(sum(due <= now for due, _ in self._waiting))

    def take_rest(self, life_seconds: float) -> list[bytes]:
        """Remove and return what is left after the command's end; nothing when it is lost."""
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
        """Take a message from the client. Text is `ContentComplete`, the end of the input."""
        if kind == b"B":
            self._any = True
            if self._child.stdin is not None:
                self.waiting += content
        else:
            self._complete = True
        self._close_when_written()

    def write(self) -> None:
        """Write what the command's pipe takes. A command that stopped reading is no error."""
        assert self._child.stdin is not None
        try:
            written = os.write(self._child.stdin, self.waiting)
            del self.waiting[:written]
        except BrokenPipeError:
            self.waiting.clear()
            self._child.close_input()
        self._close_when_written()

    def _close_when_written(self) -> None:
        """Close the command's input once all of it is written, unless it was empty.

        The end of an *empty* input never reaches the command: `ctr` reads it before it knows how
        to pass it on. [containerd cmd/ctr/commands/tasks/exec.go: `stdinC.closer` is set after
        task.Exec; measured: 38 of 40 commands hung, after data 200 of 200 did not]
        """
        if self._any and self._complete and not self.waiting:
            self._child.close_input()


class Execution:
    """Connects one command's processes with its client."""

    def __init__(self, client: Client, child: Child, luck: random.Random) -> None:
        self._client, self._child = client, child
        self._input, self._output = Input(child), Output(luck, child.started)
        self._life_seconds = 0.0

    def run(self) -> None:
        """Pass on input and output until the command has ended and no process has its output open.

        Background processes count too. Raises ClientGone when the client disconnects.

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
                raise ClientGone
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
        """End a command whose client has disconnected.

        The server sends TERM to `ctr`, which passes it on to the command, but not to the processes
        that the command started. From then on nobody reads the output or closes the pipe.
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
        # This message comes from `ctr`, whose standard error is part of the command's output.
        client.send(b"B", f"ctr: {error}\n".encode())
        client.send(b"C", b"1")
        return
    try:
        execution.run()
    except ClientGone:
        connection.close()
        execution.abandon()


class RandomGenerators:
    """Makes a random generator for each command in turn."""

    def __init__(self) -> None:
        self._seeded = 0
        self._commands = 0

    def of_next_command(self) -> random.Random:
        """Return the next command's generator, seeded from the file if it exists.

        The sequence starts again when the file is rewritten.
        """
        try:
            with open(SEED) as file:
                seed, seeded = file.read().strip(), os.fstat(file.fileno()).st_mtime_ns
        except FileNotFoundError:
            return random.Random()
        self._commands = 0 if seeded != self._seeded else self._commands + 1
        self._seeded = seeded
        return random.Random(f"{seed} {self._commands}")


def listen() -> list[socket.socket]:
    """Listen on a socket for the host and one for each container, each in its own /run."""
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
    """Start a process for each client. Never returns."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    luck, were_running = RandomGenerators(), set()
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
        with contextlib.suppress(ClientGone):
            serve(*what)
    except BaseException:
        sys.excepthook(*sys.exc_info())
    os._exit(0)


def main() -> int:
    """Return as soon as clients can connect; the server continues in the background."""
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
