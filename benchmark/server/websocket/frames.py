"""WebSocket frames as a server reads and writes them (RFC 6455, section 5). No input, no output:
bytes in, messages out.

Compression and other extensions are not spoken: a frame that uses one is a violation.
"""

from websockets.exceptions import ProtocolError
from websockets.frames import Close

try:
    from websockets.speedups import apply_mask
except ImportError:  # a platform that websockets has no compiled part for
    from websockets.utils import apply_mask

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
FINAL, MASKED = 0x80, 0x80
LARGEST_CONTROL = 125
MOST_FRAGMENTS = 65_536
"""Of one message. Empty ones would never make it too big."""

PROTOCOL_ERROR, INVALID_TEXT, TOO_BIG = 1002, 1007, 1009
NO_STATUS = 1005


class Violation(Exception):
    """What the other side must not send; `code` is the one to close with."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code


class Reader:
    """The messages of one client: text and binary ones whole, and the control frames between."""

    __slots__ = ("_at", "_data", "_fragments", "_kind", "_left", "_limit", "_part")

    def __init__(self, limit: int) -> None:
        """`limit`: bytes that a message may have."""
        self._limit = self._left = limit
        self._data: bytes | bytearray = b""
        self._at = 0
        self._kind = CONTINUATION
        self._fragments = 0
        self._part: bytearray | None = None

    def feed(self, data: bytes) -> None:
        if self._at == len(self._data):
            self._data = data
        else:
            rest = self._data
            if isinstance(rest, bytearray):
                del rest[: self._at]
            else:
                rest = bytearray(rest[self._at :])
            rest += data
            self._data = rest
        self._at = 0

    @property
    def waiting(self) -> int:
        """Bytes that have come and belong to no message yet."""
        return len(self._data) - self._at

    def next(self) -> tuple[int, bytes] | None:
        """The opcode and the payload of the next message or control frame; None until it is there.

        `CONTINUATION` without a payload: a fragment has come whose message is not whole yet. So
        whoever calls counts fragments too, of which a client can send any number.
        Raises `Violation`.
        """
        frame = self._frame()
        if frame is None:
            return None
        head, payload = frame
        opcode = head & 0x0F
        if opcode >= CLOSE:
            return opcode, payload
        if head == FINAL | opcode and opcode != CONTINUATION and self._part is None:
            return opcode, payload
        return self._joined(head, opcode, payload)

    def _frame(self) -> tuple[int, bytes] | None:
        data, at = self._data, self._at
        there = len(data) - at
        if there < 2:
            return None
        head, second = data[at], data[at + 1]
        self._check(head, second)
        size, start = second & 0x7F, at + 2
        if size > LARGEST_CONTROL:
            width = 2 if size == 126 else 8
            if there < 2 + width:
                return None
            size, start = int.from_bytes(data[start : start + width], "big"), start + width
        if size > self._left and head & 0x0F < CLOSE:
            raise Violation(TOO_BIG, f"a message of more than {self._limit} bytes")
        body = start + 4
        end = body + size
        if len(data) < end:
            return None
        self._at = end
        payload = apply_mask(data[body:end], data[start:body])
        if end == len(data):
            self._data, self._at = b"", 0
        return head, payload

    def _check(self, head: int, second: int) -> None:
        opcode = head & 0x0F
        if head & 0x70:
            raise Violation(PROTOCOL_ERROR, "reserved bits are set")
        if not second & MASKED:
            raise Violation(PROTOCOL_ERROR, "a client's frame must be masked")
        if opcode > BINARY:
            if not CLOSE <= opcode <= PONG:
                raise Violation(PROTOCOL_ERROR, f"opcode {opcode} is unknown")
            if not head & FINAL or second & 0x7F > LARGEST_CONTROL:
                raise Violation(PROTOCOL_ERROR, "a control frame is short and whole")

    def _joined(self, head: int, opcode: int, payload: bytes) -> tuple[int, bytes]:
        if (opcode == CONTINUATION) != (self._part is not None):
            raise Violation(PROTOCOL_ERROR, "a continuation without a beginning, or the reverse")
        if self._part is None:
            self._kind, self._part, self._fragments = opcode, bytearray(), 0
        self._part += payload
        self._left -= len(payload)
        self._fragments += 1
        if self._fragments > MOST_FRAGMENTS:
            raise Violation(TOO_BIG, f"a message of more than {MOST_FRAGMENTS} fragments")
        if not head & FINAL:
            return CONTINUATION, b""
        whole = bytes(self._part)
        self._part, self._left = None, self._limit
        return self._kind, whole


def frame(opcode: int, payload: bytes) -> bytes:
    """One final frame, not masked."""
    size = len(payload)
    if size <= LARGEST_CONTROL:
        return bytes((FINAL | opcode, size)) + payload
    if size < 1 << 16:
        return bytes((FINAL | opcode, 126)) + size.to_bytes(2, "big") + payload
    return bytes((FINAL | opcode, 127)) + size.to_bytes(8, "big") + payload


def close_frame(code: int, reason: str = "") -> bytes:
    """Without a payload for code 1005, which none may carry."""
    if code == NO_STATUS:
        return frame(CLOSE, b"")
    told = reason.encode()[: LARGEST_CONTROL - 2].decode(errors="ignore").encode()
    return frame(CLOSE, code.to_bytes(2, "big") + told)


def closing(payload: bytes) -> tuple[int, str]:
    """The code and the reason of a close frame; 1005 when it has none. Raises `Violation`."""
    if not payload:
        return NO_STATUS, ""
    try:
        close = Close.parse(payload)
        close.check()
    except UnicodeDecodeError:
        raise Violation(INVALID_TEXT, "a close frame's reason is not UTF-8") from None
    except ProtocolError as failure:
        raise Violation(PROTOCOL_ERROR, str(failure)) from None
    return int(close.code), close.reason
