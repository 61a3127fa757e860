#!/usr/bin/python3 -IS
"""Stands in for Bottlerocket's API client: runs commands in host containers through `apiserver`.

    apiclient exec [-t | -T] <container> <command> [argument...]

It refuses what the real client refuses, with the same messages and exit codes. In brackets: the
source, a path of bottlerocket-core-kit.
"""

import errno
import json
import os
import select
import signal
import socket
import struct
import sys
import time

# [sources/constants/src/lib.rs]
API_SOCKET = "/run/api.sock"
# [sources/api/apiclient/src/exec.rs: read_stdin, "4k is a balanced number"]
INPUT_BYTES = 4096
# A frame's header: the kind and the length of its content. Replaces the WebSocket's frames.
HEADER = struct.Struct(">cI")
LEVELS = ("off", "error", "warn", "info", "debug", "trace")
SUBCOMMANDS = (
    "raw",
    "apply",
    "exec",
    "get",
    "reboot",
    "report",
    "set",
    "update",
    "ephemeral-storage",
)
USAGE = "Usage: apiclient [SUBCOMMAND] [OPTION]..."

level = LEVELS.index("info")


def log(severity: str, message: str) -> None:
    """Write a line to standard error. [sources/api/apiclient/src/main.rs: TermLogger::init]"""
    if LEVELS.index(severity) <= level:
        now = time.strftime("%H:%M:%S", time.gmtime())
        print(f"{now} [{severity.upper()}] {message}", file=sys.stderr)


def fail(message: str, code: int = 1) -> None:
    """End the client. [sources/api/apiclient/src/main.rs: main]"""
    print(message, file=sys.stderr)
    sys.exit(code)


def usage(message: str | None = None) -> None:
    """Say what is wrong with the arguments. [sources/api/apiclient/src/main.rs: usage_msg]"""
    fail(USAGE if message is None else f"{message}\n\n{USAGE}", 2)


def parse_arguments(arguments: list[str]) -> tuple[str, list[str]]:
    """Return the socket's path and the arguments that are left for `exec`.

    The client takes its global options from anywhere in the line, even after the command:
    `bash -s` and `ls -h` never reach a container. [sources/api/apiclient/src/main.rs: parse_args]
    """
    global level
    path, subcommand, rest = API_SOCKET, None, []
    left = iter(arguments)
    for argument in left:
        if argument in ("-h", "--help"):
            usage()
        elif argument == "--log-level":
            level = parse_level(value_of("--log-level", next(left, None)))
        elif argument in ("-v", "--verbose"):
            level = LEVELS.index("debug")
        elif argument in ("-s", "--socket-path"):
            path = value_of("-s | --socket-path", next(left, None))
        elif argument in SUBCOMMANDS and subcommand is None:
            subcommand = argument
        else:
            rest.append(argument)
    if subcommand != "exec":
        fail(f"apiclient: the local cloud knows exec only, not {subcommand or 'raw'}", 2)
    return path, rest


def value_of(option: str, value: str | None) -> str:
    """Return the option's value; exit with a usage error when it is missing."""
    if value is None:
        usage(f"Did not give argument to {option}")
    return value


def parse_level(name: str) -> int:
    """Return a log level's rank; exit with a usage error when the name is unknown."""
    if name.lower() not in LEVELS:
        usage(f"Invalid log level '{name}'")
    return LEVELS.index(name.lower())


def parse_exec(arguments: list[str]) -> tuple[str, list[str], bool | None]:
    """Return the container, the command, and whether a terminal is requested (None: no option).

    The client takes its own options until the command begins, after the container's name.
    [sources/api/apiclient/src/main.rs: parse_exec_args]
    """
    target, command, tty = None, [], None
    for argument in arguments:
        if argument.startswith("-") and not command:
            if argument not in ("-t", "--tty", "-T", "--no-tty"):
                usage(f"Unknown argument '{argument}'")
            tty = argument in ("-t", "--tty")
        elif target is None:
            target = argument
        else:
            command.append(argument)
    if target is None:
        usage("Missing required argument 'target'")
    if not command:
        usage("Must specify a command for 'exec' to run.")
    return target, command, tty


def initialization(target: str, command: list[str]) -> bytes:
    """Return the whole command as one message, byte for byte as serde_json writes it.

    An OsString is an array of its bytes. [sources/models/src/exec.rs: ClientMessage, Initialize]
    """
    arguments = ({"Unix": list(os.fsencode(argument))} for argument in command)
    content = {"command": list(arguments), "target": target, "tty": None}
    text = json.dumps({"Initialize": content}, ensure_ascii=False, separators=(",", ":"))
    return text.encode()


def frame(kind: bytes, content: bytes) -> bytes:
    """Pack a message for the server."""
    return HEADER.pack(kind, len(content)) + content


