"""The stand-in for `apiclient exec` loses, mixes and refuses what the real one does."""

from __future__ import annotations

import time

import pytest

from .conftest import StartedInstance

# A server that ends with part of a message unread resets the connection; else it closes it.
ENDS_WITHOUT_A_CODE = (
    "WebSocket protocol error: Connection reset without closing handshake",
    "IO error: Connection reset by peer (os error 104)",
)


def seed(builder: StartedInstance, number: int) -> None:
    """Make outcomes that are chance in reality the same each time."""
    assert builder.on_host(f"echo {number} >/run/apiclient.seed").exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ("bash -s x", 1, "Failed to exec: Failed to connect to server at x: No such file"),
        ("sh -c 'exit 7' --socket-path /run/none", 1, "Failed to connect to server at /run/none"),
        ("ls -h", 2, "Usage: apiclient"),
        ("ls --help", 2, "Usage: apiclient"),
        ("true --log-level loud", 2, "Invalid log level 'loud'"),
        ("true --log-level", 2, "Did not give argument to --log-level"),
        ("true -s", 2, "Did not give argument to -s | --socket-path"),
        ("sh -c 'exit $#' sh -v a --verbose b --log-level debug", 2, ""),
    ],
)
def test_the_client_accepts_its_own_options_after_the_command(
    shared_builder, arguments, code, said
):
    result = shared_builder.run(f"apiclient exec admin {arguments}")
    assert (result.exit_code, result.stdout) == (code, "")
    assert said in result.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ("-T admin --no-tty sh -c 'exit $#' sh -T --no-tty -t --tty", 4, ""),
        ("admin -x true", 2, "Unknown argument '-x'"),
        ("-- admin true", 2, "Unknown argument '--'"),
        ("-T", 2, "Missing required argument 'target'"),
        ("admin", 2, "Must specify a command for 'exec' to run."),
    ],
)
def test_a_dash_before_the_command_begins_an_option_of_the_client(
    shared_builder, arguments, code, said
):
    result = shared_builder.run(f"apiclient exec {arguments}")
    assert (result.exit_code, result.stdout) == (code, "")
    assert said in result.stderr


def test_an_argument_that_is_no_utf_8_is_refused(shared_builder):
    result = shared_builder.run("apiclient exec admin true $(printf 'a\\377')")
    assert (result.exit_code, result.stdout) == (101, "")
    assert "called `Result::unwrap()` on an `Err` value" in result.stderr


def test_a_terminal_is_refused_where_there_is_none(shared_builder):
    result = shared_builder.run("apiclient exec -t admin touch /run/with-terminal")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "Have TTY, but failed to get terminal attributes: ENOTTY" in result.stderr
    assert shared_builder.in_container("admin", "ls /run/with-terminal").exit_code != 0


