"""Servers that write WebSocket bytes by hand, including bytes that no library would send."""

import base64
import contextlib
import hashlib
import json
import re
import socket
import threading
from collections.abc import Callable, Iterator

from websockets.frames import Close, Frame, Opcode

from locustfiles.session import run as session
from locustfiles.session.outcome import Outcome
from locustfiles.session.plan import Plan, Target

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
PLAN = Plan("ws", 0.0, 10.0)
OBSERVATION = {"waited_seconds": 0.0, "pid": 17, "session_hash": "abc", "host_url": "n:1"}
REPLY = json.dumps({"type": "observation", "data": {"observation": OBSERVATION}}).encode()
FULL = b'{"type":"error","data":{"message":"no place","code":"CAPACITY_REACHED"}}'

Act = Callable[[socket.socket, bytes], None]


def server_frame(opcode: Opcode, content: bytes, fin: bool = True) -> bytes:
    return Frame(opcode, content, fin).serialize(mask=False)


TEXT = server_frame(Opcode.TEXT, REPLY)
CLOSE = server_frame(Opcode.CLOSE, Close(1000, "").serialize())


def read_head(connection: socket.socket) -> bytes:
    """Reads the head of the client's upgrade request."""
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
    """Calls `act` with each connection and the head of its upgrade request."""

    def handle(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            act(connection, read_head(connection))

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=handle, args=(connection,), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield Target("127.0.0.1", listener.getsockname()[1])
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(5)


def outcome_of(act: Act, plan: Plan = PLAN) -> Outcome:
    with serving(act) as target:
        return session.run(plan, target)


def after_upgrade(*answers: bytes) -> Act:
    """Accepts the upgrade, then sends one of the answers after each message of the client."""

    def act(connection: socket.socket, head: bytes) -> None:
        connection.sendall(accepted(head))
        for answer in answers:
            if not connection.recv(4096):
                return
            connection.sendall(answer)
        while connection.recv(4096):
            pass

    return act


def assert_success(outcome: Outcome, steps: int = 1) -> None:
    assert outcome.error_message is None
    assert outcome.success
    assert (outcome.pid, outcome.host_url, outcome.waited_seconds) == (17, "n:1", 0.0)
    assert len(outcome.step_latencies) == steps
    assert outcome.connect_latency is not None
    assert outcome.reset_latency is not None
    assert outcome.total_latency is not None
    parts = outcome.connect_latency + outcome.reset_latency + sum(outcome.step_latencies)
    assert 0 < parts <= outcome.total_latency
