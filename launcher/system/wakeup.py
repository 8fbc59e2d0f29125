import contextlib
import os
import signal
from collections.abc import Callable, Iterable
from typing import Any


def _ignore(*_: object) -> None: ...


class WakeupPipe:
    """Ends a `select` from a signal handler or from another thread.

    https://docs.python.org/3/library/signal.html#signal.set_wakeup_fd
    """

    def __init__(self) -> None:
        self._reading, self._writing = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def fileno(self) -> int:
        return self._reading

    def catch(
        self, numbers: Iterable[int], handler: Callable[[int, Any], object] = _ignore
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
