"""Which request heads the entry protocol handles itself, and that every head gets the same response as
from uvicorn with its own WebSocket protocol."""

import asyncio
import base64
from typing import Any

import pytest
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from benchmark.server.websocket import handshake
from benchmark.server.websocket.entry import EntryProtocol
from benchmark.server.websocket.protocol_class import WebSocketProtocol

KEY = "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA=="
PLAIN = (
    "Host: x",
    "Upgrade: websocket",
    "Connection: Upgrade",
    KEY,
    "Sec-WebSocket-Version: 13",
)


def head(*lines: str, first: str = "GET /ws HTTP/1.1", end: str = "\r\n") -> bytes:
    return (end.join((first, *lines)) + end + end).encode("latin-1")


def without(name: str, *more: str) -> bytes:
    return head(*(line for line in PLAIN if not line.startswith(name)), *more)


PLAIN_HANDSHAKES = {
    "plain": head(*PLAIN),
    "no space after colons": head(*(line.replace(": ", ":") for line in PLAIN)),
    "tabs around values": head(*(line.replace(": ", ":\t ") + " \t" for line in PLAIN)),
    "names in capitals": head(*(line.upper() if "Key" not in line else line for line in PLAIN)),
    "as Firefox sends it": without("Connection", "Connection: keep-alive, Upgrade"),
    "as Chromium sends it": without("Upgrade", "Upgrade: WebSocket", "Cache-Control: no-cache"),
    "empty value": head(*PLAIN, "X-Empty:"),
    "Latin-1 value": head(*PLAIN, "X-Name: \xe9"),
    "query": head(*PLAIN, first="GET /ws?a=b%20c&d HTTP/1.1"),
    "percent": head(*PLAIN, first="GET /%77s HTTP/1.1"),
    "two slashes": head(*PLAIN, first="GET //ws HTTP/1.1"),
    "no Host": without("Host"),
    "no key": without("Sec-WebSocket-Key"),
    "short key": without("Sec-WebSocket-Key", "Sec-WebSocket-Key: AAAA"),
    "key that is not base64": without("Sec-WebSocket-Key", "Sec-WebSocket-Key: !!!!"),
    "empty key": without("Sec-WebSocket-Key", "Sec-WebSocket-Key:"),
    "key twice": head(*PLAIN, KEY),
    "two keys": head(*PLAIN, KEY.replace("AAAA", "BBBB")),
    "version 8": without("Sec-WebSocket-Version", "Sec-WebSocket-Version: 8"),
    "version 13, 8": without("Sec-WebSocket-Version", "Sec-WebSocket-Version: 13, 8"),
    "no version": without("Sec-WebSocket-Version"),
    "version twice": head(*PLAIN, "Sec-WebSocket-Version: 13"),
    "two versions": head(*PLAIN, "Sec-WebSocket-Version: 8"),
    "subprotocols": head(*PLAIN, "Sec-WebSocket-Protocol: a, b", "Sec-WebSocket-Protocol: c"),
    "compression": head(*PLAIN, "Sec-WebSocket-Extensions: permessage-deflate"),
    "Host twice": head(*PLAIN, "Host: y"),
    "many headers": head(*PLAIN, *(f"X-{n}: {n}" for n in range(60))),
}
UNUSUAL = {
    "LF only": head(*PLAIN, end="\n"),
    "LF once": head(*PLAIN).replace(b"Host: x\r\n", b"Host: x\n"),
    "CR alone": head(*PLAIN, "X-A: b\rX-C: d"),
    "folded line": head(*PLAIN, "X-A: b", " folded"),
    "folded upgrade": without("Upgrade", "Upgrade:", " websocket"),
    "missing colon": head(*PLAIN, "nonsense"),
    "space before the colon": head(*PLAIN, "X-A : b"),
    "empty name": head(*PLAIN, ": b"),
    "bad name": head(*PLAIN, "X(A): b"),
    "name that is not ASCII": head(*PLAIN, "X-\xe9: b"),
    "NUL in a value": head(*PLAIN, "X-A: a\0b"),
    "ESC in a value": head(*PLAIN, "X-A: a\x1bb"),
    "DEL in a value": head(*PLAIN, "X-A: a\x7fb"),
    "space in the target": head(*PLAIN, first="GET /w s HTTP/1.1"),
    "control character in the target": head(*PLAIN, first="GET /w\x01s HTTP/1.1"),
    "target that is not ASCII": head(*PLAIN, first="GET /w\xe9s HTTP/1.1"),
    "two spaces": head(*PLAIN, first="GET  /ws HTTP/1.1"),
    "two spaces before the version": head(*PLAIN, first="GET /ws  HTTP/1.1"),
    "HTTP/1.0": head(*PLAIN, first="GET /ws HTTP/1.0"),
    "HTTP/2.0": head(*PLAIN, first="GET /ws HTTP/2.0"),
    "HTTP/0.9": head(*PLAIN, first="GET /ws"),
    "lower case method": head(*PLAIN, first="get /ws HTTP/1.1"),
    "POST": head(*PLAIN, first="POST /ws HTTP/1.1"),
    "HEAD": head(*PLAIN, first="HEAD /ws HTTP/1.1"),
    "absolute target": head(*PLAIN, first="GET http://x/ws HTTP/1.1"),
    "asterisk": head(*PLAIN, first="GET * HTTP/1.1"),
    "content-length": head(*PLAIN, "Content-Length: 5") + b"hello",
    "content-length 0": head(*PLAIN, "Content-Length: 0"),
    "chunked": head(*PLAIN, "Transfer-Encoding: chunked") + b"0\r\n\r\n",
    "content-length and chunked": head(*PLAIN, "Content-Length: 5", "Transfer-Encoding: chunked"),
    "expect": head(*PLAIN, "Expect: 100-continue"),
    "no upgrade": without("Upgrade"),
    "another upgrade": without("Upgrade", "Upgrade: h2c"),
    "two upgrades in one": without("Upgrade", "Upgrade: websocket, h2c"),
    "websocket, then another upgrade": head(*PLAIN, "Upgrade: h2c"),
    "another upgrade, then websocket": without("Upgrade", "Upgrade: h2c", "Upgrade: websocket"),
    "websocket twice": head(*PLAIN, "Upgrade: websocket"),
    "no connection": without("Connection"),
    "connection keep-alive": without("Connection", "Connection: keep-alive"),
    "connection close": without("Connection", "Connection: close"),
    "connection upgrade, then close": head(*PLAIN, "Connection: close"),
    "connection close, then upgrade": without(
        "Connection", "Connection: close", "Connection: Upgrade"
    ),
    "connection upgraded": without("Connection", "Connection: upgraded"),
    "two requests": head(*PLAIN) + head("Host: x", first="GET /second HTTP/1.1"),
    "page, then handshake": head("Host: x", first="GET /first HTTP/1.1") + head(*PLAIN),
    "page": head("Host: x"),
    "page with an upgrade in a value": head("Host: x", "X-A: upgrade: websocket"),
    "empty lines before": b"\r\n\r\n" + head(*PLAIN),
    "nothing but an end": b"\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "noise": bytes(range(256)),
}