def check_terminal(tty: bool | None) -> None:
    """Exit with an error when a terminal is requested, or found without an option.

    Standard output must then be a terminal, which it never is under SSM: `-t` always fails there.
    [sources/api/apiclient/src/exec/terminal.rs: Terminal::new]
    """
    if tty is None:
        tty = os.isatty(0) and os.isatty(1)
    if tty and not os.isatty(1):
        fail(
            "Failed to exec: Have TTY, but failed to get terminal attributes: "
            "ENOTTY: Not a typewriter"
        )
    if tty:
        fail("apiclient: the local cloud has no terminals")


def connect(path: str) -> socket.socket:
    """Connect to the server; exit with an error when that fails.

    [sources/api/apiclient/src/exec/connect.rs]
    """
    server = socket.socket(socket.AF_UNIX)
    try:
        server.connect(path)
    except OSError as error:
        fail(
            f"Failed to exec: Failed to connect to server at {path}: "
            f"{error.strerror} (os error {error.errno})"
        )
    server.setblocking(False)
    return server


class ConnectionLost(Exception):
    """The connection ended without an exit code."""


class Conversation:
    """Sends one command's standard input to the server; receives its output and exit code."""

    def __init__(self, server: socket.socket, first: bytes) -> None:
        self._server = server
        self._outgoing = bytearray(first)
        self._incoming = bytearray()
        self._input_open = True

    def exit_code(self) -> int:
        """Exchange messages until the server sends the command's exit code; return it.

        Raises ConnectionLost when the connection ends before that, or output cannot be written.
        """
        while True:
            poll = select.poll()
            poll.register(self._server, select.POLLIN | (select.POLLOUT if self._outgoing else 0))
            if self._input_open and not self._outgoing:
                poll.register(0, select.POLLIN)
            for fd, events in poll.poll():
                if fd == 0:
                    self._read_input()
                elif events & select.POLLOUT:
                    self._send()
            code = self._receive()
            if code is not None:
                return code

    def _read_input(self) -> None:
        """Pass on standard input and its end. [sources/api/apiclient/src/exec.rs: read_stdin]"""
        try:
            content = os.read(0, INPUT_BYTES)
        except OSError as error:
            if error.errno != errno.EBADF:
                fail(f"Failed to exec: Failed to read input: {described(error)}")
            content = b""  # Rust treats a closed standard input as empty.
        if content:
            self._outgoing += frame(b"B", content)
        else:
            self._outgoing += frame(b"T", b'"ContentComplete"')
            self._input_open = False

    def _send(self) -> None:
        try:
            sent = self._server.send(self._outgoing)
            del self._outgoing[:sent]
        except (BrokenPipeError, ConnectionResetError):
            # What the server sent before that can still be read.
            self._outgoing.clear()
            self._input_open = False

    def _receive(self) -> int | None:
        try:
            content = self._server.recv(65536)
        except BlockingIOError:
            return None
        except ConnectionResetError as error:
            raise ConnectionLost(
                f"Failed to read from WebSocket: IO error: {described(error)}"
            ) from None
        if not content:
            raise ConnectionLost(
                "Failed to read from WebSocket: WebSocket protocol error: "
                "Connection reset without closing handshake"
            )
        self._incoming += content
        return self._take_frames()

    def _take_frames(self) -> int | None:
        """Write the output of both streams to standard output; return the exit code if it came.

        [sources/api/apiclient/src/exec.rs: read_from_server, "Binary messages represent process
        output ... Write it to stdout"]
        """
        while len(self._incoming) >= HEADER.size:
            kind, size = HEADER.unpack_from(self._incoming)
            end = HEADER.size + size
            if len(self._incoming) < end:
                break
            content = bytes(self._incoming[HEADER.size : end])
            del self._incoming[:end]
            if kind == b"C":
                return int(content)
            write_output(content)
        return None


def write_output(content: bytes) -> None:
    """Write all of it to standard output. Raises ConnectionLost when that fails."""
    try:
        while content:
            content = content[os.write(1, content) :]
    except OSError as error:
        raise ConnectionLost(f"Failed to write output: {described(error)}") from None


def described(error: OSError) -> str:
    """An error as Rust's standard library shows it."""
    return f"{error.strerror} (os error {error.errno})"


def main() -> int:
    """See the module's text."""
    # Rust expects its arguments in UTF-8 and panics otherwise [main.rs: env::args].
    for argument in sys.argv:
        try:
            os.fsencode(argument).decode()
        except UnicodeDecodeError:
            fail(f"called `Result::unwrap()` on an `Err` value: {argument!a}", 101)
    path, rest = parse_arguments(sys.argv[1:])
    target, command, tty = parse_exec(rest)
    # [sources/api/apiclient/src/exec.rs: HandleSignals, "Use shell-style return codes for signals"]
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
        signal.signal(number, lambda number, _: os._exit(128 + number))
    check_terminal(tty)
    conversation = Conversation(connect(path), frame(b"T", initialization(target, command)))
    try:
        return conversation.exit_code()
    except ConnectionLost as error:
        log("error", str(error))
        log("warn", "Didn't receive a return code or signal; unsure what happened")
        return 1


if __name__ == "__main__":
    sys.exit(main())
