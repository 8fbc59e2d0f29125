"""`python -m tests.perf.peers.page_client HOST PORT SESSIONS STEPS SIZE`: the load for large observations.
Each session asks for a text of this size again and again. It measures whole frames and parses one in
`PARSED`, because parsing each would cost more than receiving it."""

import base64
import os
import select
import socket
import sys
import time
from dataclasses import dataclass

import orjson

from benchmark.server.process import raise_descriptor_limit
from tests.perf.peers.raw_client import frame, RESET
from tests.perf.peers.replies import SessionResults, UnexpectedReply
from tests.perf.peers.stock_sized import PAGE

SECONDS = 120.0
PARSED = 16
# Of a frame; every reply is longer.
HEAD_BYTES = 10
HEAD, TAIL = b'{"type":"observation","data":{', b"}}"


@dataclass(slots=True)
class Session:
    socket: socket.socket
    data: bytearray
    rest: memoryview  # of the data: not received yet
    received: int = 0
    needed: int = HEAD_BYTES
    steps: int = -1  # the first reply is that of the reset
    sent_at: float = 0.0


class Load:
    def __init__(self, host: str, port: int, sessions: int, steps: int, size: int) -> None:
        self._steps, self._size = steps, size
        self._step = frame(orjson.dumps({"type": "step", "data": {"size": size}}))
        self.results = SessionResults(sessions)
        self._epoll, self._open = select.epoll(), dict[int, Session]()
        for _ in range(sessions):
            self._connect(host, port)
        for session in self._open.values():
            session.sent_at = time.perf_counter()
            session.socket.sendall(frame(RESET))

    def run(self) -> SessionResults:
        started, deadline = time.perf_counter(), time.monotonic() + SECONDS
        while self._open and time.monotonic() < deadline:
            for descriptor, _ in self._epoll.poll(1):
                self._ready(self._open[descriptor])
        for session in list(self._open.values()):
            self._end(session, "TIMEOUT")
        self.results.step_seconds = time.perf_counter() - started
        return self.results

    def _connect(self, host: str, port: int) -> None:
        connection = socket.create_connection((host, port), timeout=10)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        key = base64.b64encode(os.urandom(16)).decode()
        connection.sendall(
            f"GET /ws HTTP/1.1\r\nHost: {host}:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n".encode()
        )
        answer = b""
        while b"\r\n\r\n" not in answer:
            answer += connection.recv(4096)
        if not answer.startswith(b"HTTP/1.1 101"):
            raise UnexpectedReply(answer[:200].decode(errors="replace"))
        data = bytearray(2 * self._size + 4096)  # a JSON text can be longer than the text in it
        self._open[connection.fileno()] = Session(connection, data, memoryview(data))
        self._epoll.register(connection.fileno(), select.EPOLLIN)

    def _ready(self, session: Session) -> None:
        try:
            received = session.socket.recv_into(session.rest)
            if not received:
                raise UnexpectedReply("disconnected")
            session.received += received
            session.rest = session.rest[received:]
            if session.received >= session.needed:
                self._complete(session)
        except (OSError, UnexpectedReply) as failure:
            self._end(session, repr(failure))

    def _complete(self, session: Session) -> None:
        """Handles the frame, if all of it is there. A server replies only once to each message, so that
        nothing follows a frame."""
        data, size, begin = session.data, session.data[1] & 127, 2
        if size > 125:
            begin = 4 if size == 126 else 10
            size = int.from_bytes(data[2:begin])
        session.needed = begin + size
        if session.received < session.needed:
            return
        if session.received > session.needed:
            raise UnexpectedReply(f"{session.received - session.needed} bytes after a frame")
        self._check(session, data, begin, begin + size)
        session.received, session.needed, session.rest = 0, HEAD_BYTES, memoryview(data)
        self._next(session)

    def _check(self, session: Session, data: bytearray, begin: int, end: int) -> None:
        if (
            data[0] != 0x81
            or not data.startswith(HEAD, begin)
            or not data.endswith(TAIL, begin, end)
        ):
            raise UnexpectedReply(bytes(data[:200]).decode(errors="replace"))
        if session.steps >= 0 and session.steps % PARSED == 0:
            with memoryview(data) as view, view[begin:end] as reply:
                text = orjson.loads(reply)["data"]["observation"]["text"]
            if text != PAGE[: self._size]:
                raise UnexpectedReply(f"a text of {len(text)} characters")

    def _next(self, session: Session) -> None:
        now = time.perf_counter()
        if session.steps >= 0:
            self.results.steps.append(now - session.sent_at)
        session.steps += 1
        if session.steps == self._steps:
            self._end(session, "")
            return
        session.sent_at = now
        session.socket.sendall(self._step)

    def _end(self, session: Session, why: str) -> None:
        if why:
            self.results.add_failure(why)
        del self._open[session.socket.fileno()]
        session.socket.close()


if __name__ == "__main__":
    raise_descriptor_limit()
    print(Load(sys.argv[1], *map(int, sys.argv[2:6])).run().line(), flush=True)
