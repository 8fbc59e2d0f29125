"""How a WebSocket session begins: the upgrade a client asks for, and the answer. Values in, values
out."""

import base64
import contextlib
import hashlib
import os
from dataclasses import dataclass, field

import orjson

from locustfiles.session.plan import SessionError, Target

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
END = b"\r\n\r\n"
LONGEST = 65_536
"""Bytes of an answer's head, and of the body of a refusal."""


def new_key() -> bytes:
    return base64.b64encode(os.urandom(16))


def request(target: Target, key: bytes) -> bytes:
    return target.upgrade_head + key + END


@dataclass
class Answer:
    """An HTTP answer as far as it has come."""

    status: int
    headers: dict[bytes, bytes] = field(repr=False)
    rest: bytes

    @property
    def body(self) -> bytes | None:
        """The body of a refusal; None until it is whole."""
        if b"chunked" in self.headers.get(b"transfer-encoding", b"").lower():
            return _joined(self.rest)
        with contextlib.suppress(ValueError):  # without a length, what has come is all
            size = min(int(self.headers.get(b"content-length", b"")), LONGEST)
            return self.rest[:size] if len(self.rest) >= size else None
        return self.rest


def _joined(chunks: bytes) -> bytes | None:
    body = b""
    while len(body) < LONGEST:
        line, found, chunks = chunks.partition(b"\r\n")
        if not found:
            return None
        try:
            size = int(line.split(b";")[0], 16)
        except ValueError:
            break
        if size <= 0:
            break
        if len(chunks) < size + 2:
            return None
        body += chunks[:size]
        chunks = chunks[size + 2 :]
    return body


def parse(data: bytes) -> Answer | None:
    """None until the head is whole. Raises `SessionError`."""
    head, found, rest = data.partition(END)
    if not found:
        if len(head) > LONGEST or not b"HTTP/1."[: len(head)] == head[:7]:
            raise _failed(f"not an HTTP answer: {head[:80]!r}")
        return None
    first, *lines = head.split(b"\r\n")
    version, _, status = first.partition(b" ")
    code = status[:3]
    if not version.startswith(b"HTTP/1.") or not code.isdigit():
        raise _failed(f"not an HTTP answer: {first[:80]!r}")
    headers = {}
    for line in lines:
        name, _, value = line.partition(b":")
        headers[name.lower()] = value.strip()
    return Answer(int(code), headers, rest)


def check_accepted(answer: Answer, key: bytes) -> None:
    """Raises `SessionError` when this is no upgrade to a WebSocket for that key."""
    headers = answer.headers
    accept = base64.b64encode(hashlib.sha1(key + GUID, usedforsecurity=False).digest())
    if headers.get(b"upgrade", b"").lower() != b"websocket":
        raise _failed("the answer's Upgrade header is not websocket")
    if b"upgrade" not in headers.get(b"connection", b"").lower():
        raise _failed("the answer's Connection header has no upgrade")
    if headers.get(b"sec-websocket-accept") != accept:
        raise _failed("the answer's Sec-WebSocket-Accept is not for this key")
    if b"sec-websocket-extensions" in headers or b"sec-websocket-protocol" in headers:
        raise _failed("the answer has an extension or protocol that was not asked for")


def refusal(answer: Answer, body: bytes) -> SessionError:
    """A refused upgrade: by a full server, which says so, or by anything else on the way."""
    text = body.decode(errors="replace")
    if code := answer.headers.get(b"x-openenv-error"):
        with contextlib.suppress(ValueError, KeyError, TypeError):
            text = orjson.loads(body)["data"]["message"]
        return SessionError(code.decode(errors="replace"), text)
    return SessionError(f"HTTP_{answer.status}", text)


def _failed(message: str) -> SessionError:
    return SessionError("HANDSHAKE_FAILED", message)
