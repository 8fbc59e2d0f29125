"""Starts the first process of a PID namespace: the holder of a sandbox, or the init of a node."""

import contextlib
import os
import signal
import socket
import struct
from collections.abc import Callable
from pathlib import Path

from sandbox.errors import StartFailed
from sandbox.system import kernel
from sandbox.system.processes import identify, Process


def first_of_namespace(
    what: str, prepare: Callable[[], None], become: Callable[[], None], log: Path
) -> Process:
    """Starts a process that runs `become`, which ends in an exec, and returns after the exec.

    `prepare` enters the namespaces in which the new one nests. This takes two forks: a process that
    enters a PID namespace stays outside, its children are inside, and only they can create a nested
    one (pid_namespaces(7)). Raises `StartFailed`.
    """
    receiver, sender = socket.socketpair()
    # The kernel translates the pid of the sender into the one it has in this namespace.
    receiver.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)

    def first() -> None:
        os.setsid()
        for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
            signal.signal(number, signal.SIG_DFL)  # exec keeps ignored signals ignored
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
        text = log.read_text(errors="replace").strip() if log.exists() else "(empty)"
        raise StartFailed(f"{what} did not start; {log}:\n{text}")
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
    """Closes the caller's files on exec; standard output and error go to the log."""
    nothing = os.open(os.devnull, os.O_RDONLY)
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    for descriptor in [int(path.name) for path in Path("/proc/self/fd").iterdir()]:
        with contextlib.suppress(OSError):  # the descriptor of the listing itself
            os.set_inheritable(descriptor, False)
    for descriptor, standard in ((nothing, 0), (output, 1), (output, 2)):
        os.dup2(descriptor, standard)
