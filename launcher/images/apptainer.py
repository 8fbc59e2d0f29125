"""The argv of Apptainer, and its builds."""

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from launcher.errors import LauncherError, UsageError
from launcher.images.causes import Cause, diagnose, TEXTS
from launcher.system.debug_log import log_command

PROGRAM = "apptainer"
TAIL_LINES = 15
# Apptainer prints this for every bind of a build.
NOISE = "destination is already in the mount point list"
# A shell in the container evaluates the values of variables, unless this variable is set.
NO_EVAL = "APPTAINER_NO_EVAL"
QUOTED = str.maketrans({character: f"\\{character}" for character in "\\$`"})


class BuildFailed(LauncherError):
    cause: Cause | None = None


def exec_argv(
    image: Path,
    argv: Sequence[str],
    environment: Mapping[str, str] = {},
    binds: Sequence[str] = (),
    options: Sequence[str] = (),
) -> tuple[str, ...]:
    """Runs `argv` in an image with only these variables and folders, and the host's network. A bind is
    a path, or SOURCE:DESTINATION[:OPTIONS]."""
    options = (*map(bind_option, binds), *options)
    variables = [f"{key}={value}" for key, value in environment.items()]
    # `env` sets the variables, because Apptainer's --env splits values at commas and expands them.
    command = ("env", *variables, *argv) if variables else tuple(argv)
    return (PROGRAM, "--quiet", "exec", "--cleanenv", "--contain", *options, str(image), *command)


def bind_option(bind: str) -> str:
    return f"--bind={bind.replace(',', chr(92) + ',')}"  # commas separate binds


def passed_through(variables: Mapping[str, str]) -> dict[str, str]:
    """Apptainer's variables that set these in a container, whatever its image sets. Raises
    `UsageError`."""
    if "HOME" in variables:
        raise UsageError(
            "--env: Apptainer lets no variable set HOME; choose it with --container-option=--home=DIR"
        )
    passed = {f"APPTAINERENV_{name}": value.translate(QUOTED) for name, value in variables.items()}
    return passed | {NO_EVAL: ""} if passed else {}


def build_argv(
    image: Path,
    definition: Path,
    arguments: Mapping[str, str] = {},
    binds: Sequence[str] = (),
    *,
    fakeroot: bool,
    test: bool = True,
) -> tuple[str, ...]:
    """`fakeroot` lets an ordinary user create files that root owns."""
    options = ["--fakeroot"] if fakeroot else []
    options += [] if test else ["--notest"]
    options += [f"--bind={bind}" for bind in binds]
    options += [f"--build-arg={key}={value}" for key, value in arguments.items()]
    return (PROGRAM, "build", "--force", *options, str(image), str(definition))


def run(
    argv: Sequence[str], folder: Path, variables: Mapping[str, str], watch: Callable[[str], None]
) -> None:
    """Runs a build in a folder and passes each line of its output to `watch`. Raises `BuildFailed`
    with the reason and the end of the output."""
    log: list[str] = []
    log_command(__name__, argv)
    process = subprocess.Popen(
        argv,
        cwd=folder,
        env=os.environ | variables,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    assert process.stdout is not None
    try:
        for line in process.stdout:
            text = line.rstrip()
            if text and NOISE not in text:
                watch(text)
                log.append(text)
        code = process.wait()
    finally:
        process.stdout.close()
        if process.poll() is None:
            process.terminate()
            process.wait()
    if code:
        raise _failure(log, code)


def _failure(log: list[str], code: int) -> BuildFailed:
    cause = diagnose("\n".join(log))
    errors = [line for line in log if re.match(r"\s*\w*error\b", line, re.IGNORECASE)]
    reason = errors[-1] if errors else f"{PROGRAM} exited with {code}"
    last = "\n".join(log[-TAIL_LINES:])
    failure = BuildFailed(
        f"{TEXTS[cause] if cause else reason}; the end of the build's output:\n{last}"
    )
    failure.cause = cause
    return failure


def check_installed() -> None:
    if shutil.which(PROGRAM) is None:
        raise UsageError(
            f"{PROGRAM} is not on the PATH of {os.uname().nodename}; load its module "
            f"(module load {PROGRAM}) or install it, then try again"
        )
