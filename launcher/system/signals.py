import contextlib
import os
import selectors
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(Exception):
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


class WakeupPipe:
    """Ends a `select` from a signal handler or from another thread.

    https://docs.python.org/3/library/signal.html#signal.set_wakeup_fd
    """

    def __init__(self) -> None:
        self._reading, self._writing = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def fileno(self) -> int:
        return self._reading

    def catch(
        self,
        numbers: Iterable[int],
        handler: Callable[[int, Any], object] = lambda *_: None,
    ) -> Callable[[], None]:
        """Makes the pipe readable at each of these signals; returns a function that restores their
        previous handlers."""
        wakeup = signal.set_wakeup_fd(self._writing)
        handlers = {number: signal.signal(number, handler) for number in numbers}

        def restore() -> None:
            signal.set_wakeup_fd(wakeup)
            for number, previous in handlers.items():
                signal.signal(number, previous)

        return restore

    def wake(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.write(self._writing, b"\0")

    def drain(self) -> bytes:
        """Empties the pipe without waiting. Each byte is the number of a signal, 0 for a `wake`."""
        with contextlib.suppress(BlockingIOError):
            return os.read(self._reading, 4096)
        return b""

    def close(self) -> None:
        os.close(self._reading)
        os.close(self._writing)


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