def padding(command: list[str], size: int) -> str:
    """Return an argument that makes the command's message `size` bytes large.

    An x takes four bytes of the message, a zero three.
    """
    listed = [",".join(str(byte) for byte in word.encode()) for word in [*command, ""]]
    words = ",".join(f'{{"Unix":[{bytes_}]}}' for bytes_ in listed)
    around = f'{{"Initialize":{{"command":[{words}],"target":"admin","tty":null}}}}'
    zeros = next(n for n in range(1, 5) if (size - len(around) + 1 - 3 * n) % 4 == 0)
    return "0" * zeros + "x" * ((size - len(around) + 1 - 3 * zeros) // 4)


def test_a_command_with_a_message_over_64_kib_is_refused(shared_builder):
    command = ["sh", "-c", "touch /run/ran", "sh"]
    fits, too_large = padding(command, 65_536), padding(command, 65_537)
    exec_ = "apiclient exec admin sh -c 'touch /run/ran' sh"
    refused = shared_builder.run(f"{exec_} {too_large}")
    assert (refused.exit_code, refused.stdout) == (1, "")
    lost, unsure = (line[9:] for line in refused.stderr.splitlines())
    assert lost in [f"[ERROR] Failed to read from WebSocket: {end}" for end in ENDS_WITHOUT_A_CODE]
    assert unsure == "[WARN] Didn't receive a return code or signal; unsure what happened"
    assert shared_builder.in_container("admin", "ls /run/ran").exit_code != 0
    assert shared_builder.run(f"{exec_} {fits}").exit_code == 0
    assert shared_builder.in_container("admin", "ls /run/ran").exit_code == 0


def test_long_standard_input_arrives_complete(shared_builder):
    result = shared_builder.run(
        "head -c 700000 /dev/urandom >/tmp/sent\n"
        "apiclient exec admin bash -c 'sleep 0.3; cat >/run/came' </tmp/sent\n"
        "sha256sum </tmp/sent"
    )
    assert shared_builder.in_container("admin", "sha256sum </run/came").stdout == result.stdout


def test_unread_input_is_no_error(shared_builder):
    result = shared_builder.run(
        "head -c 700000 /dev/zero | apiclient exec admin bash -c 'exec <&-; sleep 0.3; exit 3'"
    )
    assert (result.exit_code, result.stderr) == (3, "")


def test_the_end_of_an_empty_input_never_reaches_the_command(shared_builder):
    reads = "apiclient exec admin bash -c 'cat >/run/read; touch /run/ended'"
    empty = shared_builder.run(reads, seconds=1)
    assert empty.timed_out
    assert shared_builder.in_container("admin", "ls /run/read /run/ended").stdout == "/run/read\n"
    assert shared_builder.run(f"echo x | {reads}").exit_code == 0
    assert shared_builder.in_container("admin", "cat /run/read; rm /run/ended").stdout == "x\n"


def test_both_streams_come_back_as_standard_output(shared_builder):
    result = shared_builder.run("apiclient exec admin bash -c 'echo out; echo err >&2; sleep 0.3'")
    assert (sorted(result.stdout.split()), result.stderr) == (["err", "out"], "")


def in_parallel(builder: StartedInstance, command: str, count: int) -> list[str]:
    """Run `count` copies of the command in the admin container at once; return each output."""
    result = builder.run(
        f"for i in $(seq {count}); do\n"
        f"apiclient exec admin {command} >/tmp/printed.$i &\n"
        "done\nwait\ntail -q -n +1 /tmp/printed.*; printf '\\0'\n"
        f"for i in $(seq {count}); do cat /tmp/printed.$i; printf '\\0'; done"
    )
    assert result.exit_code == 0, result.stderr
    return result.stdout.split("\0")[1:-1]


def test_a_line_of_standard_error_may_come_before_or_after_a_later_one_of_output(shared_builder):
    seed(shared_builder, 1)
    command = "bash -c 'echo err >&2; sleep 0.02; echo out; sleep 0.2'"
    result = shared_builder.run(f"for i in $(seq 8); do apiclient exec admin {command}; done")
    words = result.stdout.split()
    assert {*zip(words[::2], words[1::2], strict=True)} == {("err", "out"), ("out", "err")}


def one_after_the_other(builder: StartedInstance, count: int) -> list[str]:
    """Run `count` short commands in turn; return their output, split before each exit code."""
    result = builder.run(
        f"for i in $(seq {count}); do\n"
        "apiclient exec admin sh -c 'echo short; exit 7'; echo \"code $?\"\ndone"
    )
    return result.stdout.split("code ")


def test_a_command_of_under_0_2_seconds_may_lose_its_output_but_never_its_exit_code(
    shared_builder,
):
    seed(shared_builder, 1)
    shown = one_after_the_other(shared_builder, 30)
    assert [one.split()[0] for one in shown[1:]] == ["7"] * 30
    lost = 30 - sum("short" in one for one in shown)
    assert 0 < lost < 15


def test_a_command_of_over_0_2_seconds_loses_nothing(shared_builder):
    seed(shared_builder, 1)
    command = "bash -c 'echo a; sleep 0.3; echo b; echo c >&2'"
    printed = in_parallel(shared_builder, command, 30)
    assert [sorted(one.split()) for one in printed] == [["a", "b", "c"]] * 30


def test_the_same_seed_loses_the_same_output(shared_builder):
    shown = []
    for number in (5, 5, 6):
        seed(shared_builder, number)
        shown.append(one_after_the_other(shared_builder, 15))
    assert shown[0] == shown[1]
    assert shown[1] != shown[2]


def test_the_tail_of_more_than_100_000_bytes_of_output_is_dropped(shared_builder):
    result = shared_builder.run(
        "apiclient exec admin bash -c 'seq 30000; sleep 0.3' >/tmp/printed; echo $?\n"
        "seq 30000 | head -c 100000 | cmp - /tmp/printed && echo same"
    )
    assert result.stdout.split() == ["0", "same"]


def test_exit_codes_pass(shared_builder):
    codes = ["0", "1", "2", "7", "124", "137", "255"]
    result = shared_builder.run(
        f'for code in {" ".join(codes)}; do apiclient exec admin sh -c "exit $code"; echo $?; done'
    )
    assert result.stdout.split() == codes


def test_a_command_killed_by_a_signal_has_a_shell_s_exit_code(shared_builder):
    result = shared_builder.run(
        "for signal in TERM KILL; do\n"
        'apiclient exec admin sh -c "kill -$signal \\$\\$"; echo $?\ndone'
    )
    assert result.stdout.split() == ["143", "137"]


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        ("nonesuch", 'exec: "nonesuch": executable file not found in $PATH'),
        ("/etc/nonesuch", 'exec: "/etc/nonesuch": stat /etc/nonesuch: no such file or directory'),
        ("/etc/passwd", 'exec: "/etc/passwd": permission denied'),
    ],
)
def test_the_error_of_a_command_that_cannot_run_is_on_standard_output(
    shared_builder, command, reason
):
    result = shared_builder.run(f"apiclient exec admin {command}")
    assert (result.exit_code, result.stderr) == (1, "")
    assert result.stdout == (
        f"ctr: OCI runtime exec failed: exec failed: unable to start container process: {reason}\n"
    )


