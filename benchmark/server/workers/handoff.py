"""Hands connections to the worker of the same server that owns their session.

A client of the shared port reaches any worker. The one that has read the request passes the connection,
with the request, to the owner, which serves it from then on as if it had accepted it. The sockets for
this belong to the server, so they outlive a worker: the one that replaces it receives what was sent to
it, and replies that the session is unknown.
"""

import asyncio
import os
import socket
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import cast

from benchmark.server.engine import session_id
from benchmark.server.places import Board
from benchmark.server.workers.sockets import WorkerSockets

MAX_PER_TURN = 64


class Handoff:
    def __init__(self, board: Board, index: int, sockets: WorkerSockets) -> None:
        self._board, self._index, self._inbox = board, index, sockets.inbox
        self._first_port = sockets.own_port - index
        self._outboxes = [_Outbox(each) for each in sockets.outboxes]
        self._adopting: set[asyncio.Task[None]] = set()

    def give(self, name: str, transport: asyncio.Transport, request: bytes) -> bool:
        """Gives the connection to the worker that owns the session of this name, and closes the transport.

        False if no other worker owns it, or if that one is not running.
        """
        owner = self._owner(name)
        if owner is None or transport.is_closing() or transport.get_write_buffer_size():
            return False
        try:
            fds = _copies(transport.get_extra_info("socket").fileno(), request)
        except OSError:  # this process has no descriptors left
            return False
        self._outboxes[owner].send(fds)
        transport.abort()  # the copy keeps the connection open
        return True

    def _owner(self, name: str) -> int | None:
        if (owner := session_id.owner(name)) is None:
            return None
        index = owner[1] - self._first_port
        others = 0 <= index < len(self._outboxes) and index != self._index
        return index if others and self._board.read(index).pid else None

    @contextmanager
    def receiving(self, protocol: Callable[[], asyncio.Protocol]) -> Iterator[None]:
        """Serves connections that other workers give, with protocols made by `protocol`."""
        loop = asyncio.get_running_loop()
        loop.add_reader(self._inbox.fileno(), self._receive, loop, protocol)
        try:
            yield
        finally:
            loop.remove_reader(self._inbox.fileno())

    def _receive(
        self, loop: asyncio.AbstractEventLoop, protocol: Callable[[], asyncio.Protocol]
    ) -> None:
        for _ in range(MAX_PER_TURN):
            try:
                _, fds, _, _ = socket.recv_fds(self._inbox, 1, 2, socket.MSG_CMSG_CLOEXEC)
            except OSError:
                return
            if len(fds) == 2:
                task = loop.create_task(_adopt(loop, protocol, *fds))
                self._adopting.add(task)
                task.add_done_callback(self._adopting.discard)
            else:  # this process has no descriptors left
                _close(fds)


async def _adopt(
    loop: asyncio.AbstractEventLoop,
    protocol: Callable[[], asyncio.Protocol],
    connection_fd: int,
    request_fd: int,
) -> None:
    connection = socket.socket(fileno=connection_fd)
    connection.setblocking(False)
    with open(request_fd, "rb") as file:
        request = file.read()
    try:
        await loop.connect_accepted_socket(lambda: _Adopted(protocol(), request), connection)
    except OSError:  # the client has left
        connection.close()


class _Adopted(asyncio.Protocol):
    """Gives the connection's protocol the request before anything that arrives later."""

    def __init__(self, protocol: asyncio.Protocol, request: bytes) -> None:
        self._protocol, self._request = protocol, request

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast(asyncio.Transport, transport).set_protocol(self._protocol)
        self._protocol.connection_made(transport)
        self._protocol.data_received(self._request)


class _Outbox:
    """Sends to one worker. What has no room in its inbox waits here."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._waiting: deque[list[int]] = deque()

    def send(self, fds: list[int]) -> None:
        self._waiting.append(fds)
        if len(self._waiting) == 1:
            self._send_waiting()

    def _send_waiting(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting:
            try:
                socket.send_fds(self._socket, [b"\0"], self._waiting[0])
            except BlockingIOError:
                loop.add_writer(self._socket.fileno(), self._send_waiting)
                return
            except OSError:  # too many descriptors are on their way: the client is disconnected
                pass
            _close(self._waiting.popleft())
        loop.remove_writer(self._socket.fileno())


def _copies(connection: int, request: bytes) -> list[int]:
    """A copy of the descriptor, and one of a file in memory with the request."""
    copies = [os.memfd_create("openenv-request")]
    try:
        with open(copies[0], "wb", closefd=False) as file:
            file.write(request)
        os.lseek(copies[0], 0, os.SEEK_SET)
        return [os.dup(connection), *copies]
    except OSError:
        _close(copies)
        raise


def _close(fds: list[int]) -> None:
    for fd in fds:
        os.close(fd)
