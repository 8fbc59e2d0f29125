"""Detects clients that disconnect while the server is not reading from them.

An event loop only watches connections that it reads from or writes to. When a client sends
messages during a long step, the server stops reading from it and would otherwise notice its
disconnect only when the step ends.
"""

import asyncio
import contextlib
import select
from collections.abc import Callable
from weakref import WeakKeyDictionary


class HalfCloseWatcher:
    """Calls a function, once, when the peer of a watched socket closes its side."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._epoll = select.epoll()
        self._callbacks: dict[int, Callable[[], None]] = {}
        loop.add_reader(self._epoll.fileno(), self._poll)

    def watch(self, fd: int, on_close: Callable[[], None]) -> None:
        self._callbacks[fd] = on_close
        self._epoll.register(fd, select.EPOLLRDHUP)

    def unwatch(self, fd: int) -> None:
        """Must be called before the socket is closed: the kernel reuses descriptors."""
        if self._callbacks.pop(fd, None) is not None:
            with contextlib.suppress(OSError):
                self._epoll.unregister(fd)

    def _poll(self) -> None:
        for fd, _ in self._epoll.poll(0):
            on_close = self._callbacks.get(fd)
            self.unwatch(fd)
            if on_close is not None:
                on_close()


_watchers: WeakKeyDictionary[asyncio.AbstractEventLoop, HalfCloseWatcher] = WeakKeyDictionary()


def half_close_watcher(loop: asyncio.AbstractEventLoop) -> HalfCloseWatcher:
    if loop not in _watchers:
        _watchers[loop] = HalfCloseWatcher(loop)
    return _watchers[loop]
