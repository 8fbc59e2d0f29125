"""System calls that the standard library of Python 3.11 lacks, and fork and wait."""

import contextlib
import ctypes
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from sandbox.errors import SandboxError

NEWNS = 0x00020000
NEWUTS = 0x04000000
NEWIPC = 0x08000000
NEWPID = 0x20000000
NEWNET = 0x40000000

MS_RDONLY = 1
MS_NOSUID = 2
MS_NODEV = 4
MS_NOEXEC = 8
MS_REMOUNT = 32
MS_BIND = 4096
MS_REC = 16384
MS_PRIVATE = 1 << 18
MNT_DETACH = 2
PR_SET_PDEATHSIG = 1

_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> None:
    if result:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def unshare(flags: int) -> None:
    _check(_libc.unshare(flags), "unshare")


def setns(descriptor: int, kind: int) -> None:
    _check(_libc.setns(descriptor, kind), "setns")


def mount(
    source: Path | str, target: Path | str, kind: str = "", flags: int = 0, options: str = ""
) -> None:
    texts = [str(text).encode() for text in (source, target, kind)]
    result = _libc.mount(*texts, ctypes.c_ulong(flags), options.encode())
    _check(result, f"mount {source} on {target} {kind} {options}".rstrip())


def bind(source: Path, target: Path, read_only: bool = False) -> None:
    mount(source, target, flags=MS_BIND)
    if read_only:
        mount(source, target, flags=MS_BIND | MS_REMOUNT | MS_RDONLY)


def private_mounts() -> None:
    unshare(NEWNS)
    mount("none", "/", flags=MS_REC | MS_PRIVATE)


def pivot_root(root: Path) -> None:
    """Makes the mount point `root` the root; see "pivot_root(".", ".")" in pivot_root(2)."""
    os.chdir(root)
    _check(_libc.pivot_root(b".", b"."), f"pivot_root {root}")
    _check(_libc.umount2(b".", MNT_DETACH), "umount of the old root")
    os.chdir("/")


def die_with_parent(number: int = signal.SIGKILL) -> None:
    _check(_libc.prctl(PR_SET_PDEATHSIG, number, 0, 0, 0), "prctl")


@contextlib.contextmanager
def namespaces(pid: int, kinds: dict[str, int]) -> Iterator[Callable[[], None]]:
    """Opens the namespaces of `pid`; the value is a function that enters them."""
    opened = {name: os.open(f"/proc/{pid}/ns/{name}", os.O_RDONLY) for name in kinds}

    def enter() -> None:
        for name, descriptor in opened.items():
            setns(descriptor, kinds[name])

    try:
        yield enter
    finally:
        for descriptor in opened.values():
            os.close(descriptor)


def fork(work: Callable[[], object]) -> int:
    sys.stdout.flush()
    sys.stderr.flush()
    if pid := os.fork():
        return pid
    code = 1
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    try:
        work()
        code = 0
    except (OSError, SandboxError) as failure:
        os.write(2, f"{failure}\n".encode())
    except BaseException:  # noqa: BLE001  (a child must exit here in any case)
        sys.excepthook(*sys.exc_info())
    finally:
        os._exit(code)


def wait(pid: int) -> int:
    """Returns the exit code, or 128 + N if signal N terminated the process."""
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return code if code >= 0 else 128 - code
