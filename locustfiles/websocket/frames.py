"""WebSocket frames as a client writes and reads them (RFC 6455, section 5), without I/O."""

import functools
import os
from collections.abc import Iterator

TEXT, BINARY, CLOSE, PING, PONG = 0x1, 0x2, 0x8, 0x9, 0xA
CONTINUATION = 0x0
FIN, MASKED = 0x80, 0x80
# The limit for one message, in bytes; the same as in OpenEnv's own client.
MAX_MESSAGE = 100 * 2**20

MASKS = 1024  # random masks to generate at once
_masks: list[bytes] = []


class BadFrame(Exception):
    """The server sent a frame that the protocol does not allow."""


class Request:
    """A prepared frame that is sent many times, each time with a new mask."""

    def __init__(self, opcode: int, payload: bytes) -> None:
        size = len(payload)
        self._head = bytes((FIN | opcode,)) + _length(size)
        words = -(-size // 4)
        self._size, self._padded = size, 4 * words
        self._payload = int.from_bytes(payload.ljust(self._padded, b"\0"))
        self._repeat = int.from_bytes(b"\0\0\0\1" * words)

    def frame(self) -> bytes:
        mask = _next_mask()
        word = int.from_bytes(mask)
        body = (self._payload ^ word * self._repeat).to_bytes(self._padded)
        return self._head + mask + body[: self._size]


def _length(size: int) -> bytes:
    if size < 126:
        return bytes((MASKED | size,))
    if size < 1 << 16:
        return bytes((MASKED | 126,)) + size.to_bytes(2)
    return bytes((MASKED | 127,)) + size.to_bytes(8)


def _next_mask() -> bytes:
    if not _masks:
        block = os.urandom(4 * MASKS)
        _masks.extend(block[at : at + 4] for at in range(0, len(block), 4))
    return _masks.pop()


def frame(opcode: int, payload: bytes) -> bytes:
    return Request(opcode, payload).frame()


def whole_text(data: bytes) -> bytes | None:
    """The payload if `data` is exactly one text frame below 64 KiB, the usual case; otherwise None."""
    if len(data) < 2 or data[0] != FIN | TEXT:
        return None
    size = data[1]
    if size < 126:
        return data[2:] if len(data) == 2 + size else None
    if size == 126 and len(data) >= 4 and len(data) == 4 + (data[2] << 8 | data[3]):
        return data[4:]
    return None


class Reader:
    __slots__ = ("_buffer", "_opcode", "_parts", "_size")

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._parts: list[bytes] = []
        self._size = 0
        self._opcode: int | None = None

    @property
    def between_frames(self) -> bool:
        """Whether neither a frame nor a message is incomplete."""
        return not self._buffer and self._opcode is None

    def feed(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        """The (opcode, payload) of each complete message and control frame. Raises `BadFrame`."""
        self._buffer += data
        while (frame := self._frame()) is not None:
            yield from self._join(*frame)

    def _frame(self) -> tuple[int, bytes] | None:
        """The first byte and the payload of the next frame; None until it is complete."""
        buffer = self._buffer
        if len(buffer) < 2:
            return None
        first, size, start = buffer[0], buffer[1], 2
        _check(first, size)
        if size >= 126:
            start = 4 if size == 126 else 10
            if len(buffer) < start:
                return None
            size = int.from_bytes(buffer[2:start])
        if self._size + size > MAX_MESSAGE:
            raise BadFrame(f"the message exceeds {MAX_MESSAGE} bytes")
        if len(buffer) < start + size:
            return None
        payload = bytes(memoryview(buffer)[start : start + size])
        del buffer[: start + size]
        return first, payload

    def _join(self, first: int, payload: bytes) -> Iterator[tuple[int, bytes]]:
        opcode, final = first & 0x0F, first & FIN
        if opcode >= CLOSE:
            yield opcode, payload
            return
        if (opcode == CONTINUATION) != (self._opcode is not None):
            raise BadFrame("fragments are out of order")
        if self._opcode is None and final:
            yield opcode, payload
            return
        self._opcode = opcode or self._opcode
        self._parts.append(payload)
        self._size += len(payload)
        if final:
            kind, message = self._opcode, b"".join(self._parts)
            self._parts, self._size, self._opcode = [], 0, None
            assert kind is not None
            yield kind, message


def _check(first: int, second: int) -> None:
    if first & 0x70:
        raise BadFrame("reserved bits are set")
    opcode = first & 0x0F
    if opcode not in (CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG):
        raise BadFrame(f"unknown opcode {opcode}")
    if second & MASKED:
        raise BadFrame("server frame is masked")
    if opcode >= CLOSE and (second > 125 or not first & FIN):
        raise BadFrame("control frame is fragmented or too long")


def close_reason(payload: bytes) -> str:
    """The code and the reason of a close frame as text. Raises `BadFrame`."""
    if not payload:
        return ""
    if len(payload) == 1:
        raise BadFrame("close code is incomplete")
    code = int.from_bytes(payload[:2])
    if not ((1000 <= code <= 1014 and code not in (1004, 1005, 1006)) or 3000 <= code < 5000):
        raise BadFrame(f"close code {code} is not valid")
    return f"{code} {payload[2:].decode(errors='replace')}".rstrip()


def close_reply(payload: bytes) -> bytes:
    """The close frame that replies to one with this payload."""
    return _close_request(payload[:2]).frame()


@functools.lru_cache(maxsize=16)
def _close_request(code: bytes) -> Request:
    return Request(CLOSE, code)
