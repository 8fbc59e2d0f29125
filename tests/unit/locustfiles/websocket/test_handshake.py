"""The load's upgrade request, and how it reads the response."""

import pytest
from websockets.http11 import Request
from websockets.server import ServerProtocol

from locustfiles.session.plan import Target
from locustfiles.websocket import handshake
from locustfiles.websocket.handshake import HandshakeError

TARGET = Target.from_url("http://node-1:8080/prefix/")


def accepted(key: bytes) -> bytes:
    """The response of the `websockets` package."""
    server = ServerProtocol()
    server.receive_data(handshake.request(TARGET.upgrade_head, key))
    (event,) = server.events_received()
    assert isinstance(event, Request)
    assert (event.path, event.headers["host"]) == ("/prefix/ws", "node-1:8080")
    server.send_response(server.accept(event))
    return b"".join(server.data_to_send())


def check(data: bytes, key: bytes) -> None:
    response = handshake.parse(data)
    assert response is not None
    assert response.status == 101
    handshake.check_accepted(response, key)


def test_the_response_of_a_server_is_accepted() -> None:
    key = handshake.new_key()
    check(accepted(key), key)
    assert handshake.new_key() != key


def test_a_response_head_ends_with_an_empty_line() -> None:
    data = accepted(handshake.new_key())
    assert all(handshake.parse(data[:size]) is None for size in range(len(data)))
    response = handshake.parse(data + b"\x81\x00")
    assert response is not None
    assert response.rest == b"\x81\x00"


def test_the_host_header_omits_the_default_port() -> None:
    assert b"Host: a\r\n" in Target.from_url("http://a").upgrade_head
    assert b"Host: [::1]:81\r\n" in Target.from_url("http://[::1]:81").upgrade_head


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (b"Upgrade: websocket", b"Upgrade: h2c", "Upgrade"),
        (b"Connection: Upgrade", b"Connection: close", "Connection"),
        (b"Sec-WebSocket-Accept: ", b"Sec-WebSocket-Accept: x", "does not match the key"),
        (b"Upgrade: websocket", b"Upgrade: websocket\r\nSec-WebSocket-Extensions: x", "extension"),
    ],
)
def test_an_unexpected_response_is_rejected(old: bytes, new: bytes, message: str) -> None:
    key = handshake.new_key()
    data = accepted(key)
    assert old in data
    with pytest.raises(HandshakeError, match=message):
        check(data.replace(old, new), key)


@pytest.mark.parametrize(
    "data", [b"SSH-2.0-x\r\n", b"HTTP/1.1 ok\r\n\r\n", b"\x16\x03", b"x" * 70_000]
)
def test_anything_but_http_is_rejected(data: bytes) -> None:
    with pytest.raises(HandshakeError, match="not an HTTP response"):
        handshake.parse(data)


def rejected(data: bytes) -> tuple[str, str]:
    response = handshake.parse(data)
    assert response is not None
    assert response.body is not None
    return handshake.rejection(response, response.body)


FULL = b'{"type":"error","data":{"message":"no place","code":"CAPACITY_REACHED"}}'


def test_a_full_server_sends_its_error_code() -> None:
    head = b"HTTP/1.1 503 Full\r\nX-OpenEnv-Error: CAPACITY_REACHED\r\nContent-Length: %d\r\n\r\n"
    data = head % len(FULL) + FULL
    assert rejected(data) == ("CAPACITY_REACHED", "no place")
    partly = handshake.parse(data[:-1])
    assert partly is not None
    assert partly.body is None


def test_a_rejection_may_be_chunked() -> None:
    head = b"HTTP/1.1 503 Full\r\nx-openenv-error: CAPACITY_REACHED\r\n"
    head += b"Transfer-Encoding: chunked\r\n\r\n"
    body = b"a;x=1\r\n" + FULL[:10] + b"\r\n%x\r\n" % len(FULL[10:]) + FULL[10:] + b"\r\n0\r\n\r\n"
    assert rejected(head + body) == ("CAPACITY_REACHED", "no place")
    assert rejected(head + b"nonsense\r\n")[0] == "CAPACITY_REACHED"


def test_any_other_rejection_has_its_status() -> None:
    assert rejected(b"HTTP/1.1 404 Not Found\r\n\r\nnothing") == ("HTTP_404", "nothing")
    assert rejected(b"HTTP/1.0 502\r\ncontent-length: 0\r\n\r\n") == ("HTTP_502", "")
