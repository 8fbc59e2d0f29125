"""Runs any number of sessions in one process.

One epoll instance watches all sockets, and gevent's hub watches that epoll instance, so that a session
needs neither a greenlet nor a timer. See deploy/decisions/0002-epoll-engine-under-locust.md.
"""

import _socket
import functools
import select
import time
from collections.abc import Callable

import gevent
from gevent import monkey
from gevent.hub import Hub

from locustfiles.session.conversation import CLOSED, CLOSING, Conversation, HELD, OVER, UPGRADING
from locustfiles.session.deadlines import Deadlines
from locustfiles.session.outcome import Outcome
from locustfiles.session.plan import connect_error, Target

# How long to wait for the server's close frame, which frees the place of the session.
CLOSE_SECONDS = 10.0
# How long to wait for the server to close the connection after both close frames.
DISCONNECT_SECONDS = 1.0
MAX_EVENTS = 4096  # events that one epoll call returns
# After this time other greenlets run, even if more sockets are ready.
TURN_SECONDS = 0.02
SMALL, LARGE = 4096, 262_144  # bytes to read at once: usually, and within a fragmented message

READ, WRITE = select.EPOLLIN, select.EPOLLOUT
Done = Callable[[Outcome], None]


class Connection:
    __slots__ = (
        "closing",
        "connected",
        "conversation",
        "deadline",
        "done",
        "opening",
        "socket",
        "unsent",
    )

    def __init__(self, conversation: Conversation, socket: _socket.socket, done: Done) -> None:
        self.conversation, self.socket, self.done = conversation, socket, done
        self.deadline = 0.0
        self.opening = True
        self.connected = self.closing = False
        self.unsent = b""


