"""Relays signals and terminal data to a command until it exits."""

import os
import select
import signal

TO_THE_GROUP = {signal.SIGINT, signal.SIGQUIT, signal.SIGHUP}  # terminals signal a whole group
SIGNALS = TO_THE_GROUP | {signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2}


def relay(pid: int, copies: dict[int, int]) -> None:
    """Forwards signals to the process `pid`, and data from each key of `copies` to its value, until the
    process exits. Unblocks SIGNALS. Does not reap the process."""
    pidfd = os.pidfd_open(pid)
    # A signal that arrives just before select() must interrupt it as well.
    woken, waker = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(waker)
    _forward_signals(pid)
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
    """Returns False at the end of the data. Reading a terminal fails when its other end is closed."""
    try:
        text = os.read(source, 65536)
        more = bool(text)
        while text:
            text = text[os.write(target, text) :]
    except OSError:
        return False
    return more


def _forward_signals(pid: int) -> None:
    def forward(number: int, _: object) -> None:
        try:
            (os.killpg if number in TO_THE_GROUP else os.kill)(pid, number)
        except ProcessLookupError:  # it has not called setsid() yet
            os.kill(pid, number)

    for number in SIGNALS:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, forward)
