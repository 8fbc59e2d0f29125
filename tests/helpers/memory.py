"""Limits of memory that the kernel enforces by killing a process."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

# Of version 1 and version 2 of control groups.
GROUPS = {
    Path("/sys/fs/cgroup/memory"): "memory.limit_in_bytes",
    Path("/sys/fs/cgroup"): "memory.max",
}


@contextlib.contextmanager
def limited_memory(pid: int, megabytes: int) -> Iterator[None]:
    """What the process allocates from now on is limited; skips the test where that is not allowed."""
    for root, limit in GROUPS.items():
        group = root / f"openenv-test-{os.getpid()}-{pid}"
        with contextlib.suppress(OSError):
            group.mkdir()
            try:
                (group / limit).write_text(str(megabytes << 20))
                (group / "cgroup.procs").write_text(str(pid))
                yield
                return
            finally:
                with contextlib.suppress(OSError):
                    group.rmdir()
    pytest.skip("limiting memory needs a control group that this user may write")