def test_a_container_that_never_ran_is_not_found(shared_builder):
    result = shared_builder.run("apiclient exec nobody true")
    assert (result.exit_code, result.stderr) == (1, "")
    assert result.stdout == 'ctr: container "nobody" in namespace "default": not found\n'


def test_a_stopped_container_runs_nothing(shared_builder):
    ready = "/run/host-containers/admin/ready"
    assert shared_builder.run("apiclient exec admin true").exit_code == 0
    shared_builder.on_host(f"mv {ready} {ready}.not")
    result = shared_builder.run("apiclient exec admin touch /run/while-stopped")
    shared_builder.on_host(f"mv {ready}.not {ready}")
    assert (result.exit_code, result.stderr) == (1, "")
    assert result.stdout == "ctr: cannot exec in a stopped state\n"
    assert shared_builder.in_container("admin", "ls /run/while-stopped").exit_code != 0


@pytest.mark.parametrize(("number", "code"), [("KILL", 137), ("TERM", 143)])
def test_a_killed_client_sends_term_to_its_command_only(shared_builder, number, code):
    killed = shared_builder.run(
        "apiclient exec admin bash -c '\n"
        'trap "touch /run/got-term; exit" TERM\n'
        "setsid sleep 3331 & sleep 3332 & wait' &\n"
        "client=$!; until [ $(pgrep -cxf 'sleep 333[12]') = 2 ]; do sleep 0.05; done\n"
        f"kill -{number} $client; wait $client"
    )
    assert killed.exit_code == code
    wait = "until [ -e /run/got-term ]; do sleep 0.01; done; rm /run/got-term"
    assert shared_builder.in_container("admin", wait).exit_code == 0
    going_on = shared_builder.on_host("pgrep -fa 'sleep 333[12]'; pkill -f 'sleep 333[12]'").stdout
    assert len(going_on.splitlines()) == 2, going_on


def test_killing_sheltie_leaves_the_host_s_process_running(shared_builder):
    shared_builder.run(
        "apiclient exec admin bash -c '\n"
        "sheltie sleep 4441 >/dev/null 2>&1 &\n"
        'until pgrep -xf "sleep 4441" >/dev/null; do sleep 0.05; done; kill -KILL $!\''
    )
    going_on = shared_builder.on_host("pgrep -fa 'sleep 444[1]'; pkill -f 'sleep 444[1]'").stdout
    assert len(going_on.splitlines()) == 1, going_on


def test_the_client_waits_until_every_process_closes_the_output(shared_builder):
    begun = time.monotonic()
    held = shared_builder.run("apiclient exec admin bash -c 'sleep 1 & exit 3'")
    assert time.monotonic() - begun >= 1
    begun = time.monotonic()
    released = shared_builder.run("apiclient exec admin bash -c 'sleep 9 >/dev/null 2>&1 & exit 3'")
    assert time.monotonic() - begun < 5
    assert (held.exit_code, released.exit_code) == (3, 3)


def test_a_client_with_unread_output_fails(shared_builder):
    result = shared_builder.run(
        'exec bash -c \'apiclient exec admin bash -c "seq 15000; sleep 0.3" | head -n 1 >&2\n'
        "echo ${PIPESTATUS[0]}'"
    )
    assert result.stdout == "1\n"
    assert "[ERROR] Failed to write output: Broken pipe (os error 32)" in result.stderr
