"""The same ASGI apps under this WebSocket protocol, with and without the entry protocol, and under
uvicorn's own protocol: client and app must observe the same."""

import contextlib
import itertools
import json
import os
import re
import socket
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import psutil
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.frames import Frame, Opcode
from websockets.sync.client import ClientConnection, connect

from tests.helpers.local import get_json, new_address, ROOT, wait_for

OURS = ("entry", "protocol_class")
KINDS = (*OURS, "sansio")
HANDSHAKE = (
    "GET {} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
_keys = (f"k{number}" for number in itertools.count())


@dataclass
class Running:
    kind: str
    address: str
    process: subprocess.Popen[bytes]
    errors: Path

    def url(self, path: str) -> str:
        return f"ws://{self.address}:8000/{path}"

    def log(self, key: str) -> Any:
        return get_json(f"http://{self.address}:8000/log?{key}")["log"]

    def open_gate(self, key: str) -> None:
        with urlopen(f"http://{self.address}:8000/open?{key}", timeout=5):
            pass

    @property
    def memory(self) -> int:
        return int(psutil.Process(self.process.pid).memory_info().rss)

    def raw(self, path: str) -> socket.socket:
        """A socket whose handshake is complete and that has read nothing since."""
        opened = socket.create_connection((self.address, 8000), timeout=10)
        opened.sendall(HANDSHAKE.format(path).encode())
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += opened.recv(1)
        assert head.startswith(b"HTTP/1.1 101")
        return opened


@contextlib.contextmanager
def running(kind: str, folder: Path) -> Iterator[Running]:
    address = new_address()
    argv = [sys.executable, "-m", "tests.helpers.transcript_app", address, kind]
    errors = folder / f"{kind}.log"
    with errors.open("wb") as output:
        process = subprocess.Popen(argv, cwd=ROOT, env=os.environ, stdout=output, stderr=output)
    server = Running(kind, address, process, errors)
    try:
        wait_for(lambda: server.log("none") == [], 30, "the apps answer")
        yield server
    finally:
        process.terminate()
        process.wait(20)


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Running]]:
    folder = tmp_path_factory.mktemp("apps")
    with contextlib.ExitStack() as stack:
        yield {kind: stack.enter_context(running(kind, folder)) for kind in KINDS}


@pytest.fixture(params=OURS)
def ours(request: pytest.FixtureRequest, servers: dict[str, Running]) -> Running:
    return servers[request.param]


Client = Callable[[ClientConnection, list[Any]], None]


def talk(server: Running, path: str, client: Client, **options: Any) -> list[Any]:
    """What the client received, how the connection ended, and what the app received."""
    key, received_messages = next(_keys), []
    try:
        with connect(server.url(f"{path}?{key}"), compression=None, **options) as session:
            headers = session.response.headers if session.response else {}
            received_messages.append(
                sorted((k.lower(), v) for k, v in headers.items() if k.lower().startswith("x-"))
            )
            received_messages.append(session.subprotocol)
            try:
                client(session, received_messages)
                session.close()
            except ConnectionClosed as closed:
                received_messages.append(
                    ("closed", closed.rcvd and (closed.rcvd.code, closed.rcvd.reason))
                )
    except InvalidStatus as refused:
        answer = refused.response
        headers = {k.lower(): v for k, v in answer.headers.raw_items()}
        kept = {k: v for k, v in headers.items() if k not in ("date", "server")}
        received_messages.append(
            (answer.status_code, sorted(kept.items()), bytes(answer.body or b""))
        )
    return json.loads(
        json.dumps([received_messages, app_events(server, key)], default=repr).replace(key, "KEY")
    )


def app_events(server: Running, key: str) -> list[Any]:
    """All events that the app received."""
    return list(
        wait_for(lambda: (log := server.log(key))[-1:] == ["end"] and log, 10, "the app's end")
    )[:-1]


def listen(session: ClientConnection, received_messages: list[Any]) -> None:
    while True:
        received_messages.append(session.recv(timeout=5))


def sends(*messages: Any, end: Callable[[ClientConnection], None] | None = None) -> Client:
    def client(session: ClientConnection, received_messages: list[Any]) -> None:
        for message in messages:
            session.send(message)
            received_messages.append(session.recv(timeout=5))
        if end is not None:
            end(session)

    return client


def send_once_more(session: ClientConnection, received_messages: list[Any]) -> None:
    received_messages.append(session.recv(timeout=5))
    session.send("a")
    listen(session, received_messages)


