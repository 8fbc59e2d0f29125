"""The outcome of a load session against misbehaving servers, each over a real socket."""

import json
import socket
import struct
import threading
import time

import pytest
from websockets.frames import Close, Frame, Opcode
from websockets.sync.server import serve, ServerConnection

from locustfiles.session import engine as engines
from locustfiles.session import run as session
from locustfiles.session.conversation import RESET
from locustfiles.session.plan import Plan, Target
from tests.helpers.misbehaving import (
    accepted,
    Act,
    after_upgrade,
    assert_success,
    CLOSE,
    FULL,
    outcome_of,
    PLAN,
    REPLY,
    server_frame,
    serving,
    TEXT,
)


def test_session_succeeds_against_the_websockets_package() -> None:
    messages = []

    def handle(connection: ServerConnection) -> None:
        for message in connection:
            messages.append(json.loads(message))
            if messages[-1]["type"] == "close":
                return
            connection.send(REPLY.decode())

    with serve(handle, "127.0.0.1", 0, compression=None) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        port = server.socket.getsockname()[1]
        outcome = session.run(Plan("ws", 0.25, 10.0, 3), Target("127.0.0.1", port))
        server.shutdown()
        thread.join(5)
    assert_success(outcome, 3)
    step = {"type": "step", "data": {"wait_seconds": 0.25}}
    reset = {"type": "reset", "data": {}}
    assert messages == [reset, step, step, step, {"type": "close"}]


def test_session_succeeds_when_the_server_sends_single_bytes() -> None:
    def act(connection: socket.socket, head: bytes) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for answer in (accepted(head), TEXT, TEXT, CLOSE):
            for at in range(len(answer)):
                connection.send(answer[at : at + 1])
            connection.recv(4096)

    assert_success(outcome_of(act))


def test_session_succeeds_when_everything_arrives_in_one_segment() -> None:
    assert_success(outcome_of(lambda it, head: it.sendall(accepted(head) + TEXT + TEXT + CLOSE)))


def test_ping_is_answered_between_fragments_of_a_reply() -> None:
    ping = server_frame(Opcode.PING, b"there?")
    parts = [REPLY[at : at + 50] for at in range(0, len(REPLY), 50)]
    frames = [
        server_frame(Opcode.CONT if at else Opcode.TEXT, part, at == len(parts) - 1)
        for at, part in enumerate(parts)
    ]
    heard: list[int] = []

    def act(connection: socket.socket, head: bytes) -> None:
        connection.sendall(accepted(head))
        connection.recv(4096)
        connection.sendall(ping + frames[0] + ping)
        heard.append(connection.recv(4096)[0])  # the pong arrives before the reply is complete
        connection.sendall(b"".join(frames[1:]))
        connection.recv(4096)
        connection.sendall(TEXT)
        connection.recv(4096)
        connection.sendall(CLOSE)

    assert_success(outcome_of(act))
    assert heard == [0x8A]


def test_session_succeeds_when_the_server_floods_it_with_pings() -> None:
    pings = 100_000
    most = len(RESET.frame()) + pings * 131  # of the client, whose pongs are masked
    heard = bytearray()

    def act(connection: socket.socket, head: bytes) -> None:
        connection.sendall(accepted(head) + server_frame(Opcode.PING, b"x" * 125) * pings)
        while len(heard) < most:
            heard.extend(connection.recv(65_536))
        connection.sendall(TEXT)
        connection.recv(4096)
        connection.sendall(TEXT)
        connection.recv(4096)
        connection.sendall(CLOSE)

    assert_success(outcome_of(act))
    assert len(heard) == most


def test_reply_of_many_megabytes_is_read() -> None:
    long = json.loads(REPLY)
    long["data"]["observation"]["text"] = "x" * 9_000_000
    reply = server_frame(Opcode.TEXT, json.dumps(long).encode())
    assert_success(outcome_of(after_upgrade(reply, TEXT, CLOSE)))


