import contextlib
import os
import selectors
import signal
from collections import deque
from collections.abc import Callable, Iterator

from launcher.system.wakeup import WakeupPipe

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(Exception):
    """A signal asked the launcher to stop."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


@contextlib.contextmanager
def _handled(handler: Callable[[int, object], object]) -> Iterator[None]:
    previous = {number: signal.signal(number, handler) for number in STOP_SIGNALS}
    try:
        yield
    finally:
        for number, before in previous.items():
            signal.signal(number, before)


@contextlib.contextmanager
def interruptible() -> Iterator[Callable[[], None]]:
    """Within `with`, a signal that stops the launcher raises `Interrupted` wherever it arrives, until
    the yielded function is called: from then on these signals are ignored."""

    def interrupt(number: int, _: object) -> None:
        raise Interrupted(number)

    def ignore() -> None:
        for number in STOP_SIGNALS:
            signal.signal(number, signal.SIG_IGN)

    with _handled(interrupt):
        yield ignore


@contextlib.contextmanager
def signals_deferred() -> Iterator[None]:
    """A signal that stops the launcher takes effect after the `with` block instead of within it."""
    caught: list[int] = []
    with _handled(lambda number, _: caught.append(number)):
        yield
    if caught:
        os.kill(os.getpid(), caught[0])


class Signals:
    """Within `with`, a signal that stops the launcher wakes `selector` (with data None) and is kept
    until `check` raises it as `Interrupted`, so that it never interrupts a write."""

    def __init__(self, selector: selectors.BaseSelector) -> None:
        self._selector = selector
        self._caught: deque[int] = deque()

    def __enter__(self) -> "Signals":
        self._wakeup = WakeupPipe()
        self._selector.register(self._wakeup, selectors.EVENT_READ, None)
        self._restore = self._wakeup.catch(
            STOP_SIGNALS, lambda number, _: self._caught.append(number)
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._restore()
        self._selector.unregister(self._wakeup)
        self._wakeup.close()

    def check(self) -> None:
        self._wakeup.drain()
        if self._caught:
            raise Interrupted(self._caught.popleft())


@contextlib.contextmanager
def signals_blocked() -> Iterator[None]:
    """A thread that starts within `with` receives no signal that the main thread handles."""
    previous = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, previous)
