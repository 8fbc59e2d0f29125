"""`python -m tests.perf.peers.raw_server HOST PORT`: the neutral server for measuring clients. Hand-written
frames on a uvloop protocol, too cheap to be the bottleneck. It masks and validates nothing, and answers only
the messages of a session and the pages that the kit requests before it starts."""

import asyncio
import base64
import hashlib
import sys
from typing import cast

import orjson
import uvloop
from websockets.speedups import apply_mask

from benchmark.server.process import raise_descriptor_limit
from tests.perf.peers.messages import encoded, new_hash

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
PAGE = b'{"status":"healthy","action":{},"used":0,"max_sessions":1000000,"workers":[0]}'
CLOSE = b"\x88\x02\x03\xe8"


class Session(asyncio.Protocol):
    __slots__ = ("_buffer", "_hash", "_steps", "_transport", "_upgraded")

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._buffer, self._upgraded = b"", False
        self._hash, self._steps = new_hash(), 0

    def data_received(self, data: bytes) -> None:
        self._buffer = self._buffer + data if self._buffer else data
        if not self._upgraded and not self._upgrade():
            return
        while self._buffer and self._frame():
            pass

    def _upgrade(self) -> bool:
        head, end, rest = self._buffer.partition(b"\r\n\r\n")
        if not end:
            return False
        fields = dict(line.split(b": ", 1) for line in head.split(b"\r\n")[1:])
        key = {name.lower(): value for name, value in fields.items()}.get(b"sec-websocket-key")
        if key is None:
            length = str(len(PAGE)).encode()
            answer = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: " + length
            self._transport.write(answer + b"\r\n\r\n" + PAGE)
            self._transport.close()
            return False
        accept = base64.b64encode(hashlib.sha1(key + GUID).digest())
        self._transport.write(SWITCH + b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n")
        self._buffer, self._upgraded = rest, True
        return True

    def _frame(self) -> bool:
        """Handles one masked frame of up to 65,535 bytes; returns False while it is incomplete."""
        frame = self._buffer
        if len(frame) < 2:
            return False
        size, begin = frame[1] & 127, 6
        if size == 126:
            size, begin = int.from_bytes(frame[2:4], "big"), 8
        if len(frame) < begin + size:
            return False
        self._buffer = frame[begin + size :]
        if frame[0] & 15 == 8:
            self._transport.close()
            return False
        self._handle(
            orjson.loads(apply_mask(frame[begin : begin + size], frame[begin - 4 : begin]))
        )
        return True

    def _handle(self, message: dict[str, object]) -> None:
        kind, data = message["type"], message.get("data")
        if kind == "close":
            self._transport.write(CLOSE)  # the client replies to it, and then this side closes
            return
        wait = data.get("wait_seconds", 0.0) if kind == "step" and isinstance(data, dict) else 0.0
        self._steps = self._steps + 1 if kind == "step" else 0
        if wait > 0:
            asyncio.get_running_loop().call_later(wait, self._answer, wait)
        else:
            self._answer(wait)

    def _answer(self, wait: float) -> None:
        body = encoded(self._hash, wait, self._steps)
        self._transport.write(b"\x81\x7e" + len(body).to_bytes(2, "big") + body)


async def serve(host: str, port: int) -> None:
    await asyncio.get_running_loop().create_server(Session, host, port, backlog=65535)
    await asyncio.Event().wait()


if __name__ == "__main__":
    raise_descriptor_limit()
    uvloop.run(serve(sys.argv[1], int(sys.argv[2])))
