"""The opening handshake as a server performs it (RFC 6455, section 4.2), without I/O."""

import base64
import binascii
import hashlib
import re
from collections.abc import Iterable
from http import HTTPStatus

Headers = list[tuple[bytes, bytes]]

UPGRADE = re.compile(rb"\r\nupgrade:[ \t]*websocket[ \t]*\r\n", re.IGNORECASE)
TARGET = re.compile(rb"[!-~]+")
NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
VALUE = re.compile(rb"[\t -~\x80-\xff]*")
BODY_HEADERS = (b"content-length", b"transfer-encoding", b"expect")

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
SWITCHING = (
    b"HTTP/1.1 101 Switching Protocols\r\n"
    b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "
)


class InvalidHandshake(Exception):
    """The request is not a valid handshake; the response has `status` and `headers`."""

    def __init__(self, status: int, reason: str, headers: Headers | None = None) -> None:
        super().__init__(reason)
        self.status = status
        self.headers = headers or []


def parse(data: bytes) -> tuple[bytes, Headers] | None:
    """The target and the headers, with names in lower case, of a complete, plain handshake.

    None for anything unusual, which is left to the HTTP parser.
    """
    if UPGRADE.search(data) is None or (request := parse_get(data)) is None:
        return None
    upgrades = connections = 0
    for name, value in request[1]:
        if name in BODY_HEADERS:
            return None
        if name == b"upgrade":
            upgrades += 1
        elif name == b"connection":
            connections += 1 if b"upgrade" in _tokens(value) else 2
    return request if upgrades == connections == 1 else None


def parse_get(data: bytes) -> tuple[bytes, Headers] | None:
    """The target and the headers of a GET request without a body; None for anything else."""
    if data[:5] != b"GET /" or data[-4:] != b"\r\n\r\n":
        return None
    first, *lines = data[:-4].split(b"\r\n")
    target, _, version = first[4:].partition(b" ")
    if version != b"HTTP/1.1" or TARGET.fullmatch(target) is None:
        return None
    headers: Headers = []
    for line in lines:
        name, colon, value = line.partition(b":")
        if not colon or NAME.fullmatch(name) is None or VALUE.fullmatch(value) is None:
            return None
        name, value = name.lower(), value.strip(b" \t")
        if name == b"transfer-encoding" or (name == b"content-length" and value != b"0"):
            return None
        headers.append((name, value))
    return target, headers


def key(headers: Headers) -> bytes:
    """The client's Sec-WebSocket-Key. Raises `InvalidHandshake`."""
    keys, versions, upgrades, connection = [], [], [], b""
    for name, value in headers:
        if name == b"sec-websocket-key":
            keys.append(value)
        elif name == b"sec-websocket-version":
            versions.append(value)
        elif name == b"connection":
            connection += b"," + value
        elif name == b"upgrade":
            upgrades.append(value.lower())
    if b"upgrade" not in _tokens(connection) or upgrades != [b"websocket"]:
        required = [(b"upgrade", b"websocket")]
        raise InvalidHandshake(426, "an upgrade to websocket is required", required)
    if len(keys) != 1 or not _is_key(keys[0]):
        raise InvalidHandshake(400, "exactly one base64 Sec-WebSocket-Key of 16 bytes is required")
    if len(versions) > 1:
        raise InvalidHandshake(400, "exactly one Sec-WebSocket-Version is required")
    if versions != [b"13"]:
        required = [(b"sec-websocket-version", b"13")]
        raise InvalidHandshake(426, "Sec-WebSocket-Version must be 13", required)
    return keys[0]


def _tokens(value: bytes) -> list[bytes]:
    return [token.strip() for token in value.lower().split(b",")]


def _is_key(value: bytes) -> bool:
    try:
        return len(base64.b64decode(value, validate=True)) == 16
    except binascii.Error:
        return False


def subprotocols(headers: Headers) -> list[str]:
    offered = b",".join(value for name, value in headers if name == b"sec-websocket-protocol")
    return [token.strip().decode("latin-1") for token in offered.split(b",")] if offered else []


def accept(key: bytes, headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """The response that accepts the handshake with this key."""
    proof = base64.b64encode(hashlib.sha1(key + GUID).digest())
    return b"".join((SWITCHING, proof, b"\r\n", *_lines(headers), b"\r\n"))


def response(status: int, headers: Iterable[tuple[bytes, bytes]], body: bytes) -> bytes:
    """Any other response, after which the connection is closed."""
    fields = [(name.lower(), value) for name, value in headers]
    names = {name for name, _ in fields}
    for name, value in (
        (b"connection", b"close"),
        (b"content-length", str(len(body)).encode()),
        (b"content-type", b"text/plain; charset=utf-8"),
    ):
        if name not in names:
            fields.append((name, value))
    first = f"HTTP/1.1 {status} {_phrase(status)}\r\n".encode()
    return b"".join((first, *_lines(fields), b"\r\n", body))


def request(method: bytes, target: bytes, headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """The head of a request."""
    return b"".join((method, b" ", target, b" HTTP/1.1\r\n", *_lines(headers), b"\r\n"))


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""


def _lines(headers: Iterable[tuple[bytes, bytes]]) -> list[bytes]:
    return [name + b": " + value + b"\r\n" for name, value in headers]
