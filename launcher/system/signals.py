"""Signals as something to wait for, not something that strikes in the middle of a write."""

import contextlib
import os
import selectors
import signal
from collections import deque
from collections.abc import Callable, Iterator


class Interrupted(Exception):
    """A signal asked the launcher to stop."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


@contextlib.contextmanager
def raised() -> Iterator[Callable[[], None]]:
    """Within, the signals that stop a launcher are raised as `Interrupted`, until the function that
    it gives is called: they are passed over from then on."""

    def strike(number: int, _: object) -> None:
        raise Interrupted(number)

    before = {number: signal.signal(number, strike) for number in Signals.NUMBERS}

    def no_more() -> None:
        for number in before:
            signal.signal(number, signal.SIG_IGN)

    try:
        yield no_more
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Signals:
    """Within `with`, SIGINT, SIGTERM and SIGHUP wake `selector` (with data None) and are kept until
    `check` raises them as `Interrupted`."""

    NUMBERS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def __init__(self, selector: selectors.BaseSelector) -> None:
        self._selector = selector
        self._caught: deque[int] = deque()

    def __enter__(self) -> "Signals":
        self._reading, self._writing = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._selector.register(self._reading, selectors.EVENT_READ, None)
        self._wakeup = signal.set_wakeup_fd(self._writing)
        self._before = {
            number: signal.signal(number, lambda number, _: self._caught.append(number))
            for number in self.NUMBERS
        }
        return self

    def __exit__(self, *_: object) -> None:
        signal.set_wakeup_fd(self._wakeup)
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._selector.unregister(self._reading)
        os.close(self._reading)
        os.close(self._writing)

    def check(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self._reading, 4096)
        if self._caught:
            raise Interrupted(self._caught.popleft())