class Engine:
    """`on_lag` is called after every turn with the time, in seconds, that ready sockets waited for it."""

    def __init__(self, hub: Hub) -> None:
        self.on_lag: Callable[[float], None] = lambda _: None
        self.opening = 0  # sessions before the end of their handshake
        self.last_opened = 0.0  # in seconds of time.perf_counter
        self._epoll = monkey.get_original("select", "epoll")()  # gevent's patches remove it
        self._open: dict[int, Connection] = {}
        self._ready: list[tuple[int, int]] = []
        self._polled = 0.0
        self._deadlines: Deadlines[Connection] = Deadlines()
        self._loop = hub.loop
        self._timer = hub.loop.timer(0.0)
        self._alarm = float("inf")
        self._watcher = hub.loop.io(self._epoll.fileno(), 1)
        self._watcher.start(self.turn)

    def start(self, conversation: Conversation, target: Target, done: Done) -> None:
        """Starts the session. `done` receives its outcome in the hub and must not block."""
        try:
            socket = target.connect()
        except Exception as failure:  # noqa: BLE001 - becomes the outcome
            conversation.finish(failure)
            done(conversation.outcome)
            return
        connection = Connection(conversation, socket, done)
        conversation.fd = socket.fileno()
        self._open[conversation.fd] = connection
        self.opening += 1
        self._set_deadline(connection, conversation.plan.timeout)
        self._attempt(connection, lambda: self._request_upgrade(connection, target))

    def resume(self, conversation: Conversation) -> None:
        connection = self._open[conversation.fd]
        self._set_deadline(connection, conversation.plan.timeout)
        self._attempt(connection, lambda: self._send(connection, conversation.resume()))

    def cancel(self, conversation: Conversation) -> None:
        """Drops the session in any phase, without calling `done`."""
        if conversation.phase != OVER:
            conversation.finish(None)
            connection = self._open.get(conversation.fd)
            if connection is not None:  # None until the host name is resolved
                self._forget(connection)

    def turn(self) -> bool:
        """Serves ready sockets for up to `TURN_SECONDS`. Returns whether more are ready."""
        if not self._ready:
            self._polled = time.perf_counter()
            self._ready = self._epoll.poll(0, MAX_EVENTS)
            self._ready.reverse()
        end = time.perf_counter() + TURN_SECONDS
        ready, connections = self._ready, self._open
        while ready:
            descriptor, events = ready.pop()
            connection = connections.get(descriptor)
            if connection is not None:
                self._serve(connection, events)
            if time.perf_counter() > end:
                break
        self.on_lag(time.perf_counter() - self._polled)
        return bool(ready)

    def _serve(self, connection: Connection, events: int) -> None:
        conversation = connection.conversation
        try:
            if events & WRITE or not connection.connected:
                self._flush(connection)
            if events & ~WRITE and connection.connected:
                data = self._read(connection)
                if data:
                    if reply := conversation.receive(data):
                        self._send(connection, reply)
                elif data is not None:
                    conversation.connection_lost(None)
        except Exception as failure:  # noqa: BLE001 - becomes the outcome
            self._end(connection, failure)
            return
        if connection.opening and conversation.phase != UPGRADING:
            self._opened(connection)
        if conversation.phase >= HELD:
            self._update_deadline(connection)

    def _attempt(self, connection: Connection, action: Callable[[], None]) -> None:
        try:
            action()
        except Exception as failure:  # noqa: BLE001 - becomes the outcome
            self._end(connection, failure)

    def _read(self, connection: Connection) -> bytes | None:
        """Empty at the end of the connection; None when nothing can be read."""
        try:
            return connection.socket.recv(LARGE if connection.conversation.mid_message else SMALL)
        except BlockingIOError:
            return None
        except OSError as failure:
            connection.conversation.connection_lost(failure)
            return None

    def _request_upgrade(self, connection: Connection, target: Target) -> None:
        self._epoll.register(connection.conversation.fd, READ)
        self._send(connection, connection.conversation.upgrade_request(target))

    def _send(self, connection: Connection, data: bytes) -> None:
        if connection.unsent:
            connection.unsent += data
            return
        sent = self._write(connection, data)
        if sent < len(data):
            connection.unsent = data[sent:]
            self._epoll.modify(connection.conversation.fd, READ | WRITE)

    def _flush(self, connection: Connection) -> None:
        connection.unsent = connection.unsent[self._write(connection, connection.unsent) :]
        if not connection.unsent:
            self._epoll.modify(connection.conversation.fd, READ)

    def _write(self, connection: Connection, data: bytes) -> int:
        try:
            sent = connection.socket.send(data)
        except BlockingIOError:
            return 0
        except OSError as failure:
            if not connection.connected:
                raise connect_error(failure) from None
            return len(data)  # read what the server still sent; the end of the connection follows
        connection.connected = True
        return sent

    def _update_deadline(self, connection: Connection) -> None:
        """Held sessions have no deadline; closing sessions have a shorter one."""
        conversation = connection.conversation
        if conversation.phase == OVER:
            self._end(connection, None)
        elif conversation.phase == HELD:
            connection.deadline = float("inf")
        elif conversation.phase == CLOSED:
            self._set_deadline(connection, DISCONNECT_SECONDS)
        elif conversation.phase == CLOSING and not connection.closing:
            connection.closing = True
            if time.perf_counter() + CLOSE_SECONDS < connection.deadline:
                self._set_deadline(connection, CLOSE_SECONDS)

    def _end(self, connection: Connection, failure: Exception | None) -> None:
        self._forget(connection)
        connection.conversation.finish(failure)
        connection.done(connection.conversation.outcome)

    def _opened(self, connection: Connection) -> None:
        connection.opening = False
        self.opening -= 1
        self.last_opened = time.perf_counter()

    def _forget(self, connection: Connection) -> None:
        if connection.opening:
            self._opened(connection)
        connection.deadline = float("inf")
        del self._open[connection.conversation.fd]
        connection.socket.close()

    def _set_deadline(self, connection: Connection, seconds: float) -> None:
        self._deadlines.set(connection, seconds)
        if connection.deadline < self._alarm:
            self._set_timer()

    def _set_timer(self) -> None:
        earliest = self._deadlines.next()
        self._timer.stop()
        self._alarm = float("inf")
        if earliest is not None:
            self._alarm = earliest
            self._timer = self._loop.timer(max(0.0, earliest - time.perf_counter()))
            self._timer.start(self._expire)

    def _expire(self) -> None:
        for connection in self._deadlines.expired():
            conversation = connection.conversation
            in_time = conversation.phase == CLOSED or (
                conversation.phase == CLOSING and time.perf_counter() < conversation.deadline
            )
            self._end(connection, None if in_time else conversation.plan.timeout_error)
        self._set_timer()


@functools.cache
def _engine_of(hub: Hub) -> Engine:
    return Engine(hub)


def engine() -> Engine:
    """The engine of this thread."""
    return _engine_of(gevent.get_hub())
