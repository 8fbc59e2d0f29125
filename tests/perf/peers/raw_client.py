"""`python -m tests.perf.peers.raw_client HOST PORT SESSIONS [--steps K] [--wait S] [--hold [N]]`: the neutral
load for measuring servers. One thread with epoll and hand-written frames; about 80 µs of CPU per session.
Checks every reply. With `--hold` all sessions open, reset and make N steps (0), it prints `held`, waits for
a line, and then all step.
"""

import argparse
import base64
import os
import select
import socket
import sys
import time
from dataclasses import dataclass, field
from typing import Any

import orjson
from websockets.speedups import apply_mask

from benchmark.server.process import raise_descriptor_limit
from tests.perf.peers.replies import check, SessionResults, UnexpectedReply

SECONDS = 180.0
# Concurrent handshakes: fewer than any server's accept queue holds.
AT_ONCE = 1000

RESET, CLOSE = b'{"type":"reset","data":{}}', b'{"type":"close"}'


def frame(text: bytes, opcode: int = 1) -> bytes:
    mask = os.urandom(4)
    return bytes((0x80 | opcode, 0x80 | len(text))) + mask + apply_mask(text, mask)


class _Ended(Exception):
    """Why a session ended; empty for a regular end."""


@dataclass(slots=True)
class Session:
    socket: socket.socket
    buffer: bytes = b""
    upgraded: bool = False
    answers: int = 0
    sent_at: float = 0.0


@dataclass
class Load:
    address: tuple[str, int]
    sessions: int
    steps: int
    wait: float
    hold: int | None
    results: SessionResults = field(init=False)

    def __post_init__(self) -> None:
        self.results = SessionResults(self.sessions)
        self._step = orjson.dumps({"type": "step", "data": {"wait_seconds": self.wait}})
        host = f"{self.address[0]}:{self.address[1]}".encode()
        self._request = b"GET /ws HTTP/1.1\r\nHost: " + host + b"\r\nUpgrade: websocket\r\n"
        self._request += b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: "
        self._epoll, self._open = select.epoll(), dict[int, Session]()
        self._held: list[Session] = []
        self._connecting = 0

    def run(self) -> SessionResults:
        remaining, deadline = self.sessions, time.monotonic() + SECONDS
        self._stepping = time.perf_counter()
        while remaining or self._open:
            for _ in range(min(remaining, 64, AT_ONCE - self._connecting)):
                self._connect()
                remaining -= 1
            more = remaining and self._connecting < AT_ONCE
            for descriptor, _ in self._epoll.poll(0 if more else 1, 512):
                self._ready(descriptor)
            if self._held and len(self._held) == len(self._open) and not remaining:
                self._release()
                deadline = time.monotonic() + SECONDS
            if time.monotonic() > deadline:
                for session in list(self._open.values()):
                    self._end(session, "TIMEOUT")
        return self.results

    def _connect(self) -> None:
        connection = socket.socket()
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.connect_ex(self.address)
        self._open[connection.fileno()] = Session(connection)
        self._epoll.register(connection.fileno(), select.EPOLLOUT)
        self._connecting += 1

    def _ready(self, descriptor: int) -> None:
        session = self._open.get(descriptor)
        if session is None:
            return
        try:
            if not session.sent_at:
                self._request_upgrade(session)
            else:
                self._read(session)
        except _Ended as ended:
            self._end(session, str(ended))
        except (OSError, UnexpectedReply, orjson.JSONDecodeError) as failure:
            self._end(session, repr(failure))

    def _request_upgrade(self, session: Session) -> None:
        if failure := session.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            raise OSError(failure, os.strerror(failure))
        key = base64.b64encode(os.urandom(16))
        session.socket.send(self._request + key + b"\r\n\r\n")
        session.sent_at = time.perf_counter()
        self._epoll.modify(session.socket.fileno(), select.EPOLLIN)

    def _read(self, session: Session) -> None:
        data = session.socket.recv(4096)
        if not data:
            raise _Ended("" if session.answers > self.steps else "DISCONNECTED")
        session.buffer = session.buffer + data if session.buffer else data
        if not session.upgraded:
            head, end, rest = session.buffer.partition(b"\r\n\r\n")
            if not end:
                return
            if not head.startswith(b"HTTP/1.1 101"):
                raise _Ended(head.split(b"\r\n")[0].decode(errors="replace"))
            session.upgraded, session.buffer = True, rest
            self._connecting -= 1
            session.socket.send(frame(RESET))
        while session.buffer and self._frame(session):
            pass

    def _frame(self, session: Session) -> bool:
        data = session.buffer
        if len(data) < 2:
            return False
        size, begin = data[1] & 127, 2
        if size == 126:
            size, begin = int.from_bytes(data[2:4], "big"), 4
        if len(data) < begin + size:
            return False
        session.buffer = data[begin + size :]
        if data[0] & 15 == 8:
            session.socket.send(frame(data[begin : begin + size], 8))
            raise _Ended("" if session.answers > self.steps else "CLOSED")
        if data[0] & 15 == 1:
            self._answer(session, data[begin : begin + size])
        return True

    def _answer(self, session: Session, text: bytes) -> None:
        now, count = time.perf_counter(), session.answers
        check(text, self.wait if count else 0.0, count)
        session.answers += 1
        if count:
            self.results.steps.append(now - session.sent_at)
        if count == self.steps:
            self.results.step_seconds = now - self._stepping
            session.socket.send(frame(CLOSE))
        elif count == self.hold:
            self._held.append(session)
        else:
            self._send_step(session)

    def _send_step(self, session: Session) -> None:
        session.sent_at = time.perf_counter()
        session.socket.send(frame(self._step))

    def _release(self) -> None:
        held, self._held, self.hold = self._held, [], None
        print("held", flush=True)
        sys.stdin.readline()
        self._stepping = time.perf_counter()
        for session in held:
            self._send_step(session)

    def _end(self, session: Session, why: str) -> None:
        if why:
            self.results.add_failure(why)
        if not session.upgraded:
            self._connecting -= 1
        del self._open[session.socket.fileno()]
        session.socket.close()


def main(arguments: Any = None) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("host")
    parser.add_argument("port", type=int)
    parser.add_argument("sessions", type=int)
    parser.add_argument("--steps", type=int, default=1)
    parser.add_argument("--wait", type=float, default=1.0)
    parser.add_argument("--hold", type=int, nargs="?", const=0)
    given = parser.parse_args(arguments)
    raise_descriptor_limit()
    where = (given.host, given.port)
    print(Load(where, given.sessions, given.steps, given.wait, given.hold).run().line(), flush=True)


if __name__ == "__main__":
    main()
