"""WebSocket frames as a server reads and writes them (RFC 6455, section 5), without I/O.

Extensions, such as compression, are not supported: a frame that uses one is a violation.
"""

import struct

from websockets.exceptions import ProtocolError
from websockets.frames import Close, CloseCode

try:
    from websockets.speedups import apply_mask
except ImportError:  # websockets has no compiled extension for this platform
    from websockets.utils import apply_mask

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
FINAL, MASKED = 0x80, 0x80
MAX_CONTROL_PAYLOAD = 125
# The second byte of a client's frame of 126 to 65,535 bytes, and what precedes the payload of a frame.
LONG = MASKED | 126
SHORT_HEAD, LONG_HEAD = 6, 8
# The limit for one message. Empty fragments would never exceed the size limit.
MAX_FRAGMENTS = 65_536

_pack_long = struct.Struct(">BBH").pack


class Violation(Exception):
    """The client broke the protocol; `code` is the close code to send."""

    def __init__(self, code: CloseCode, reason: str) -> None:
        super().__init__(reason)
        self.code = code


class Reader:
    """Reassembles one client's messages; control frames may arrive between fragments."""

    __slots__ = ("_data", "_fragments", "_limit", "_opcode", "_parts", "_position", "_remaining")

    def __init__(self, limit: int) -> None:
        """`limit` is the maximum size of a message in bytes."""
        self._limit = self._remaining = limit
        self._data: bytes | bytearray = b""
        self._position = 0
        self._opcode = CONTINUATION
        self._fragments = 0
        self._parts: bytearray | None = None

    def feed(self, data: bytes) -> None:
        if self._position == len(self._data):
            self._data = data
        else:
            rest = self._data
            if isinstance(rest, bytearray):
                del rest[: self._position]
            else:
                rest = bytearray(rest[self._position :])
            rest += data
            self._data = rest
        self._position = 0

    @property
    def is_empty(self) -> bool:
        """Whether no part of a message has been received."""
        return not self._data and self._parts is None

    @property
    def buffered(self) -> int:
        """The length of `rest`."""
        return len(self._data) - self._position

    @property
    def rest(self) -> bytes:
        """The received bytes that no returned message contains yet."""
        return bytes(self._data[self._position :])

    def next(self) -> tuple[int, bytes] | None:
        """The opcode and payload of the next message or control frame; None when incomplete.

        `(CONTINUATION, b"")` means that a fragment arrived whose message is incomplete, so that
        callers count fragments too: a client can send any number of them. Raises `Violation`.
        """
        frame = self._frame()
        if frame is None:
            return None
        head, payload = frame
        opcode = head & 0x0F
        if opcode >= CLOSE:
            return opcode, payload
        if head == FINAL | opcode and opcode != CONTINUATION and self._parts is None:
            return opcode, payload
        return self._join(head, opcode, payload)

    def _frame(self) -> tuple[int, bytes] | None:
        data, position = self._data, self._position
        available = len(data) - position
        if available < 2:
            return None
        head, second = data[position], data[position + 1]
        self._check(head, second)
        size, start = second & 0x7F, position + 2
        if size > MAX_CONTROL_PAYLOAD:
            width = 2 if size == 126 else 8
            if available < 2 + width:
                return None
            size, start = int.from_bytes(data[start : start + width]), start + width
        if size > self._remaining and head & 0x0F < CLOSE:
            raise Violation(CloseCode.MESSAGE_TOO_BIG, f"message exceeds {self._limit} bytes")
        body = start + 4
        end = body + size
        if len(data) < end:
            return None
        self._position = end
        payload = apply_mask(data[body:end], data[start:body])
        if end == len(data):
            self._data, self._position = b"", 0
        return head, payload

    def _check(self, head: int, second: int) -> None:
        opcode = head & 0x0F
        if head & 0x70:
            raise Violation(CloseCode.PROTOCOL_ERROR, "reserved bits are set")
        if not second & MASKED:
            raise Violation(CloseCode.PROTOCOL_ERROR, "client frame is not masked")
        if opcode > BINARY:
            if not CLOSE <= opcode <= PONG:
                raise Violation(CloseCode.PROTOCOL_ERROR, f"unknown opcode {opcode}")
            if not head & FINAL or second & 0x7F > MAX_CONTROL_PAYLOAD:
                raise Violation(CloseCode.PROTOCOL_ERROR, "control frame is fragmented or too long")

    def _join(self, head: int, opcode: int, payload: bytes) -> tuple[int, bytes]:
        if (opcode == CONTINUATION) != (self._parts is not None):
            raise Violation(CloseCode.PROTOCOL_ERROR, "fragments are out of order")
        if self._parts is None:
            self._opcode, self._parts, self._fragments = opcode, bytearray(), 0
        self._parts += payload
        self._remaining -= len(payload)
        self._fragments += 1
        if self._fragments > MAX_FRAGMENTS:
            raise Violation(CloseCode.MESSAGE_TOO_BIG, f"message exceeds {MAX_FRAGMENTS} fragments")
        if not head & FINAL:
            return CONTINUATION, b""
        message = bytes(self._parts)
        self._parts, self._remaining = None, self._limit
        return self._opcode, message


def whole_text(data: bytes) -> bytes | None:
    """The payload, if this is exactly one final text frame of up to 65,535 bytes; else None."""
    if len(data) < SHORT_HEAD or data[0] != FINAL | TEXT:
        return None
    second = data[1]
    if second < LONG:
        # Without the mask bit, the frame would be too short to be one.
        if len(data) == second - MASKED + SHORT_HEAD:
            return apply_mask(data[SHORT_HEAD:], data[2:SHORT_HEAD])
    elif second == LONG and len(data) == (data[2] << 8 | data[3]) + LONG_HEAD:
        return apply_mask(data[LONG_HEAD:], data[4:LONG_HEAD])
    return None


def frame(opcode: int, payload: bytes) -> bytes:
    """One final, unmasked frame."""
    size = len(payload)
    if size <= MAX_CONTROL_PAYLOAD:
        return bytes((FINAL | opcode, size)) + payload
    if size < 1 << 16:
        return _pack_long(FINAL | opcode, 126, size) + payload
    return bytes((FINAL | opcode, 127)) + size.to_bytes(8) + payload


def close_frame(code: int, reason: str = "") -> bytes:
    """A close frame; without a payload for 1005, which must not be sent (RFC 6455, 7.4.1)."""
    if code == CloseCode.NO_STATUS_RCVD:
        return frame(CLOSE, b"")
    text = reason.encode()[: MAX_CONTROL_PAYLOAD - 2].decode(errors="ignore").encode()
    return frame(CLOSE, code.to_bytes(2) + text)


def parse_close(payload: bytes) -> tuple[int, str]:
    """The code and reason of a close frame; the code is 1005 without one. Raises `Violation`."""
    if not payload:
        return CloseCode.NO_STATUS_RCVD, ""
    try:
        close = Close.parse(payload)
        close.check()
    except UnicodeDecodeError:
        raise Violation(CloseCode.INVALID_DATA, "close reason is not UTF-8") from None
    except ProtocolError as failure:
        raise Violation(CloseCode.PROTOCOL_ERROR, str(failure)) from None
    return int(close.code), close.reason
