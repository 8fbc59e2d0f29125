"""A session as bytes in and bytes out, against replies that are made by hand."""

import base64
import hashlib
import json
from typing import Any

import pytest
from websockets.frames import Close, Frame, Opcode

from locustfiles.session.conversation import CLOSED, Conversation, HELD, OVER
from locustfiles.session.outcome import Outcome
from locustfiles.session.plan import Plan, SessionError, Target
from tests.helpers.misbehaving import GUID, REPLY

TARGET = Target("node-1", 8000)


def text(content: bytes, fin: bool = True) -> bytes:
    return Frame(Opcode.TEXT, content, fin).serialize(mask=False)


OBSERVATION = text(REPLY)
CLOSE = Frame(Opcode.CLOSE, Close(1000, "").serialize()).serialize(mask=False)


class Held:
    def __init__(self, open_now: bool = False) -> None:
        self.open_now = open_now
        self.left: list[Conversation] = []

    def arrive(self, session: Conversation) -> bool:
        return self.open_now

    def leave(self, session: Conversation) -> None:
        self.left.append(session)


def accepted(key: bytes) -> bytes:
    proof = base64.b64encode(hashlib.sha1(key + GUID).digest())
    return (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + proof + b"\r\n\r\n"
    )


def upgraded(plan: Plan | None = None, gate: Held | None = None) -> Conversation:
    it = Conversation(plan or Plan("ws", 0.25, 10.0), Outcome(), gate)
    key = it.upgrade_request(TARGET).split(b"Sec-WebSocket-Key: ")[1].split(b"\r\n")[0]
    assert unmasked(it.receive(accepted(key))) == {"type": "reset", "data": {}}
    return it


def unmasked(data: bytes) -> Any:
    size, mask, content = data[1] & 0x7F, data[2:6], data[6:]
    assert data[0] == 0x81
    assert len(content) == size
    return json.loads(bytes(byte ^ mask[at % 4] for at, byte in enumerate(content)))


STEP = {"type": "step", "data": {"wait_seconds": 0.25}}


def test_a_session_resets_steps_and_closes() -> None:
    it = upgraded(Plan("ws", 0.25, 10.0, steps=2))
    assert unmasked(it.receive(OBSERVATION)) == STEP
    assert unmasked(it.receive(OBSERVATION)) == STEP
    assert unmasked(it.receive(OBSERVATION)) == {"type": "close"}
    reply = it.receive(CLOSE)
    assert (reply[0], reply[1]) == (0x88, 0x82)
    assert it.phase == CLOSED
    it.finish(None)
    assert it.outcome.success
    assert len(it.outcome.step_latencies) == 2
    assert it.outcome.hold_latency is None
    assert (it.outcome.pid, it.outcome.waited_seconds) == (17, 0.0)


def test_a_held_session_sends_nothing_until_it_is_resumed() -> None:
    it = upgraded(gate=Held())
    assert it.receive(OBSERVATION) == b""
    assert (it.phase, it.deadline) == (HELD, float("inf"))
    assert unmasked(it.resume()) == STEP
    assert it.deadline < float("inf")
    assert it.outcome.hold_latency is not None


def test_an_open_gate_holds_no_session() -> None:
    assert unmasked(upgraded(gate=Held(open_now=True)).receive(OBSERVATION)) == STEP


def test_a_held_session_that_fails_leaves_its_gate() -> None:
    gate = Held()
    it = upgraded(gate=gate)
    it.receive(OBSERVATION)
    it.finish(SessionError("DISCONNECTED", "why"))
    assert gate.left == [it]
    assert it.outcome.hold_latency is not None
    assert (it.outcome.success, it.outcome.error_type) == (False, "DISCONNECTED")


@pytest.mark.parametrize("size", [1, 2, 7])
def test_replies_may_arrive_in_pieces(size: int) -> None:
    it = upgraded()
    replies = [it.receive(OBSERVATION[at : at + size]) for at in range(0, len(OBSERVATION), size)]
    assert unmasked(b"".join(replies)) == STEP
    assert not it.mid_message


def error_of(it: Conversation, data: bytes) -> tuple[str, str]:
    with pytest.raises(SessionError) as failure:
        it.receive(data)
    return failure.value.error_type, str(failure.value)