# uvicorn passes these on to its WebSocket protocol, which rejects them with another status:
STATUS = {
    "no version": (b"426", b"400"),  # the response names the supported version
    "version 8": (b"426", b"400"),
    "version 13, 8": (b"426", b"400"),
    "POST": (b"400", b"405"),
    "HEAD": (b"400", b"405"),
    # uvicorn closes the connection, or waits forever, without a response
    "content-length": (b"400", None),
    "chunked": (b"400", None),
    "content-length and chunked": (b"400", b"400"),
}
# No client sends these to a server; uvicorn passes them to the app with that path.
NO_PATH = ("absolute target", "asterisk")


@pytest.mark.parametrize("name", PLAIN_HANDSHAKES)
def test_a_plain_handshake_is_parsed(name: str) -> None:
    target, headers = handshake.parse(PLAIN_HANDSHAKES[name]) or (b"", [])
    assert target.startswith(b"/")
    assert all(key == key.lower() and value == value.strip() for key, value in headers)


@pytest.mark.parametrize("name", UNUSUAL)
def test_anything_unusual_is_left_to_the_http_parser(name: str) -> None:
    assert handshake.parse(UNUSUAL[name]) is None


@pytest.mark.parametrize("cut", range(1, len(head(*PLAIN))))
def test_an_incomplete_head_is_left_to_the_http_parser(cut: int) -> None:
    assert handshake.parse(head(*PLAIN)[:cut]) is None


