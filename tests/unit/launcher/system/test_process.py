import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from launcher.system.command import capture, CommandFailed, error_line
from launcher.system.process import (
    describe_exit,
    indented,
    shell_code,
    spawn,
    tail,
    TAIL_BYTES,
    TAIL_LINES,
)


@pytest.mark.parametrize(
    ("code", "text", "shell"),
    [
        (0, "exited with 0", 0),
        (3, "exited with 3", 3),
        (-signal.SIGKILL, "was killed by SIGKILL", 137),
        (-signal.SIGTERM, "was killed by SIGTERM", 143),
    ],
)
def test_exit_codes_are_described(code: int, text: str, shell: int) -> None:
    assert (describe_exit(code), shell_code(code)) == (text, shell)


@pytest.mark.parametrize("count", [0, 1, TAIL_LINES, TAIL_LINES + 1, 5000])
def test_tail_is_the_last_lines(tmp_path: Path, count: int) -> None:
    log = tmp_path / "log"
    lines = [f"line {number}" for number in range(count)]
    log.write_text("".join(f"{line}\n" for line in lines))
    assert tail(log) == lines[-TAIL_LINES:]


def test_tail_reads_no_more_than_the_end_of_a_long_line(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("x" * (TAIL_BYTES + 1))
    assert tail(tmp_path / "log") == ["x" * TAIL_BYTES]


def test_tail_of_a_missing_log_is_empty(tmp_path: Path) -> None:
    assert tail(tmp_path / "log") == []
    assert indented(["a", "b"]) == "  a\n  b"


def test_spawn_appends_to_the_log_in_a_session_of_its_own(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("before\n")
    script = "import os; print(os.environ['NAME'], os.getsid(0) == os.getpid())"
    assert spawn((sys.executable, "-c", script), {"NAME": "x"}, log).wait() == 0
    assert log.read_text() == "before\nx True\n"


def test_spawned_processes_are_terminated_when_their_parent_exits(tmp_path: Path) -> None:
    parent = (
        "import signal; from pathlib import Path; from launcher.system.process import spawn\n"
        f"print(spawn(('sleep', '60'), {{}}, Path({str(tmp_path / 'log')!r}), signal.SIGTERM).pid)"
    )
    done = subprocess.run(
        (sys.executable, "-c", parent), stdout=subprocess.PIPE, text=True, check=True
    )
    try:
        pidfd = os.pidfd_open(int(done.stdout))
    except ProcessLookupError:
        return
    exited = select.select([pidfd], [], [], 10)[0]
    os.close(pidfd)
    assert exited


def test_capture_returns_the_output() -> None:
    assert capture(("sh", "-c", "cat; echo output; echo error >&2"), 10) == "output\n"


@pytest.mark.parametrize(
    ("script", "reason", "output", "code"),
    [
        ("echo 'sh: error: bad' >&2; echo more >&2; exit 3", "bad", "sh: error: bad\nmore\n", 3),
        ("exit 4", "sh exited with 4", "", 4),
        ("kill -9 $$", "sh was killed by SIGKILL", "", -9),
        ("exec sleep 60", "sh did not finish within 0.2 s", "", None),
    ],
)
def test_a_failed_command_is_data(script: str, reason: str, output: str, code: int | None) -> None:
    argv = ("sh", "-c", script)
    with pytest.raises(CommandFailed) as raised:
        capture(argv, 10 if code is not None else 0.2)
    failure = raised.value
    assert (failure.argv, failure.output, failure.code) == (argv, output, code)
    assert failure.host == os.uname().nodename
    assert str(failure).startswith(f"{reason}; the command was: sh -c ")


def test_a_missing_program_is_a_failed_command() -> None:
    with pytest.raises(CommandFailed, match=r"^cannot run no-such-program: No such file"):
        capture(("no-such-program",), 10)


@pytest.mark.parametrize(
    ("output", "line"),
    [
        ("sbatch: error: Invalid --time specification\n", "Invalid --time specification"),
        ("sbatch: error: first\nsbatch: note\n", "first"),
        ("sbatch: unknown option '--x'\nTry \"sbatch --help\" for more\n", "unknown option '--x'"),
        ("slurm_load_jobs error: Invalid job id", "slurm_load_jobs error: Invalid job id"),
        ("\n", ""),
        ("", ""),
    ],
)
def test_error_line_is_the_last_error_without_the_program(output: str, line: str) -> None:
    assert error_line("sbatch", output) == line