CASES: dict[str, tuple[str, Client, dict[str, Any]]] = {
    "echo of text": ("echo", sends("a", "é" * 200, "", "x" * 70_000), {}),
    "echo of bytes": ("echo", sends(b"", b"\xff\0", b"x" * 126), {}),
    "echo of fragments": ("echo", sends(["a", "b", ""], [b"x", b"y"]), {}),
    "leaving with a code": (
        "echo",
        sends("a", end=lambda session: session.close(4001, "tired é")),
        {},
    ),
    "too big": ("echo", sends(b"x" * ((1 << 20) + 1)), {}),
    "largest": ("echo", sends(b"x" * (1 << 20)), {}),
    "scope": ("dressed", listen, {"additional_headers": {"X-Mine": "a", "x-empty": ""}}),
    "scope of another path": ("dressed/../%64ressed%2f", sends("x"), {}),
    "subprotocol": ("dressed", listen, {"subprotocols": ["one", "two"]}),
    "refused by close": ("refuse", listen, {}),
    "refused by a page": ("refuse_with_page", listen, {}),
    "raise before accept": ("raise_before", listen, {}),
    "return before accept": ("return_before", listen, {}),
    "close with a code": ("close", listen, {}),
    "wrong messages": ("wrong", listen, {}),
    "raise after accept": ("raise_after", listen, {}),
    "return after accept": ("return_after", listen, {}),
    "waiting twice": ("cancelling", send_once_more, {}),
}


