"""Apptainer: its argv, its run, and what its failures mean."""

import logging
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from launcher.errors import LauncherError, UsageError
from launcher.system.debug_log import log_command

logger = logging.getLogger(__name__)

PROGRAM = "apptainer"
TAIL_LINES = 15
NOISE = "destination is already in the mount point list"


class BuildFailed(LauncherError):
    """An image could not be built; `unreachable` when its base could not be fetched."""

    unreachable = False


def exec_argv(
    image: Path,
    argv: Sequence[str],
    environment: Mapping[str, str] = {},
    binds: Sequence[str] = (),
) -> tuple[str, ...]:
    """Runs `argv` in an image with these variables and folders, and nothing else of the host but
    its network. A bind is a path, or SOURCE:DESTINATION[:OPTIONS].

    The variables are set by `env` in the image: apptainer's own --env splits a value at commas and
    lets a shell expand what is in it.
    """
    # a comma separates binds
    folders = (f"--bind={bind.replace(',', chr(92) + ',')}" for bind in binds)
    variables = [f"{key}={value}" for key, value in environment.items()]
    command = ("env", *variables, *argv) if variables else tuple(argv)
    return (PROGRAM, "--quiet", "exec", "--cleanenv", "--contain", *folders, str(image), *command)


def build_argv(
    image: Path,
    definition: Path,
    arguments: Mapping[str, str] = {},
    binds: Sequence[str] = (),
    *,
    fakeroot: bool,
    test: bool = True,
) -> tuple[str, ...]:
    """Builds an image. Without root, files are owned by root only by --fakeroot; root itself needs
    no such help."""
    options = ["--fakeroot"] if fakeroot else []
    options += [] if test else ["--notest"]
    options += [f"--bind={bind}" for bind in binds]
    options += [f"--build-arg={key}={value}" for key, value in arguments.items()]
    return (PROGRAM, "build", "--force", *options, str(image), str(definition))


def run(
    argv: Sequence[str],
    folder: Path,
    variables: Mapping[str, str],
    watch: Callable[[str], None],
) -> None:
    """Runs apptainer in a folder and hands on its output, line by line. Raises `BuildFailed` with
    the reason and the end of the output."""
    log: list[str] = []
    log_command(logger, argv)
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
    reason = cause or (errors[-1] if errors else f"apptainer ended with exit code {code}")
    last = "\n".join(log[-TAIL_LINES:])
    failure = BuildFailed(f"{reason}; the end of the build's output:\n{last}")
    failure.unreachable = cause == UNREACHABLE
    return failure


def check_installed() -> None:
    if shutil.which(PROGRAM) is None:
        raise UsageError(
            f"apptainer is not on the PATH of {os.uname().nodename}; load its module "
            "(module load apptainer) or install it, then run this again"
        )


UNREACHABLE = (
    "the registry of the base image cannot be reached from here; choose an image that can with "
    "--base PATH or REFERENCE"
)
CANNOT_RUN = (
    (
        "no user namespace available|failed to create user namespace|max_user_namespaces",
        "this machine lets only root make user namespaces; use another one, or ask its "
        "administrator for user.max_user_namespaces > 0 and kernel.unprivileged_userns_clone = 1",
    ),
    (
        "fuse: (failed to open|mount failed|device not found)|squashfuse.* exited",
        "/dev/fuse, by which images are mounted, cannot be used on this machine; ask its "
        "administrator for: modprobe fuse; chmod 666 /dev/fuse",
    ),
)
CAUSES = (
    *CANNOT_RUN,
    (
        "no space left on device|disk quota exceeded",
        "the disk is full; free some of it, or name folders on a disk with a few GB in "
        "APPTAINER_TMPDIR (builds) and APPTAINER_CACHEDIR (downloads)",
    ),
    (
        "certificate.verify.failed|x509: ",
        "a certificate was not accepted; name the bundle of the CAs you trust in SSL_CERT_FILE",
    ),
    (
        "do not match the hashes",
        "a package is not the one that was locked; see what your package index serves",
    ),
    (
        "debootstrap is not in PATH",
        "debootstrap, which makes a base where there is no Docker Hub, is not installed; install "
        "it, or choose a base with --base PATH or REFERENCE",
    ),
    (
        "failed getting release file",
        "the mirror of Debian cannot be reached; name another with --mirror URL",
    ),
    (
        r"(conveyor failed to get|initializing source)[^\n]*(dial tcp|no such host|timeout"
        r"|connection refused|unauthorized|denied|manifest unknown|EOF|status: 40[0134])",
        UNREACHABLE,
    ),
    (
        "image format not recognized|could not parse reference",
        "the base is neither an image of this machine nor a reference like REGISTRY/NAME:TAG",
    ),
    (
        "no matching distribution found|temporary failure in name resolution"
        "|failed to establish a new connection|failed to fetch|could not resolve",
        "packages could not be fetched; check the network, the proxy and pip's settings here",
    ),
    (
        "failed to execute %test",
        "the image was built, but its test fails (--no-test keeps it all the same)",
    ),
    (
        "failed to change uid and gids|user not listed in /etc/subuid",
        "you have no lines in /etc/subuid and /etc/subgid, without which not every image can be "
        "built; ask for them (usermod --add-subuids), or build on another machine and copy",
    ),
)


def diagnose(output: str, causes: Sequence[tuple[str, str]] = CAUSES) -> str | None:
    """What went wrong and what to do, when apptainer's output tells."""
    for pattern, cause in causes:
        if re.search(pattern, output, re.IGNORECASE):
            return cause
    return None


def explain_run_failure(output: str) -> str | None:
    """Like `diagnose`, for the output of a container, most of which is not Apptainer's."""
    return diagnose(output, CANNOT_RUN)
