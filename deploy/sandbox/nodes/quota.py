"""The CPU limit of a node: a cgroup of all its processes."""

import contextlib
import os
import time
from collections.abc import Callable
from pathlib import Path

from sandbox.errors import StartFailed

PERIOD = 100_000  # microseconds
REMOVE_SECONDS = 5


def _hierarchy() -> tuple[Path, int]:
    """The mount point of the cgroup controller `cpu`, and its version. Raises `StartFailed`."""
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, where, kind, options, *_ = line.split()
        if kind == "cgroup" and "cpu" in options.split(","):
            return Path(where), 1
        if kind == "cgroup2" and "cpu" in (Path(where) / "cgroup.controllers").read_text().split():
            return Path(where), 2
    raise StartFailed("this machine has no cgroup controller `cpu`; start without --cpu-quota")


def _group(sandbox: str) -> Path:
    return _hierarchy()[0] / f"openenv-sandbox-{sandbox}"


def limit(sandbox: str, node: str, cores: float) -> None:
    hierarchy, version = _hierarchy()
    group = _group(sandbox) / node
    group.mkdir(parents=True, exist_ok=True)
    microseconds = max(1000, int(cores * PERIOD))
    try:
        if version == 1:
            (group / "cpu.cfs_period_us").write_text(str(PERIOD))
            (group / "cpu.cfs_quota_us").write_text(str(microseconds))
        else:
            for parent in (hierarchy, group.parent):
                (parent / "cgroup.subtree_control").write_text("+cpu")
            (group / "cpu.max").write_text(f"{microseconds} {PERIOD}")
    except OSError as failure:
        raise StartFailed(
            f"cannot set --cpu-quota in {group}: {failure.strerror}; start without it"
        ) from None


def joiner(sandbox: str, node: str) -> Callable[[], object]:
    """A function that joins the cgroup of the node, if it has one. It works inside the node, where no
    cgroups are mounted."""
    try:
        descriptor = os.open(_group(sandbox) / node / "cgroup.procs", os.O_WRONLY)
    except (FileNotFoundError, StartFailed):
        return lambda: None
    return lambda: os.write(descriptor, b"0")


def remove(sandbox: str) -> None:
    """Removes the cgroups of a sandbox whose processes have exited, which the kernel may delay."""
    try:
        top = _group(sandbox)
    except StartFailed:
        return
    deadline = time.monotonic() + REMOVE_SECONDS
    for group in [*top.glob("*/"), top]:
        while group.exists():
            with contextlib.suppress(FileNotFoundError):
                try:
                    group.rmdir()
                except OSError:
                    if time.monotonic() > deadline:
                        raise
                    time.sleep(0.02)