class Transport(asyncio.Transport):
    """Records what is written."""

    def __init__(self) -> None:
        super().__init__({"peername": ("127.0.0.1", 1), "sockname": ("127.0.0.1", 2)})
        self.written = b""
        self.closed = False
        self.protocol: Any = None

    def write(self, data: Any) -> None:
        assert not self.closed
        self.written += data

    def get_write_buffer_size(self) -> int:
        return 0

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True

    abort = close

    def pause_reading(self) -> None: ...

    resume_reading = pause_reading

    def set_protocol(self, protocol: Any) -> None:
        self.protocol = protocol


async def answers(kind: str, chunks: list[bytes]) -> tuple[list[Any], bytes, bool]:
    """The scopes that the app received, the bytes written, and whether the connection was closed."""
    scopes: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        names = ("type", "path", "raw_path", "query_string", "headers", "subprotocols", "method")
        scopes.append({name: scope[name] for name in names if name in scope})
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.accept"})
            await receive()
        else:
            headers = [(b"content-length", b"2")]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": b"ok"})

    config = uvicorn.Config(
        app,
        ws="websockets-sansio" if kind == "uvicorn" else WebSocketProtocol,
        ws_per_message_deflate=False,
        ws_ping_interval=None,
        log_config=None,
    )
    config.load()
    state, transport = ServerState(), Transport()
    protocol: Any = EntryProtocol if kind == "entry" else HttpToolsProtocol
    transport.protocol = protocol(config=config, server_state=state, app_state={})
    transport.protocol.connection_made(transport)
    for chunk in chunks:
        if not transport.closed:
            transport.protocol.data_received(chunk)
            await asyncio.sleep(0)
    for _ in range(8):
        await asyncio.sleep(0)
    result = scopes, transport.written, transport.closed
    for task in state.tasks:
        task.cancel()
    await asyncio.gather(*state.tasks, return_exceptions=True)
    transport.protocol.connection_lost(ConnectionResetError())
    return result


def same(name: str, answer: tuple[list[Any], bytes, bool]) -> Any:
    scopes, written, closed = answer
    statuses = [line.split(b" ")[1] for line in written.split(b"\r\n") if line[:5] == b"HTTP/"]
    accepted = [line for line in written.lower().split(b"\r\n") if b"websocket-accept" in line]
    return scopes, statuses, accepted, closed


@pytest.mark.parametrize("kind", ["entry", "protocol_class"])
@pytest.mark.parametrize("name", [*PLAIN_HANDSHAKES, *UNUSUAL])
def test_the_response_is_the_same_as_from_uvicorn(name: str, kind: str) -> None:
    data = (PLAIN_HANDSHAKES | UNUSUAL)[name]
    own = same(name, asyncio.run(answers(kind, [data])))
    uvicorns = same(name, asyncio.run(answers("uvicorn", [data])))
    if name in STATUS:
        assert (own[1], uvicorns[1]) == tuple([s] if s else [] for s in STATUS[name])
        assert own[0] == uvicorns[0] == []
    elif name in NO_PATH:
        assert own[:2] == ([], [b"400"])
    elif (name, kind) == ("tabs around values", "entry"):
        # uvicorn keeps trailing blanks in values, and treats this as an ordinary request
        assert own[1] == [b"101"]
        assert [value for _, value in own[0][0]["headers"]][:2] == [b"x", b"websocket"]
    else:
        assert own == uvicorns


@pytest.mark.parametrize("name", ["plain", "two keys", "no key", "page", "folded line", "POST"])
def test_a_head_may_arrive_in_pieces(name: str) -> None:
    data = (PLAIN_HANDSHAKES | UNUSUAL)[name]
    whole = same(name, asyncio.run(answers("entry", [data])))
    for cut in range(1, len(data), 7):
        assert same(name, asyncio.run(answers("entry", [data[:cut], data[cut:]]))) == whole
    assert same(name, asyncio.run(answers("entry", [bytes((b,)) for b in data]))) == whole


