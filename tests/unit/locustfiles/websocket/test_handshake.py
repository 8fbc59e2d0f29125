"""How the load asks for a WebSocket, and what it makes of the answer."""

import pytest
from websockets.http11 import Request
from websockets.server import ServerProtocol

from locustfiles.session.plan import Target
from locustfiles.websocket import handshake
from locustfiles.websocket.handshake import HandshakeError

TARGET = Target.from_url("http://node-1:8080/prefix/")


def accepted(key: bytes) -> bytes:
    """By the `websockets` package."""
    server = ServerProtocol()
    server.receive_data(handshake.request(TARGET.upgrade_head, key))
    (event,) = server.events_received()
    assert isinstance(event, Request)
    assert (event.path, event.headers["host"]) == ("/prefix/ws", "node-1:8080")
    server.send_response(server.accept(event))
    return b"".join(server.data_to_send())


def check(data: bytes, key: bytes) -> None:
    answer = handshake.parse(data)
    assert answer is not None
    assert answer.status == 101
    handshake.check_accepted(answer, key)


def test_a_server_accepts() -> None:
    key = handshake.new_key()
    check(accepted(key), key)
    assert handshake.new_key() != key


def test_an_answer_is_whole_with_its_empty_line() -> None:
    data = accepted(handshake.new_key())
    assert all(handshake.parse(data[:size]) is None for size in range(len(data)))
    answer = handshake.parse(data + b"\x81\x00")
    assert answer is not None
    assert answer.rest == b"\x81\x00"


def test_the_host_of_the_usual_port_stands_alone() -> None:
    assert b"Host: a\r\n" in Target.from_url("http://a").upgrade_head
    assert b"Host: [::1]:81\r\n" in Target.from_url("http://[::1]:81").upgrade_head


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        (b"Upgrade: websocket", b"Upgrade: h2c", "Upgrade"),
        (b"Connection: Upgrade", b"Connection: close", "Connection"),
        (b"Sec-WebSocket-Accept: ", b"Sec-WebSocket-Accept: x", "does not match the key"),
        (b"Upgrade: websocket", b"Upgrade: websocket\r\nSec-WebSocket-Extensions: x", "extension"),
    ],
)
def test_an_upgrade_to_something_else_is_refused(old: bytes, new: bytes, says: str) -> None:
    key = handshake.new_key()
    data = accepted(key)
    assert old in data
    with pytest.raises(HandshakeError, match=says):
        check(data.replace(old, new), key)


@pytest.mark.parametrize(
    "data", [b"SSH-2.0-x\r\n", b"HTTP/1.1 ok\r\n\r\n", b"\x16\x03", b"x" * 70_000]
)
def test_what_is_not_http_is_refused(data: bytes) -> None:
    with pytest.raises(HandshakeError, match="not an HTTP response"):
        handshake.parse(data)


def refused(data: bytes) -> tuple[str, str]:
    answer = handshake.parse(data)
    assert answer is not None
    assert answer.body is not None
    return handshake.rejection(answer, answer.body)


FULL = b'{"type":"error","data":{"message":"no place","code":"CAPACITY_REACHED"}}'


def test_a_full_server_says_so() -> None:
    head = b"HTTP/1.1 503 Full\r\nX-OpenEnv-Error: CAPACITY_REACHED\r\nContent-Length: %d\r\n\r\n"
    data = head % len(FULL) + FULL
    assert refused(data) == ("CAPACITY_REACHED", "no place")
    partly = handshake.parse(data[:-1])
    assert partly is not None
    assert partly.body is None


def test_a_full_server_may_say_it_in_chunks() -> None:
    head = b"HTTP/1.1 503 Full\r\nx-openenv-error: CAPACITY_REACHED\r\n"
    head += b"Transfer-Encoding: chunked\r\n\r\n"
    body = b"a;x=1\r\n" + FULL[:10] + b"\r\n%x\r\n" % len(FULL[10:]) + FULL[10:] + b"\r\n0\r\n\r\n"
    assert refused(head + body) == ("CAPACITY_REACHED", "no place")
    assert refused(head + b"nonsense\r\n")[0] == "CAPACITY_REACHED"


def test_any_other_refusal_has_its_status() -> None:
    assert refused(b"HTTP/1.1 404 Not Found\r\n\r\nnothing") == ("HTTP_404", "nothing")
    assert refused(b"HTTP/1.0 502\r\ncontent-length: 0\r\n\r\n") == ("HTTP_502", "")
