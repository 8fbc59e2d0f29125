"""A session of the load against servers that misbehave, each over a real socket: what it is counted
as."""

import base64
import contextlib
import hashlib
import json
import re
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator

import gevent
import pytest
from websockets.frames import Close, Frame, Opcode
from websockets.sync.server import serve, ServerConnection

from locustfiles import engine as engines
from locustfiles import session
from locustfiles.conversation import RESET
from locustfiles.engine import engine
from locustfiles.outcome import Outcome
from locustfiles.plan import Plan, Target
from locustfiles.share import Barrier

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
PLAN = Plan("ws", 0.0, 10.0)
SEEN = {"waited_seconds": 0.0, "pid": 17, "session_hash": "abc", "host_url": "n:1"}
REPLY = json.dumps({"type": "observation", "data": {"observation": SEEN}}).encode()
FULL = b'{"type":"error","data":{"message":"no place","code":"CAPACITY_REACHED"}}'

Act = Callable[[socket.socket, bytes], None]


def said(opcode: Opcode, content: bytes, fin: bool = True) -> bytes:
    return Frame(opcode, content, fin).serialize(mask=False)


TEXT = said(Opcode.TEXT, REPLY)
BYE = said(Opcode.CLOSE, Close(1000, "").serialize())


def asked(connection: socket.socket) -> bytes:
    """The head of the upgrade that a client sends."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        if not (more := connection.recv(4096)):
            break
        head += more
    return head


def accepted(head: bytes) -> bytes:
    (key,) = re.findall(rb"Sec-WebSocket-Key: (\S+)", head)
    accept = base64.b64encode(hashlib.sha1(key + GUID).digest())
    lines = (b"HTTP/1.1 101 Switching", b"Upgrade: websocket", b"Connection: Upgrade")
    return b"\r\n".join((*lines, b"Sec-WebSocket-Accept: " + accept, b"", b""))


@contextlib.contextmanager
def serving(act: Act) -> Iterator[Target]:
    """`act` gets each connection and the head of its upgrade."""

    def handle(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            act(connection, asked(connection))

    def accept() -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            threading.Thread(target=handle, args=(connection,), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield Target("127.0.0.1", listening.getsockname()[1])
        listening.shutdown(socket.SHUT_RDWR)
        thread.join(5)


def outcome_of(act: Act, plan: Plan = PLAN) -> Outcome:
    with serving(act) as target:
        return session.run(plan, target)


def after_upgrade(*answers: bytes) -> Act:
    """Gives these answers, one to each message of the client."""

    def act(connection: socket.socket, head: bytes) -> None:
        connection.sendall(accepted(head))
        for answer in answers:
            if not connection.recv(4096):
                return
            connection.sendall(answer)
        while connection.recv(4096):
            pass

    return act


def assert_well(outcome: Outcome, steps: int = 1) -> None:
    assert outcome.error_message is None
    assert outcome.success
    assert (outcome.pid, outcome.host_url, outcome.waited_seconds) == (17, "n:1", 0.0)
    assert len(outcome.step_latencies) == steps
    assert outcome.connect_latency is not None
    assert outcome.reset_latency is not None
    assert outcome.total_latency is not None
    parts = outcome.connect_latency + outcome.reset_latency + sum(outcome.step_latencies)
    assert 0 < parts <= outcome.total_latency


def test_a_session_with_the_websockets_package() -> None:
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
    assert_well(outcome, 3)
    step = {"type": "step", "data": {"wait_seconds": 0.25}}
    reset = {"type": "reset", "data": {}}
    assert messages == [reset, step, step, step, {"type": "close"}]


def test_a_server_that_sends_byte_by_byte() -> None:
    def act(connection: socket.socket, head: bytes) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for answer in (accepted(head), TEXT, TEXT, BYE):
            for at in range(len(answer)):
                connection.send(answer[at : at + 1])
            connection.recv(4096)

    assert_well(outcome_of(act))


def test_all_in_one_segment() -> None:
    assert_well(outcome_of(lambda it, head: it.sendall(accepted(head) + TEXT + TEXT + BYE)))


def test_a_ping_is_answered_in_the_middle_of_a_fragmented_reply() -> None:
    ping = said(Opcode.PING, b"there?")
    parts = [REPLY[at : at + 50] for at in range(0, len(REPLY), 50)]
    frames = [
        said(Opcode.CONT if at else Opcode.TEXT, part, at == len(parts) - 1)
        for at, part in enumerate(parts)
    ]
    heard: list[int] = []

    def act(connection: socket.socket, head: bytes) -> None:
        connection.sendall(accepted(head))
        connection.recv(4096)
        connection.sendall(ping + frames[0] + ping)
        heard.append(connection.recv(4096)[0])  # the pong comes before the reply is whole
        connection.sendall(b"".join(frames[1:]))
        connection.recv(4096)
        connection.sendall(TEXT)
        connection.recv(4096)
        connection.sendall(BYE)

    assert_well(outcome_of(act))
    assert heard == [0x8A]


def test_a_server_that_asks_for_more_pongs_than_it_reads() -> None:
    pings = 100_000
    most = len(RESET.frame()) + pings * 131  # of the client; a pong is masked
    heard = bytearray()

    def act(connection: socket.socket, head: bytes) -> None:
        connection.sendall(accepted(head) + said(Opcode.PING, b"x" * 125) * pings)
        while len(heard) < most:
            heard.extend(connection.recv(65_536))
        connection.sendall(TEXT)
        connection.recv(4096)
        connection.sendall(TEXT)
        connection.recv(4096)
        connection.sendall(BYE)

    assert_well(outcome_of(act))
    assert len(heard) == most


def test_a_reply_of_many_megabytes() -> None:
    long = json.loads(REPLY)
    long["data"]["observation"]["text"] = "x" * 9_000_000
    reply = said(Opcode.TEXT, json.dumps(long).encode())
    assert_well(outcome_of(after_upgrade(reply, TEXT, BYE)))


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
    ("act", "error_type", "says"),
    [
        (lambda *_: None, "HANDSHAKE_FAILED", "ended"),
        (lambda it, _: reset_by(it), "HANDSHAKE_FAILED", "ended"),
        (lambda it, _: it.sendall(b"HTTP/1.1 101"), "HANDSHAKE_FAILED", "ended"),
        (lambda it, _: it.sendall(b"hello there\r\n"), "HANDSHAKE_FAILED", "not an HTTP"),
        (lambda it, _: it.sendall(accepted(b"Sec-WebSocket-Key: x")), "HANDSHAKE_FAILED", "key"),
        (refused(FULL, b"x-openenv-error: CAPACITY_REACHED"), "CAPACITY_REACHED", "no place"),
        (refused(b"no route"), "HTTP_503", "no route"),
        (
            lambda it, head: it.sendall(accepted(head) + said(Opcode.TEXT, FULL) + BYE),
            "CAPACITY_REACHED",
            "no place",
        ),
        (lambda it, head: it.sendall(accepted(head)), "DISCONNECTED", "ended"),
        (reset_after_upgrade, "DISCONNECTED", "ended"),
        (
            after_upgrade(TEXT, said(Opcode.CLOSE, Close(1011, "oops").serialize())),
            "DISCONNECTED",
            "1011 oops",
        ),
        (after_upgrade(TEXT[:-1] + b"!"), "PROTOCOL_ERROR", "not JSON"),
        (after_upgrade(said(Opcode.TEXT, b"[1]")), "PROTOCOL_ERROR", "not an observation"),
        (after_upgrade(b"\xff\xff\xff"), "PROTOCOL_ERROR", "reserved bits"),
        (after_upgrade(Frame(Opcode.TEXT, REPLY).serialize(mask=True)), "PROTOCOL_ERROR", "masked"),
        (after_upgrade(TEXT, said(Opcode.TEXT, FULL)), "CAPACITY_REACHED", "no place"),
    ],
)
def test_what_goes_wrong_is_counted_by_its_name(act: Act, error_type: str, says: str) -> None:
    outcome = outcome_of(act)
    assert (outcome.success, outcome.error_type) == (False, error_type)
    assert says in (outcome.error_message or "")


@pytest.mark.parametrize("answers", [0, 1])
def test_a_server_that_falls_silent(answers: int) -> None:
    outcome = outcome_of(after_upgrade(*[TEXT] * answers), Plan("ws", 0.0, 0.3))
    assert (outcome.success, outcome.error_type) == (False, "TIMEOUT")
    assert outcome.error_message == "the session had not ended after 0.3 s"
    assert outcome.total_latency is not None
    assert outcome.total_latency >= 0.3


def test_a_server_that_never_takes_a_connection() -> None:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        target = Target("127.0.0.1", listening.getsockname()[1])
        with socket.create_connection(("127.0.0.1", target.port)):  # its queue is full
            outcome = session.run(Plan("ws", 0.0, 0.3), target)
    assert (outcome.error_type, outcome.connect_latency) == ("TIMEOUT", None)


def test_nobody_listens() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        outcome = session.run(PLAN, Target("127.0.0.1", bound.getsockname()[1]))
    assert outcome.error_type == "CONNECT_REFUSED"


def test_an_address_that_is_not_here() -> None:
    outcome = session.run(PLAN, Target("127.0.0.1", 80, source="203.0.113.9"))
    assert outcome.error_type == "NO_PORTS"


def test_a_name_that_nobody_has() -> None:
    outcome = session.run(PLAN, Target("no-such-host.invalid", 80))
    assert outcome.error_type == "CONNECT_FAILED"


def test_a_server_that_does_not_close_has_done_its_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "CLOSE_SECONDS", 0.2)
    outcome = outcome_of(after_upgrade(TEXT, TEXT))
    assert_well(outcome)
    assert outcome.total_latency is not None
    assert outcome.total_latency >= 0.2


def test_a_session_that_is_due_counts_from_then() -> None:
    with serving(after_upgrade(TEXT, TEXT, BYE)) as target:
        outcome = session.run(PLAN, target, begun=time.perf_counter() - 3)
    assert_well(outcome)
    assert outcome.connect_latency is not None
    assert outcome.connect_latency > 3


def test_a_session_that_is_dropped_leaves_no_socket() -> None:
    left = threading.Event()

    def act(connection: socket.socket, head: bytes) -> None:
        connection.sendall(accepted(head))
        while connection.recv(4096):
            pass
        left.set()

    with serving(act) as target:
        with gevent.Timeout(0.2, False):
            session.run(PLAN, target)
        assert left.wait(5)
    assert engine().opening == 0


def held(sessions: int, plan: Plan, act: Act, release: Callable[[Barrier], None]) -> list[Outcome]:
    barrier = Barrier()
    with serving(act) as target:
        running = [gevent.spawn(session.run, plan, target, barrier) for _ in range(sessions)]
        with gevent.Timeout(5):
            while barrier.held < sessions:
                gevent.sleep(0.01)
        release(barrier)
        gevent.joinall(running, timeout=10)
    return [each.get() for each in running]


def test_held_sessions_have_their_time_anew() -> None:
    def release(barrier: Barrier) -> None:
        gevent.sleep(0.6)
        barrier.release()

    outcomes = held(40, Plan("ws", 0.0, 0.5), after_upgrade(TEXT, TEXT, BYE), release)
    for outcome in outcomes:
        assert_well(outcome)
        assert outcome.hold_latency is not None
        assert outcome.hold_latency >= 0.6
        assert outcome.total_latency is not None
        assert outcome.total_latency < 0.6


def test_a_held_session_that_is_cut_is_not_held_any_more() -> None:
    cut = threading.Event()

    def act(connection: socket.socket, head: bytes) -> None:
        connection.sendall(accepted(head))
        connection.recv(4096)
        connection.sendall(TEXT + said(Opcode.PING, b""))
        assert connection.recv(4096)[0] == 0x8A
        cut.wait(5)

    def release(barrier: Barrier) -> None:
        cut.set()
        with gevent.Timeout(5):
            while barrier.held:
                gevent.sleep(0.01)

    (outcome,) = held(1, PLAN, act, release)
    assert outcome.error_type == "DISCONNECTED"
    assert outcome.hold_latency is not None
