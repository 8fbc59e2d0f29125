"""The opening handshake as a client performs it (RFC 6455, section 4.1), without I/O."""

import base64
import contextlib
import hashlib
import os
from dataclasses import dataclass, field

import orjson

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
END = b"\r\n\r\n"
# The limit, in bytes, of a response head and of the body of a rejected upgrade.
MAX_BYTES = 65_536


class HandshakeError(Exception):
    """The response is not HTTP, or does not accept the upgrade that was requested."""


def new_key() -> bytes:
    return base64.b64encode(os.urandom(16))


def request(head: bytes, key: bytes) -> bytes:
    """`head` is the request up to and including `Sec-WebSocket-Key: `."""
    return head + key + END


@dataclass
class Response:
    """A response whose head is complete; `rest` is everything received after the head."""

    status: int
    headers: dict[bytes, bytes] = field(repr=False)
    rest: bytes

    @property
    def body(self) -> bytes | None:
        """The body of a rejected upgrade; None until it is complete."""
        if b"chunked" in self.headers.get(b"transfer-encoding", b"").lower():
            return _dechunked(self.rest)
        with contextlib.suppress(ValueError):  # no length: use what arrived
            size = min(int(self.headers.get(b"content-length", b"")), MAX_BYTES)
            return self.rest[:size] if len(self.rest) >= size else None
        return self.rest


def _dechunked(chunks: bytes) -> bytes | None:
    body = b""
    while len(body) < MAX_BYTES:
        line, separator, chunks = chunks.partition(b"\r\n")
        if not separator:
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


def parse(data: bytes) -> Response | None:
    """None until the head is complete. Raises `HandshakeError`."""
    head, separator, rest = data.partition(END)
    if not separator:
        if len(head) > MAX_BYTES or not b"HTTP/1."[: len(head)] == head[:7]:
            raise HandshakeError(f"not an HTTP response: {head[:80]!r}")
        return None
    first, *lines = head.split(b"\r\n")
    version, _, status = first.partition(b" ")
    code = status[:3]
    if not version.startswith(b"HTTP/1.") or not code.isdigit():
        raise HandshakeError(f"not an HTTP response: {first[:80]!r}")
    headers = {}
    for line in lines:
        name, _, value = line.partition(b":")
        headers[name.lower()] = value.strip()
    return Response(int(code), headers, rest)


def check_accepted(response: Response, key: bytes) -> None:
    """Raises `HandshakeError` unless the response accepts the upgrade requested with `key`."""
    headers = response.headers
    accept = base64.b64encode(hashlib.sha1(key + GUID, usedforsecurity=False).digest())
    if headers.get(b"upgrade", b"").lower() != b"websocket":
        raise HandshakeError("the Upgrade header of the response is not websocket")
    if b"upgrade" not in headers.get(b"connection", b"").lower():
        raise HandshakeError("the Connection header of the response does not contain upgrade")
    if headers.get(b"sec-websocket-accept") != accept:
        raise HandshakeError("the Sec-WebSocket-Accept header does not match the key")
    if b"sec-websocket-extensions" in headers or b"sec-websocket-protocol" in headers:
        raise HandshakeError("the server chose an extension or subprotocol that was not offered")


def rejection(response: Response, body: bytes) -> tuple[str, str]:
    """The error code and the message of a rejected upgrade.

    The code is `X-OpenEnv-Error` when the server sent one, otherwise `HTTP_<status>`.
    """
    text = body.decode(errors="replace")
    if code := response.headers.get(b"x-openenv-error"):
        with contextlib.suppress(ValueError, KeyError, TypeError):
            text = orjson.loads(body)["data"]["message"]
        return code.decode(errors="replace"), text
    return f"HTTP_{response.status}", text
