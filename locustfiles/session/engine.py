"""Runs any number of sessions in one process: one epoll for all their sockets, itself watched by
gevent's hub, so that there is neither a greenlet nor a timer for each of them."""

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
from locustfiles.session.plan import connect_failure, Target

CLOSE_SECONDS = 10.0
"""Until a server has closed a session that said goodbye; its place is free then."""

HANG_UP_SECONDS = 1.0
"""For a server to end the connection of a session that both have closed."""

READY_AT_ONCE = 4096  # sockets asked of the kernel in one call
TURN_SECONDS = 0.02
"""After which others in the process have their turn, though sockets are still ready."""

SMALL, LARGE = 4096, 262_144  # bytes read at once, of a usual answer and of one in many pieces

READ, WRITE = select.EPOLLIN, select.EPOLLOUT
Done = Callable[[Outcome], None]


class Connection:
    """A conversation and its socket."""

    __slots__ = ("connected", "deadline", "done", "leaving", "opening", "rest", "socket", "talk")

    def __init__(self, talk: Conversation, socket: _socket.socket, done: Done) -> None:
        self.talk, self.socket, self.done = talk, socket, done
        self.deadline = 0.0
        self.opening = True
        self.connected = self.leaving = False
        self.rest = b""  # of what is to be sent


class Engine:
    """`saw_lag` is told, in seconds, how long those waited that were served last."""

    def __init__(self, hub: Hub) -> None:
        self.saw_lag: Callable[[float], None] = lambda _: None
        self.opening = 0  # sessions that are not upgraded yet
        self.last_opened = 0.0  # of time.perf_counter
        self._epoll = monkey.get_original("select", "epoll")()  # Locust's patches take it away
        self._open: dict[int, Connection] = {}
        self._ready: list[tuple[int, int]] = []
        self._polled = 0.0
        self._deadlines: Deadlines[Connection] = Deadlines()
        self._loop = hub.loop
        self._timer = hub.loop.timer(0.0)
        self._alarm = float("inf")
        self._watcher = hub.loop.io(self._epoll.fileno(), 1)
        self._watcher.start(self.turn)

    def start(self, talk: Conversation, target: Target, done: Done) -> None:
        """Begins the session; `done` gets its outcome, from within the hub: it must not wait."""
        try:
            socket = target.begin()
        except Exception as failure:  # noqa: BLE001 - it is an outcome too
            talk.end(failure)
            done(talk.outcome)
            return
        connection = Connection(talk, socket, done)
        talk.fd = socket.fileno()
        self._open[talk.fd] = connection
        self.opening += 1
        self._limit(connection, talk.plan.timeout)
        self._act(connection, lambda: self._begin(connection, talk.begin(target)))

    def go_on(self, talk: Conversation) -> None:
        """The session's gate is open."""
        connection = self._open[talk.fd]
        self._limit(connection, talk.plan.timeout)
        self._act(connection, lambda: self._send(connection, talk.go_on()))

    def cancel(self, talk: Conversation) -> None:
        """Drops the session, wherever it is; nobody is told."""
        if talk.phase != OVER:
            talk.end(None)
            if connection := self._open.get(talk.fd):  # none when it waits for its host's address
                self._forget(connection)

    def turn(self) -> bool:
        """Serves sockets that are ready, for a while; whether some are left."""
        if not self._ready:
            self._polled = time.perf_counter()
            self._ready = self._epoll.poll(0, READY_AT_ONCE)
            self._ready.reverse()
        enough = time.perf_counter() + TURN_SECONDS
        ready, connections = self._ready, self._open
        while ready:
            descriptor, events = ready.pop()
            connection = connections.get(descriptor)
            if connection is not None:
                self._serve(connection, events)
            if time.perf_counter() > enough:
                break
        self.saw_lag(time.perf_counter() - self._polled)
        return bool(ready)

    def _serve(self, connection: Connection, events: int) -> None:
        talk = connection.talk
        try:
            if events & WRITE or not connection.connected:
                self._flush(connection)
            if events & ~WRITE and connection.connected:
                data = self._read(connection)
                if data:
                    if answer := talk.take(data):
                        self._send(connection, answer)
                elif data is not None:
                    talk.cut(None)
        except Exception as failure:  # noqa: BLE001 - it is an outcome too
            self._end(connection, failure)
            return
        if connection.opening and talk.phase != UPGRADING:
            self._opened(connection)
        if talk.phase >= HELD:
            self._rearm(connection)

    def _act(self, connection: Connection, action: Callable[[], None]) -> None:
        try:
            action()
        except Exception as failure:  # noqa: BLE001 - it is an outcome too
            self._end(connection, failure)

    def _read(self, connection: Connection) -> bytes | None:
        """Empty is the end; None is nothing yet."""
        try:
            return connection.socket.recv(LARGE if connection.talk.half_read else SMALL)
        except BlockingIOError:
            return None
        except OSError as failure:
            connection.talk.cut(failure)
            return None

    def _begin(self, connection: Connection, upgrade: bytes) -> None:
        """Nearby, it is connected already."""
        self._epoll.register(connection.talk.fd, READ)
        self._send(connection, upgrade)

    def _send(self, connection: Connection, data: bytes) -> None:
        if connection.rest:
            connection.rest += data
            return
        sent = self._write(connection, data)
        if sent < len(data):
            connection.rest = data[sent:]
            self._epoll.modify(connection.talk.fd, READ | WRITE)

    def _flush(self, connection: Connection) -> None:
        connection.rest = connection.rest[self._write(connection, connection.rest) :]
        if not connection.rest:
            self._epoll.modify(connection.talk.fd, READ)

    def _write(self, connection: Connection, data: bytes) -> int:
        """How much of it could be sent."""
        try:
            sent = connection.socket.send(data)
        except BlockingIOError:
            return 0
        except OSError as failure:
            if not connection.connected:
                raise connect_failure(failure) from None
            return len(data)  # what the server said last is still to be read; then comes the end
        connection.connected = True
        return sent

    def _rearm(self, connection: Connection) -> None:
        """Held sessions have no deadline; those that said goodbye may have little time."""
        talk = connection.talk
        if talk.phase == OVER:
            self._end(connection, None)
        elif talk.phase == HELD:
            connection.deadline = float("inf")
        elif talk.phase == CLOSED:
            self._limit(connection, HANG_UP_SECONDS)
        elif talk.phase == CLOSING and not connection.leaving:
            connection.leaving = True
            if time.perf_counter() + CLOSE_SECONDS < connection.deadline:
                self._limit(connection, CLOSE_SECONDS)

    def _end(self, connection: Connection, failure: Exception | None) -> None:
        self._forget(connection)
        connection.talk.end(failure)
        connection.done(connection.talk.outcome)

    def _opened(self, connection: Connection) -> None:
        """It is, or it never will be."""
        connection.opening = False
        self.opening -= 1
        self.last_opened = time.perf_counter()

    def _forget(self, connection: Connection) -> None:
        if connection.opening:
            self._opened(connection)
        connection.deadline = float("inf")
        del self._open[connection.talk.fd]
        connection.socket.close()

    def _limit(self, connection: Connection, seconds: float) -> None:
        self._deadlines.add(connection, seconds)
        if connection.deadline < self._alarm:
            self._wake()

    def _wake(self) -> None:
        """At the next deadline."""
        earliest = self._deadlines.next()
        self._timer.stop()
        self._alarm = float("inf")
        if earliest is not None:
            self._alarm = earliest
            self._timer = self._loop.timer(max(0.0, earliest - time.perf_counter()))
            self._timer.start(self._expire)

    def _expire(self) -> None:
        for connection in self._deadlines.over():
            talk = connection.talk
            in_time = talk.phase == CLOSED or (
                talk.phase == CLOSING and time.perf_counter() < talk.limit
            )
            self._end(connection, None if in_time else talk.plan.too_long)
        self._wake()


@functools.cache
def engine_of(hub: Hub) -> Engine:
    return Engine(hub)


def engine() -> Engine:
    """The one of this thread."""
    return engine_of(gevent.get_hub())