# Where we differ from uvicorn's protocol, and why.
DIFFERENCES: dict[str, Callable[[str], str]] = {
    # the messages differ
    "too big": lambda transcript: re.sub(
        r"(frame with|message exceeds) [^\"]*", "TOO BIG", transcript
    ),
    # After an app failed or returned without closing, this server sends a close frame; uvicorn does not.
    "raise after accept": lambda transcript: transcript.replace(
        '["closed", null]', '["closed", [1011, ""]]'
    ),
    "return after accept": lambda transcript: transcript.replace(
        '["closed", null]', '["closed", [1000, ""]]'
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_transcript_matches_uvicorns_protocol(
    name: str, ours: Running, servers: dict[str, Running]
) -> None:
    path, client, options = CASES[name]
    transcript, reference = (
        # in ASGI, a missing reason is an empty one
        json.dumps(talk(server, path, client, **options)).replace(', "reason": ""}', "}")
        for server in (ours, servers["sansio"])
    )
    same = DIFFERENCES.get(name, lambda transcript: transcript)
    assert same(transcript) == same(reference)


def frame(opcode: int, payload: bytes = b"", fin: bool = True) -> bytes:
    return Frame(Opcode(opcode), payload, fin).serialize(mask=True)


def reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def received(connection: socket.socket) -> bytes:
    """Everything that arrives until the other side closes."""
    found = b""
    with contextlib.suppress(ConnectionResetError):
        while data := connection.recv(65_536):
            found += data
    return found


ENDS: dict[str, tuple[bytes, Callable[[socket.socket], Any]]] = {
    "close frame": (frame(8, b"\x0f\xa1tired"), received),
    "close frame without a code": (frame(8), received),
    "close frame and garbage": (frame(8, b"\x03\xe8") + b"\xff" * 100, received),
    "reset": (b"", reset),
    "end": (b"", socket.socket.close),
    "end in a frame": (frame(1, b"abc")[:-2], socket.socket.close),
    "half closed": (b"", lambda open_: (open_.shutdown(socket.SHUT_WR), received(open_))),
    "half closed in a frame": (
        frame(1, b"abc")[:-2],
        lambda open_: (open_.shutdown(socket.SHUT_WR), received(open_)),
    ),
    "violation": (b"\xff\xff", received),
    "text not UTF-8": (frame(1, b"\xff"), received),
}


@pytest.mark.parametrize("name", ENDS)
def test_app_receives_the_close_code_of_the_client(
    name: str, ours: Running, servers: dict[str, Running]
) -> None:
    received_messages = []
    for server in (ours, servers["sansio"]):
        key, (words, leave) = next(_keys), ENDS[name]
        with server.raw(f"/echo?{key}") as session:
            session.sendall(frame(1, b"first"))
            assert session.recv(7) == b"\x81\x05first"
            session.sendall(words)
            leave(session)
        end = app_events(server, key)[-1]
        # uvicorn reports 1005 for a client that disconnected without a close frame; RFC 6455 defines 1006
        abnormal = end["code"] == 1005 and name != "close frame without a code"
        received_messages.append((end["type"], 1006 if abnormal else end["code"]))
        if name == "close frame":
            assert (end["code"], end["reason"]) == (4001, "tired")
    assert received_messages[0] == received_messages[1]


@pytest.mark.parametrize("leave", [reset, socket.socket.close], ids=["reset", "end"])
def test_send_raises_after_the_client_disconnected(
    leave: Callable[[socket.socket], None], ours: Running
) -> None:
    key = next(_keys)
    leave(ours.raw(f"/send_to_gone?{key}"))
    assert app_events(ours, key)[-1] == "gone"


def test_send_raises_after_a_protocol_violation(ours: Running) -> None:
    key = next(_keys)
    with ours.raw(f"/send_to_gone?{key}") as session:
        session.sendall(b"\xff\xff")
        assert app_events(ours, key)[-1] == "gone"
        assert received(session)[2:4] == b"\x03\xea"


def test_pings_are_answered_while_the_app_is_busy(ours: Running) -> None:
    key = next(_keys)
    with connect(ours.url(f"slow?{key}"), compression=None) as session:
        session.send("before")
        assert session.ping("a").wait(5)
        assert session.ping("b").wait(5)
        ours.open_gate(key)
        session.send("report")
        assert session.recv(timeout=5) == "2 12"


def test_messages_before_accept_are_kept(ours: Running) -> None:
    key = next(_keys)
    with socket.create_connection((ours.address, 8000), timeout=5) as session:
        session.sendall(HANDSHAKE.format(f"/late?{key}").encode())
        wait_for(lambda: ours.log(key), 5, "the app is asked")
        session.sendall(frame(1, b"early") + frame(9, b"p") + frame(8, b"\x03\xe8"))
        ours.open_gate(key)
        head, _, rest = received(session).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 101")
    assert b"\x8a\x01p" in rest
    transcript = app_events(ours, key)
    assert [entry.get("text") for entry in transcript[1:-1]] == ["early"]
    assert transcript[-1]["code"] == 1000


def test_flood_before_accept_is_not_buffered(ours: Running) -> None:
    key, before = next(_keys), ours.memory
    with socket.create_connection((ours.address, 8000), timeout=5) as session:
        session.sendall(HANDSHAKE.format(f"/late?{key}").encode())
        wait_for(lambda: ours.log(key), 5, "the app is asked")
        assert fill(session, frame(1, b"x" * 1_000), 64 << 20) < 64 << 20
        assert ours.memory - before < 8 << 20
    ours.open_gate(key)
    assert app_events(ours, key)


def fill(connection: socket.socket, data: bytes, most: int) -> int:
    """Sends until the socket has accepted nothing for a while; returns the number of bytes sent."""
    connection.settimeout(0.3)
    sent, many = 0, data * (1 + 500_000 // len(data))
    at = 0
    with contextlib.suppress(TimeoutError):
        while sent < most:
            now = connection.send(many[at:])
            at = (at + now) % len(many)
            sent += now
    return sent


@pytest.mark.parametrize("size", [0, 10, 60_000, 1 << 20])
def test_slow_app_applies_backpressure_to_its_client(size: int, ours: Running) -> None:
    key, before = next(_keys), ours.memory
    most = 96 << 20 if size else 8 << 20
    with ours.raw(f"/slow?{key}") as session:
        assert fill(session, frame(2, b"x" * size), most) < most
        assert ours.memory - before < 16 << 20
    ours.open_gate(key)
    assert app_events(ours, key) == [{"type": "websocket.connect"}, "websocket.disconnect"]


def test_pings_of_a_client_that_does_not_read_are_not_buffered(ours: Running) -> None:
    key, before = next(_keys), ours.memory
    with ours.raw(f"/slow?{key}") as session:
        fill(session, frame(9, b"x" * 125), 24 << 20)
        assert ours.memory - before < 8 << 20
        assert ours.log(key) == [{"type": "websocket.connect"}]
    ours.open_gate(key)
    app_events(ours, key)


@pytest.mark.parametrize("leave", [reset, socket.socket.close], ids=["reset", "end"])
def test_writing_app_waits_for_a_slow_client(
    leave: Callable[[socket.socket], None], ours: Running
) -> None:
    key, before = next(_keys), ours.memory
    session = ours.raw(f"/torrent?{key}")
    rest = wait_for(lambda: stands_still(ours, key), 10, "send() waits")
    assert rest < 5_000
    assert ours.memory - before < 8 << 20
    leave(session)
    assert app_events(ours, key)[-1] == "gone"


def stands_still(server: Running, key: str) -> int:
    first = server.log(key)[-1]
    again = [server.log(key)[-1] for _ in range(20)]
    return int(first) if isinstance(first, int) and first and set(again) == {first} else 0


def test_writing_app_reaches_a_client_that_reads(ours: Running) -> None:
    key = next(_keys)
    with connect(ours.url(f"torrent?{key}"), compression=None) as session:
        assert sum(len(message) for message in session) == 50_000_000
    assert app_events(ours, key)[-1] == 5_000


def test_client_is_notified_when_the_server_stops(tmp_path: Path) -> None:
    for kind in KINDS:
        with running(kind, tmp_path) as server:
            key = next(_keys)
            idle = socket.create_connection((server.address, 8000), timeout=5)
            with connect(server.url(f"echo?{key}"), compression=None) as session:
                session.send("a")
                session.recv(timeout=5)
                server.process.terminate()
                with pytest.raises(ConnectionClosed) as closed:
                    session.recv(timeout=5)
                assert closed.value.rcvd is not None
                assert closed.value.rcvd.code == 1012
            assert received(idle) == b""
            idle.close()
            server.process.wait(10)
            assert "Traceback" not in server.errors.read_text()


def test_log_contains_only_the_failures_of_the_apps(servers: dict[str, Running]) -> None:
    """Runs last: the log contains only the apps' own failures, whatever the clients did."""
    for kind in OURS:
        log = servers[kind].errors.read_text()
        raised = re.findall(
            r"^(\w+(?:\.\w+)*(?:Error|Exception|Disconnected).*)$", log, re.MULTILINE
        )
        assert {line.partition(":")[2].strip() for line in raised} <= {"before", "after"}
        assert "socket.send() raised" not in log
        assert "never retrieved" not in log