def test_an_error_of_the_server_has_its_own_code() -> None:
    full = text(b'{"type":"error","data":{"message":"no place","code":"CAPACITY_REACHED"}}')
    assert error_of(upgraded(), full) == ("CAPACITY_REACHED", "no place")
    nameless = text(b'{"type":"error","data":{}}')
    assert error_of(upgraded(), nameless) == ("UNKNOWN_ERROR", "")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (text(b"not JSON"), "not JSON"),
        (text(b"[1]"), "not an observation"),
        (text(b'{"type":"observation","data":[]}'), "not an observation"),
        (b"\xf1\x00", "reserved bits"),
        (b"\x81\x81abcd!", "masked"),
    ],
)
def test_an_invalid_reply_is_a_protocol_error(data: bytes, message: str) -> None:
    error_type, text_of_error = error_of(upgraded(), data)
    assert error_type == "PROTOCOL_ERROR"
    assert message in text_of_error


def test_a_message_to_a_held_session_is_a_protocol_error_unless_it_is_an_error() -> None:
    it = upgraded(gate=Held())
    it.receive(OBSERVATION)
    assert error_of(it, OBSERVATION)[0] == "PROTOCOL_ERROR"
    it = upgraded(gate=Held())
    it.receive(OBSERVATION)
    assert error_of(it, text(b'{"type":"error","data":{"code":"GONE"}}'))[0] == "GONE"


def test_a_server_that_closes_early_disconnects_the_session() -> None:
    error_type, message = error_of(upgraded(), CLOSE)
    assert (error_type, "1000" in message) == ("DISCONNECTED", True)


def test_a_connection_may_end_once_the_session_asked_to_close() -> None:
    it = upgraded()
    it.receive(OBSERVATION)
    it.receive(OBSERVATION)
    it.connection_lost(None)
    assert it.phase == OVER
    assert it.outcome.total_latency is not None


@pytest.mark.parametrize(
    ("failure", "cause"),
    [
        (None, "the server closed it"),
        (ConnectionResetError("reset"), "ConnectionResetError: reset"),
    ],
)
def test_a_connection_that_ends_early_is_a_failure(failure: OSError | None, cause: str) -> None:
    it = upgraded()
    with pytest.raises(SessionError, match=cause) as lost:
        it.connection_lost(failure)
    assert lost.value.error_type == "DISCONNECTED"
    waiting = Conversation(Plan("ws", 0.0, 1.0), Outcome())
    with pytest.raises(SessionError, match=cause) as lost:
        waiting.connection_lost(failure)
    assert lost.value.error_type == "HANDSHAKE_FAILED"


def test_a_rejected_upgrade_has_its_status_even_without_its_whole_body() -> None:
    it = Conversation(Plan("ws", 0.0, 10.0), Outcome())
    it.upgrade_request(TARGET)
    assert it.receive(b"HTTP/1.1 503 Full\r\nContent-Length: 9\r\n\r\nno") == b""
    with pytest.raises(SessionError) as lost:
        it.connection_lost(None)
    assert (lost.value.error_type, str(lost.value)) == ("HTTP_503", "")


def test_a_wrong_accept_header_fails_the_handshake() -> None:
    it = Conversation(Plan("ws", 0.0, 10.0), Outcome())
    it.upgrade_request(TARGET)
    assert error_of(it, accepted(b"another key"))[0] == "HANDSHAKE_FAILED"


def test_a_session_times_out() -> None:
    it = upgraded(Plan("ws", 0.25, 5.0))
    it.deadline = 0.0
    assert error_of(it, OBSERVATION) == ("TIMEOUT", "the session did not end within 5 s")


def test_pings_are_answered() -> None:
    reply = upgraded().receive(Frame(Opcode.PING, b"").serialize(mask=False))
    assert reply[:2] == b"\x8a\x80"


@pytest.mark.parametrize(
    ("steps", "wait", "timeout"),
    [(0, 0.0, 1.0), (1, -0.1, 1.0), (1, float("nan"), 1.0), (1, 0.0, 0.0), (1, 0.0, -1.0)],
)
def test_an_impossible_plan_is_rejected(steps: int, wait: float, timeout: float) -> None:
    with pytest.raises(SessionError) as failure:
        Plan("ws", wait, timeout, steps)
    assert failure.value.error_type == "BAD_PLAN"


@pytest.mark.parametrize("url", ["https://a", "ftp://a", "http://", "http://a:x", "a:80", ""])
def test_an_unusable_url_is_rejected(url: str) -> None:
    with pytest.raises(SessionError) as failure:
        Target.from_url(url)
    assert failure.value.error_type == "BAD_URL"
