"""Clients that leave while nothing is read from them.

An event loop looks only at connections that it reads from or writes to. A session whose client sends
ahead during a long step is not read from, so that the client's end would be seen when the step ends.
"""

import asyncio
import contextlib
import select
from collections.abc import Callable
from weakref import WeakKeyDictionary


class Leavers:
    """Tells, once each, which of the watched sockets have ended at the other side."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._epoll = select.epoll()
        self._gone: dict[int, Callable[[], None]] = {}
        loop.add_reader(self._epoll.fileno(), self._look)

    def watch(self, fd: int, gone: Callable[[], None]) -> None:
        self._gone[fd] = gone
        self._epoll.register(fd, select.EPOLLRDHUP)

    def unwatch(self, fd: int) -> None:
        """Before the socket is closed: its number will be another's."""
        if self._gone.pop(fd, None) is not None:
            with contextlib.suppress(OSError):
                self._epoll.unregister(fd)

    def _look(self) -> None:
        for fd, _ in self._epoll.poll(0):
            gone = self._gone.get(fd)
            self.unwatch(fd)
            if gone is not None:
                gone()


_of: WeakKeyDictionary[asyncio.AbstractEventLoop, Leavers] = WeakKeyDictionary()


def leavers(loop: asyncio.AbstractEventLoop) -> Leavers:
    """The loop's own."""
    if loop not in _of:
        _of[loop] = Leavers(loop)
    return _of[loop]
