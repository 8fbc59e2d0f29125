"""WebSocket frames as a client writes and reads them (RFC 6455, 5). Values in, values out."""

import functools
import os
from collections.abc import Iterator

TEXT, BINARY, CLOSE, PING, PONG = 0x1, 0x2, 0x8, 0x9, 0xA
CONTINUATION = 0x0
FIN, MASKED = 0x80, 0x80
MOST = 100 * 2**20
"""Bytes of a message; as many as OpenEnv's own client takes."""

MASKS = 1024  # drawn at once


class BadFrame(Exception):
    """What no server may send."""


class Request:
    """A frame whose payload is known before: it is sent many times, each time under a new mask."""

    def __init__(self, opcode: int, payload: bytes) -> None:
        size = len(payload)
        self._head = bytes((FIN | opcode,)) + _length(size)
        words = -(-size // 4)
        self._size, self._room = size, 4 * words
        self._payload = int.from_bytes(payload.ljust(self._room, b"\0"), "big")
        self._repeat = int.from_bytes(b"\0\0\0\1" * words, "big")

    def frame(self) -> bytes:
        mask = next(_masks)
        word = int.from_bytes(mask, "big")
        body = (self._payload ^ word * self._repeat).to_bytes(self._room, "big")
        return self._head + mask + body[: self._size]


def _length(size: int) -> bytes:
    if size < 126:
        return bytes((MASKED | size,))
    if size < 1 << 16:
        return bytes((MASKED | 126,)) + size.to_bytes(2, "big")
    return bytes((MASKED | 127,)) + size.to_bytes(8, "big")


def _random_masks() -> Iterator[bytes]:
    while True:
        block = os.urandom(4 * MASKS)
        yield from (block[at : at + 4] for at in range(0, 4 * MASKS, 4))


_masks = _random_masks()


def frame(opcode: int, payload: bytes) -> bytes:
    return Request(opcode, payload).frame()


def whole_text(data: bytes) -> bytes | None:
    """The message when `data` is one text frame and nothing else, as nearly always; else None."""
    if len(data) < 2 or data[0] != FIN | TEXT:
        return None
    size = data[1]
    if size < 126:
        return data[2:] if len(data) == 2 + size else None
    if size == 126 and len(data) >= 4 and len(data) == 4 + (data[2] << 8 | data[3]):
        return data[4:]
    return None


class Reader:
    """Takes bytes as they come, in whatever pieces; gives messages and control frames."""

    __slots__ = ("_buffer", "_kind", "_parts", "_size")

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._parts: list[bytes] = []
        self._size = 0
        self._kind: int | None = None

    @property
    def between_frames(self) -> bool:
        """Whether nothing is half read."""
        return not self._buffer and self._kind is None

    def feed(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        """What is complete now: (opcode, payload); fragments are put together. Raises `BadFrame`."""
        self._buffer += data
        while (taken := self._frame()) is not None:
            yield from self._join(*taken)

    def _frame(self) -> tuple[int, bytes] | None:
        """The first byte and the payload of the next frame; None until it is whole."""
        buffer = self._buffer
        if len(buffer) < 2:
            return None
        first, size, start = buffer[0], buffer[1], 2
        _check(first, size)
        if size >= 126:
            start = 4 if size == 126 else 10
            if len(buffer) < start:
                return None
            size = int.from_bytes(buffer[2:start], "big")
        if self._size + size > MOST:
            raise BadFrame(f"a message of more than {MOST} bytes")
        if len(buffer) < start + size:
            return None
        payload = bytes(memoryview(buffer)[start : start + size])
        del buffer[: start + size]
        return first, payload

    def _join(self, first: int, payload: bytes) -> Iterator[tuple[int, bytes]]:
        opcode, last = first & 0x0F, first & FIN
        if opcode >= CLOSE:
            yield opcode, payload
            return
        if (opcode == CONTINUATION) != (self._kind is not None):
            raise BadFrame("fragments of messages out of order")
        if self._kind is None and last:
            yield opcode, payload
            return
        self._kind = opcode or self._kind
        self._parts.append(payload)
        self._size += len(payload)
        if last:
            kind, whole = self._kind, b"".join(self._parts)
            self._parts, self._size, self._kind = [], 0, None
            assert kind is not None
            yield kind, whole


def _check(first: int, second: int) -> None:
    if first & 0x70:
        raise BadFrame("reserved bits are set")
    opcode = first & 0x0F
    if opcode not in (CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG):
        raise BadFrame(f"unknown opcode {opcode}")
    if second & MASKED:
        raise BadFrame("a server's frame is masked")
    if opcode >= CLOSE and (second > 125 or not first & FIN):
        raise BadFrame("a control frame that is long or in fragments")


def close_reason(payload: bytes) -> str:
    """What a close frame says: its code and reason. Raises `BadFrame`."""
    if not payload:
        return ""
    if len(payload) == 1:
        raise BadFrame("a close frame with half a code")
    code = int.from_bytes(payload[:2], "big")
    if not ((1000 <= code <= 1014 and code not in (1004, 1005, 1006)) or 3000 <= code < 5000):
        raise BadFrame(f"a close frame with code {code}")
    return f"{code} {payload[2:].decode(errors='replace')}".rstrip()


def closing(payload: bytes) -> bytes:
    """The close frame that answers one with that payload."""
    return _closing(payload[:2]).frame()


@functools.lru_cache(maxsize=16)
def _closing(code: bytes) -> Request:
    return Request(CLOSE, code)
