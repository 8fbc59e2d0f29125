import os
import shlex
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from launcher.errors import LauncherError
from launcher.system.debug_log import log_command
from launcher.system.process import describe_exit


class CommandFailed(LauncherError):
    """A command that failed. `code` is None if it timed out; the message can be pasted into a shell."""

    def __init__(
        self, argv: Sequence[str], reason: str, output: str = "", code: int | None = None
    ) -> None:
        super().__init__(f"{reason}; the command was: {shlex.join(argv)}")
        self.argv, self.reason, self.output, self.code = tuple(argv), reason, output, code
        self.host = os.uname().nodename


def capture(
    argv: Sequence[str],
    seconds: float,
    failure: type[CommandFailed] = CommandFailed,
    variables: Mapping[str, str] | None = None,
    folder: Path | None = None,
) -> str:
    """The standard output of a command; `variables` replace those of this process. Raises `failure`."""
    log_command(__name__, argv)
    try:
        done = subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=seconds,
            env=variables,
            cwd=folder,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise failure(argv, f"{argv[0]} did not finish within {seconds:g} s") from None
    except OSError as problem:
        raise failure(argv, f"cannot run {argv[0]}: {problem.strerror}") from None
    if done.returncode:
        reason = error_line(argv[0], done.stderr) or f"{argv[0]} {describe_exit(done.returncode)}"
        raise failure(argv, reason, done.stderr, done.returncode)
    return done.stdout


def error_line(program: str, output: str) -> str:
    """The last line that reports an error, or else the last line, without the program's name."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    lines = [line for line in lines if not line.startswith("Try ")]
    errors = [line for line in lines if "error:" in line] or lines
    return errors[-1].removeprefix(f"{program}: ").removeprefix("error: ") if errors else ""
