"""Being there for a command until it ends."""

import os
import select
import signal

TO_THE_GROUP = (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP)  # as a terminal does
TO_THE_COMMAND = (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
SIGNALS = {*TO_THE_GROUP, *TO_THE_COMMAND}


def attend(pid: int, copies: dict[int, int]) -> None:
    """Passes on signals, which were blocked until now, and what can be read from each key of
    `copies` to its value, until the process `pid` has ended; it stays to be waited for."""
    pidfd = os.pidfd_open(pid)
    # a signal that comes just before a system call starts must end it too
    woken, waker = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(waker)
    _pass_on_signals(pid)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    copies = dict(copies)
    while True:
        ready, _, _ = select.select([pidfd, woken, *copies], [], [])
        if woken in ready:
            os.read(woken, 4096)
        readable = [source for source in copies if source in ready]
        for source in readable:
            if not _copy(source, copies[source]):
                del copies[source]
        if pidfd in ready and not readable:
            return


def _copy(source: int, target: int) -> bool:
    """Whether there may be more: a terminal whose other end nobody has open is an error to read."""
    try:
        text = os.read(source, 65536)
        more = bool(text)
        while text:
            text = text[os.write(target, text) :]
    except OSError:
        return False
    return more


def _pass_on_signals(pid: int) -> None:
    def to_the_group(number: int, _: object) -> None:
        try:
            os.killpg(pid, number)
        except ProcessLookupError:  # it is so new that it has no group yet
            os.kill(pid, number)

    def to_the_command(number: int, _: object) -> None:
        os.kill(pid, number)

    for numbers, handler in ((TO_THE_GROUP, to_the_group), (TO_THE_COMMAND, to_the_command)):
        for number in numbers:
            if signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, handler)