def test_a_large_head_is_rejected() -> None:
    async def pour(first: bytes) -> Any:
        return await answers("entry", [first, *[b"X-More: " + b"x" * 9_000 + b"\r\n"] * 40])

    for first in (b"GET / HTTP/1.1\r\n", head("Host: x") + b"GET / HTTP/1.1\r\n"):
        _, written, closed = asyncio.run(pour(first))
        assert b"400 Bad Request" in written
        assert closed


def rejection(*headers: tuple[bytes, bytes]) -> tuple[int, list[tuple[bytes, bytes]]]:
    with pytest.raises(handshake.InvalidHandshake) as failure:
        handshake.key(list(headers))
    return failure.value.status, failure.value.headers


UPGRADE = ((b"connection", b"keep-alive, Upgrade"), (b"upgrade", b"WebSocket"))
VALID_KEY = (b"sec-websocket-key", b"AAAAAAAAAAAAAAAAAAAAAA==")
VERSION = (b"sec-websocket-version", b"13")


def test_the_key_of_a_valid_handshake_is_returned() -> None:
    assert handshake.key([*UPGRADE, VALID_KEY, VERSION]) == VALID_KEY[1]


@pytest.mark.parametrize("versions", [[], [b"8"], [b"13, 8"], [b""]])
def test_another_version_is_rejected_with_the_supported_one(versions: list[bytes]) -> None:
    headers = [(b"sec-websocket-version", version) for version in versions]
    assert rejection(*UPGRADE, VALID_KEY, *headers) == (426, [VERSION])


def test_a_request_without_an_upgrade_is_rejected_with_the_required_one() -> None:
    required = (426, [(b"upgrade", b"websocket")])
    assert rejection(UPGRADE[0], VALID_KEY, VERSION) == required
    assert rejection(UPGRADE[1], VALID_KEY, VERSION) == required
    assert rejection(*UPGRADE, UPGRADE[1], VALID_KEY, VERSION) == required


def test_ambiguous_keys_and_versions_are_rejected() -> None:
    assert rejection(*UPGRADE, VERSION) == (400, [])
    assert rejection(*UPGRADE, VALID_KEY, VALID_KEY, VERSION) == (400, [])
    assert rejection(*UPGRADE, VALID_KEY, VERSION, VERSION) == (400, [])


@pytest.mark.parametrize("size", [15, 17])
def test_a_key_must_have_16_bytes(size: int) -> None:
    key = (b"sec-websocket-key", base64.b64encode(bytes(size)))
    assert rejection(*UPGRADE, key, VERSION) == (400, [])


def test_the_accepting_response_has_the_headers_of_the_app() -> None:
    # The key and the proof of RFC 6455, section 1.3.
    response = handshake.accept(b"dGhlIHNhbXBsZSBub25jZQ==", [(b"x-one", b"1"), (b"x-two", b"2")])
    assert response == (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nx-one: 1\r\nx-two: 2\r\n\r\n"
    )


def test_a_rejecting_response_adds_the_headers_that_are_missing() -> None:
    assert handshake.response(426, [VERSION], b"why") == (
        b"HTTP/1.1 426 Upgrade Required\r\nsec-websocket-version: 13\r\nconnection: close\r\n"
        b"content-length: 3\r\ncontent-type: text/plain; charset=utf-8\r\n\r\nwhy"
    )
    assert handshake.response(499, [(b"Content-Type", b"a/b"), (b"Content-Length", b"0")], b"") == (
        b"HTTP/1.1 499 \r\ncontent-type: a/b\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
    )


def test_subprotocols_are_collected_from_all_headers() -> None:
    headers = [
        (b"sec-websocket-protocol", b"a, b"),
        (b"x", b"y"),
        (b"sec-websocket-protocol", b"c"),
    ]
    assert handshake.subprotocols(headers) == ["a", "b", "c"]
    assert handshake.subprotocols([(b"x", b"y")]) == []
