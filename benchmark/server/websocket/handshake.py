"""The opening handshake as a server answers it (RFC 6455, section 4.2). No input, no output."""

import base64
import binascii
import hashlib
import re
from collections.abc import Iterable
from http import HTTPStatus

Headers = list[tuple[bytes, bytes]]

UPGRADE = re.compile(rb"\r\nupgrade:[ \t]*websocket[ \t]*\r\n", re.IGNORECASE)
PLAIN_TARGET = re.compile(rb"[!-~]+")
PLAIN_NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
PLAIN_VALUE = re.compile(rb"[\t -~\x80-\xff]*")
BODY = (b"content-length", b"transfer-encoding", b"expect")

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
SWITCHING = (
    b"HTTP/1.1 101 Switching Protocols\r\n"
    b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "
)


class Unacceptable(Exception):
    """A request that is no WebSocket handshake; `status` and `headers` of the answer to it."""

    def __init__(self, status: int, reason: str, headers: Headers | None = None) -> None:
        super().__init__(reason)
        self.status = status
        self.headers = headers or []


def parse(data: bytes) -> tuple[bytes, Headers] | None:
    """The target and the headers (names in lower case) of a plain WebSocket handshake that has come
    whole. None for anything else, however near: the HTTP parser is to judge it.
    """
    if UPGRADE.search(data) is None or (asked := parts(data)) is None:
        return None
    upgrades = connections = 0
    for name, value in asked[1]:
        if name in BODY:
            return None
        if name == b"upgrade":
            upgrades += 1
        elif name == b"connection":
            connections += 1 if b"upgrade" in _tokens(value) else 2
    return asked if upgrades == connections == 1 else None


def parts(data: bytes) -> tuple[bytes, Headers] | None:
    """The target and the headers of a GET without a body, if that is what it is."""
    if data[:5] != b"GET /" or data[-4:] != b"\r\n\r\n":
        return None
    first, *lines = data[:-4].split(b"\r\n")
    target, _, version = first[4:].partition(b" ")
    if version != b"HTTP/1.1" or PLAIN_TARGET.fullmatch(target) is None:
        return None
    headers: Headers = []
    for line in lines:
        name, colon, value = line.partition(b":")
        if not colon or PLAIN_NAME.fullmatch(name) is None or PLAIN_VALUE.fullmatch(value) is None:
            return None
        name, value = name.lower(), value.strip(b" \t")
        if name == b"transfer-encoding" or (name == b"content-length" and value != b"0"):
            return None
        headers.append((name, value))
    return target, headers


def key(headers: Headers) -> bytes:
    """What the client wants confirmed. Raises `Unacceptable`."""
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
        told = [(b"upgrade", b"websocket")]
        raise Unacceptable(426, "Connection: Upgrade and Upgrade: websocket are needed", told)
    if len(keys) != 1 or not _is_key(keys[0]):
        raise Unacceptable(400, "one Sec-WebSocket-Key of 16 bytes in base64 is needed")
    if len(versions) > 1:
        raise Unacceptable(400, "one Sec-WebSocket-Version is needed")
    if versions != [b"13"]:
        told = [(b"sec-websocket-version", b"13")]
        raise Unacceptable(426, "the Sec-WebSocket-Version must be 13", told)
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


def accepted(wanted: bytes, headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """The response that opens the session with the client whose key is `wanted`."""
    proof = base64.b64encode(hashlib.sha1(wanted + GUID).digest())
    return b"".join((SWITCHING, proof, b"\r\n", *_lines(headers), b"\r\n"))


def response(status: int, headers: Iterable[tuple[bytes, bytes]], body: bytes) -> bytes:
    """Any other response; the connection ends with it."""
    given = [(name.lower(), value) for name, value in headers]
    names = {name for name, _ in given}
    for name, value in (
        (b"connection", b"close"),
        (b"content-length", str(len(body)).encode()),
        (b"content-type", b"text/plain; charset=utf-8"),
    ):
        if name not in names:
            given.append((name, value))
    first = f"HTTP/1.1 {status} {_phrase(status)}\r\n".encode()
    return b"".join((first, *_lines(given), b"\r\n", body))


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""


def _lines(headers: Iterable[tuple[bytes, bytes]]) -> list[bytes]:
    return [name + b": " + value + b"\r\n" for name, value in headers]
