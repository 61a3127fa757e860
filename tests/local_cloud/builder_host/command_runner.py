"""Runs one command inside an instance; a program of its own, started by `instance`.

    python -I -S command_runner.py <pid of the instance's first process> <root> <command>...

The command gets the environment given as NAME=VALUE before the command, and no other. It is
killed with everything it started, daemons included, when standard input ends. The exit code is
the command's, or 128 + signal. Must not import anything once inside: the interpreter's files may
not be visible there.
"""

import contextlib
import ctypes
import os
import select
import signal
import sys
import time

_PR_SET_CHILD_SUBREAPER = 36
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


def descendants(pid: int) -> list[int]:
    """Every process below `pid`, as /proc shows them now."""
    parents = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat") as stat:
                    parents[int(name)] = int(stat.read().rpartition(")")[2].split()[1])
            except OSError:
                continue
    found = [pid]
    for parent in found:
        found.extend(child for child, its_parent in parents.items() if its_parent == parent)
    return found[1:]


def kill_descendants() -> None:
    """Kill until none is left. Orphans come to this process, so none is lost from view."""
    deadline = time.monotonic() + _KILL_SECONDS
    while time.monotonic() < deadline:
        for pid in descendants(os.getpid()):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return
        time.sleep(0.005)


def start_command(root: str, command: list[str], environment: dict[str, str]) -> int:
    """Fork the command into its own session, with `root` as its root directory."""
    pid = os.fork()
    if pid:
        return pid
    try:
        os.setsid()
        os.dup2(os.open("/dev/null", os.O_RDONLY), 0)
        os.chroot(root)
        os.chdir("/")
        os.execve(command[0], command, environment)
    except OSError as error:
        os.write(2, f"{command[0]}: {error.strerror}\n".encode())
    os._exit(127)


def supervise(root: str, command: list[str], environment: dict[str, str]) -> int:
    """Run the command; kill it and all it started when standard input ends."""
    _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    pid = start_command(root, command, environment)
    ended = os.pidfd_open(pid)
    poll = select.poll()
    poll.register(0, select.POLLIN | select.POLLHUP)
    poll.register(ended, select.POLLIN)
    ready = {fd for fd, _ in poll.poll()}
    if ended in ready:
        return exit_code(os.waitpid(pid, 0)[1])
    kill_descendants()
    return 128 + signal.SIGKILL


def exit_code(status: int) -> int:
    """A wait status as a shell shows it."""
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