def reset_by(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def reset_after_upgrade(connection: socket.socket, head: bytes) -> None:
    connection.sendall(accepted(head))
    connection.recv(4096)
    reset_by(connection)


def refused(body: bytes, *headers: bytes) -> Act:
    head = b"\r\n".join((b"HTTP/1.1 503 No", *headers, b"Content-Length: %d" % len(body)))
    return lambda connection, _: connection.sendall(head + b"\r\n\r\n" + body)


@pytest.mark.parametrize(
    ("act", "error_type", "expected"),
    [
        (lambda *_: None, "HANDSHAKE_FAILED", "ended"),
        (lambda it, _: reset_by(it), "HANDSHAKE_FAILED", "ended"),
        (lambda it, _: it.sendall(b"HTTP/1.1 101"), "HANDSHAKE_FAILED", "ended"),
        (lambda it, _: it.sendall(b"hello there\r\n"), "HANDSHAKE_FAILED", "not an HTTP"),
        (lambda it, _: it.sendall(accepted(b"Sec-WebSocket-Key: x")), "HANDSHAKE_FAILED", "key"),
        (refused(FULL, b"x-openenv-error: CAPACITY_REACHED"), "CAPACITY_REACHED", "no place"),
        (refused(b"no route"), "HTTP_503", "no route"),
        (
            lambda it, head: it.sendall(accepted(head) + server_frame(Opcode.TEXT, FULL) + CLOSE),
            "CAPACITY_REACHED",
            "no place",
        ),
        (lambda it, head: it.sendall(accepted(head)), "DISCONNECTED", "ended"),
        (reset_after_upgrade, "DISCONNECTED", "ended"),
        (
            after_upgrade(TEXT, server_frame(Opcode.CLOSE, Close(1011, "oops").serialize())),
            "DISCONNECTED",
            "1011 oops",
        ),
        (after_upgrade(TEXT[:-1] + b"!"), "PROTOCOL_ERROR", "not JSON"),
        (after_upgrade(server_frame(Opcode.TEXT, b"[1]")), "PROTOCOL_ERROR", "not an observation"),
        (after_upgrade(b"\xff\xff\xff"), "PROTOCOL_ERROR", "reserved bits"),
        (after_upgrade(Frame(Opcode.TEXT, REPLY).serialize(mask=True)), "PROTOCOL_ERROR", "masked"),
        (after_upgrade(TEXT, server_frame(Opcode.TEXT, FULL)), "CAPACITY_REACHED", "no place"),
    ],
)
def test_failure_has_the_right_error_type(act: Act, error_type: str, expected: str) -> None:
    outcome = outcome_of(act)
    assert (outcome.success, outcome.error_type) == (False, error_type)
    assert expected in (outcome.error_message or "")


@pytest.mark.parametrize("answers", [0, 1])
def test_session_times_out_when_the_server_stops_responding(answers: int) -> None:
    outcome = outcome_of(after_upgrade(*[TEXT] * answers), Plan("ws", 0.0, 0.3))
    assert (outcome.success, outcome.error_type) == (False, "TIMEOUT")
    assert outcome.error_message == "the session did not end within 0.3 s"
    assert outcome.total_latency is not None
    assert outcome.total_latency >= 0.3


def test_session_times_out_when_the_server_never_accepts() -> None:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        target = Target("127.0.0.1", listening.getsockname()[1])
        with socket.create_connection(("127.0.0.1", target.port)):  # its queue is full
            outcome = session.run(Plan("ws", 0.0, 0.3), target)
    assert (outcome.error_type, outcome.connect_latency) == ("TIMEOUT", None)


def test_session_fails_when_nothing_listens() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        outcome = session.run(PLAN, Target("127.0.0.1", bound.getsockname()[1]))
    assert outcome.error_type == "CONNECT_REFUSED"


def test_session_fails_with_a_foreign_source_address() -> None:
    outcome = session.run(PLAN, Target("127.0.0.1", 80, source="203.0.113.9"))
    assert outcome.error_type == "NO_PORTS"


def test_session_fails_when_the_name_does_not_resolve() -> None:
    outcome = session.run(PLAN, Target("no-such-host.invalid", 80))
    assert outcome.error_type == "CONNECT_FAILED"


def test_session_succeeds_when_the_server_does_not_close_the_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(engines, "CLOSE_SECONDS", 0.2)
    outcome = outcome_of(after_upgrade(TEXT, TEXT))
    assert_success(outcome)
    assert outcome.total_latency is not None
    assert outcome.total_latency >= 0.2


def test_latency_counts_from_when_the_session_was_due() -> None:
    with serving(after_upgrade(TEXT, TEXT, CLOSE)) as target:
        outcome = session.run(PLAN, target, due=time.perf_counter() - 3)
    assert_success(outcome)
    assert outcome.connect_latency is not None
    assert outcome.connect_latency > 3
