"""Runs one command inside an instance; a program of its own, started by `instance`.

    python -I -S command_runner.py <pid of the instance's first process> <root> <command>...

The command gets only the environment variables given as NAME=VALUE before it. When standard input
ends, its process group is killed, but no other process that it started: the SSM agent does the same
[amazon-ssm-agent agent/executers/executers_unix.go: killProcess]. The exit code is the command's,
or 128 + signal. This program must not import anything once it is inside the instance: the
interpreter's files may not be visible there.
"""

import contextlib
import ctypes
import os
import select
import signal
import sys
import time

_KILL_SECONDS = 5.0
_libc = ctypes.CDLL(None, use_errno=True)


def enter_namespaces(pid: int) -> None:
    """Join the process's namespaces; children of this process then run in its PID namespace."""
    names = ("pid", "net", "uts", "mnt")
    files = [os.open(f"/proc/{pid}/ns/{name}", os.O_RDONLY) for name in names]
    for name, fd in zip(names, files, strict=True):
        if _libc.setns(fd, 0) != 0:
            sys.exit(f"cannot enter the {name} namespace: {os.strerror(ctypes.get_errno())}")
        os.close(fd)


def start_command(root: str, command: list[str], environment: dict[str, str]) -> int:
    """Fork the command into its own process group, with `root` as its root directory.

    Its standard input is empty [amazon-ssm-agent agent/executers/executers.go: ExecuteCommand sets
    none, which is /dev/null in Go].
    """
    pid = os.fork()
    if pid:
        # Set it here too: the group may have to be killed before the child sets it.
        with contextlib.suppress(PermissionError, ProcessLookupError):
            os.setpgid(pid, pid)
        return pid
    try:
        os.setpgid(0, 0)
        os.dup2(os.open("/dev/null", os.O_RDONLY), 0)
        os.chroot(root)
        os.chdir("/")
        os.execve(command[0], command, environment)
    except OSError as error:
        os.write(2, f"{command[0]}: {error.strerror}\n".encode())
    os._exit(127)


def supervise(root: str, command: list[str], environment: dict[str, str]) -> int:
    """Run the command; kill its process group when standard input ends."""
    pid = start_command(root, command, environment)
    ended = os.pidfd_open(pid)
    poll = select.poll()
    poll.register(0, select.POLLIN | select.POLLHUP)
    poll.register(ended, select.POLLIN)
    ready = {fd for fd, _ in poll.poll()}
    if ended in ready:
        return exit_code(os.waitpid(pid, 0)[1])
    kill_group(pid)
    return 128 + signal.SIGKILL


def kill_group(leader: int) -> None:
    """Kill the process group and wait a limited time: on a frozen volume it never ends."""
    deadline = time.monotonic() + _KILL_SECONDS
    with contextlib.suppress(ProcessLookupError):
        while time.monotonic() < deadline:
            os.killpg(leader, signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(leader, os.WNOHANG)
            time.sleep(0.005)


def exit_code(status: int) -> int:
    """Return a wait status as the exit code that a shell shows."""
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def main() -> int:
    """See the module's text."""
    init_pid, root, *rest = sys.argv[1:]
    environment = {}
    while "=" in rest[0]:
        name, _, value = rest.pop(0).partition("=")
        environment[name] = value
    enter_namespaces(int(init_pid))
    pid = os.fork()
    if pid == 0:
        code = 125
        try:
            code = supervise(root, rest, environment)
        finally:
            os._exit(code)
    return exit_code(os.waitpid(pid, 0)[1])


if __name__ == "__main__":
    sys.exit(main())
