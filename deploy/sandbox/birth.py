"""Processes that are the first of a PID namespace: the holder of a sandbox, the init of a node."""

import contextlib
import os
import signal
import socket
import struct
from collections.abc import Callable
from pathlib import Path

from sandbox import kernel
from sandbox.errors import StartFailed
from sandbox.processes import identify, Process


def first_of_namespace(
    what: str, prepare: Callable[[], None], become: Callable[[], None], log: Path
) -> Process:
    """A new process that runs `become`, which ends in an exec.

    `prepare` chooses beforehand the namespaces in which the new one nests. Returns after the exec.
    Two forks are needed: a process that enters a PID namespace stays outside, only its children
    are within, and only these can make one nested in it.
    """
    receiver, sender = socket.socketpair()
    # whichever pid the sender has within its namespaces, the kernel tells the one it has here
    receiver.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)

    def first() -> None:
        os.setsid()
        for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
            signal.signal(number, signal.SIG_DFL)  # ignored ones would stay ignored
        sender.send(b"!")
        become()

    def middle() -> None:
        kernel.unshare(kernel.NEWPID)
        kernel.fork(first)

    def outer() -> None:
        receiver.close()
        _detach(log)
        prepare()
        if kernel.wait(kernel.fork(middle)):
            raise StartFailed(f"{what} did not start")

    with receiver:
        with sender:
            pid = kernel.fork(outer)
        process = _sender(receiver)
        while receiver.recv(1):
            pass
        kernel.wait(pid)
    if process is None or not process.alive:
        raise StartFailed(f"{what} did not start; {log}:\n{_end(log)}")
    return process


def _sender(receiver: socket.socket) -> Process | None:
    layout = "3i"  # pid, user, group
    _, ancillary, *_ = receiver.recvmsg(1, socket.CMSG_SPACE(struct.calcsize(layout)))
    for _, kind, data in ancillary:
        if kind == socket.SCM_CREDENTIALS:
            with contextlib.suppress(struct.error):
                return identify(struct.unpack(layout, data)[0])
    return None


def _detach(log: Path) -> None:
    """Nothing of the caller's is open in what is executed."""
    nothing = os.open(os.devnull, os.O_RDONLY)
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    for descriptor in [int(path.name) for path in Path("/proc/self/fd").iterdir()]:
        with contextlib.suppress(OSError):  # the one of the listing itself
            os.set_inheritable(descriptor, False)
    for descriptor, standard in ((nothing, 0), (output, 1), (output, 2)):
        os.dup2(descriptor, standard)


def _end(log: Path) -> str:
    return log.read_text(errors="replace").strip() if log.exists() else "(empty)"
