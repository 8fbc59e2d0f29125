"""Kernel settings that every process of this project applies to itself (Linux)."""

import contextlib
import ctypes
import os
import resource
import signal
from collections.abc import Collection
from typing import NoReturn

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
_libc = ctypes.CDLL(None, use_errno=True)


def die_with_parent(parent: int, number: int = signal.SIGKILL) -> None:
    """Makes the kernel signal this process when `parent` exits for any reason (prctl(2))."""
    _libc.prctl(PR_SET_PDEATHSIG, number)
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)


def raise_descriptor_limit() -> None:
    """Raises the soft limit to the hard limit (getrlimit(2))."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def keep_freed_memory() -> None:
    """Lets the allocator keep some of the memory that is freed (mallopt(3)).

    By default glibc returns most large blocks to the kernel at once, and each page of the next block is a
    page fault again: these took half of the CPU time of a server that sends observations of 200 KB.
    """
    if set_option := getattr(_libc, "mallopt", None):  # musl has none
        set_option(M_MMAP_THRESHOLD, 32 * 1024 * 1024)
        set_option(M_TRIM_THRESHOLD, 64 * 1024 * 1024)


def adopt_orphans() -> None:
    """Makes this process the parent of descendants whose own parent has exited (prctl(2))."""
    _libc.prctl(PR_SET_CHILD_SUBREAPER, 1)


def kill_descendants(spared: Collection[int] = ()) -> None:
    """Kills all children with their descendants, except for the children `spared`."""
    import psutil

    while strays := [child for child in psutil.Process().children() if child.pid not in spared]:
        for stray in strays:
            with contextlib.suppress(psutil.NoSuchProcess):
                descendants = stray.children(recursive=True)
                os.kill(stray.pid, signal.SIGKILL)  # only this process waits for it: it exists
                os.waitpid(stray.pid, 0)
                for process in descendants:
                    with contextlib.suppress(psutil.NoSuchProcess):
                        process.kill()


def exit_like(code: int) -> NoReturn:
    """Exits with the code, or by the signal, by which another process exited."""
    if code < 0:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # that process has dumped its core
        with contextlib.suppress(OSError):
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code)
