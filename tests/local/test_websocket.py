"""The same ASGI apps under our WebSocket protocol, behind uvicorn's HTTP protocol and behind our door,
and under uvicorn's own: the same happens to the client and to the app."""

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

from tests.conftest import get_json, new_address, ROOT, wait_for

OURS = ("door", "ours")
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

    def let_go(self, key: str) -> None:
        with urlopen(f"http://{self.address}:8000/open?{key}", timeout=5):
            pass

    @property
    def memory(self) -> int:
        return int(psutil.Process(self.process.pid).memory_info().rss)

    def raw(self, path: str) -> socket.socket:
        """A socket that has been let in and has read no byte more."""
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
    argv = [sys.executable, "-m", "tests.local.transcript_app", address, kind]
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
    """What the client saw, how it ended, and what the app saw."""
    key, seen = next(_keys), []
    try:
        with connect(server.url(f"{path}?{key}"), compression=None, **options) as session:
            told = session.response.headers if session.response else {}
            seen.append(
                sorted((k.lower(), v) for k, v in told.items() if k.lower().startswith("x-"))
            )
            seen.append(session.subprotocol)
            try:
                client(session, seen)
                session.close()
            except ConnectionClosed as closed:
                seen.append(("closed", closed.rcvd and (closed.rcvd.code, closed.rcvd.reason)))
    except InvalidStatus as refused:
        answer = refused.response
        headers = {k.lower(): v for k, v in answer.headers.raw_items()}
        kept = {k: v for k, v in headers.items() if k not in ("date", "server")}
        seen.append((answer.status_code, sorted(kept.items()), bytes(answer.body or b"")))
    wait_for(lambda: settled(server, key), 5, "the app has seen the end")
    return json.loads(json.dumps([seen, server.log(key)], default=repr).replace(key, "KEY"))


def settled(server: Running, key: str) -> bool:
    first = server.log(key)
    return (
        bool(first) and first == server.log(key) and "websocket.connect" != first[-1]["type"]
        if isinstance(first and first[-1], dict) and first[-1]["type"] == "websocket.receive"
        else bool(first)
    )


def listen(session: ClientConnection, seen: list[Any]) -> None:
    while True:
        seen.append(session.recv(timeout=5))


def say(*messages: Any, end: Callable[[ClientConnection], None] | None = None) -> Client:
    def client(session: ClientConnection, seen: list[Any]) -> None:
        for message in messages:
            session.send(message)
            seen.append(session.recv(timeout=5))
        if end is not None:
            end(session)

    return client


CASES: dict[str, tuple[str, Client, dict[str, Any]]] = {
    "echo of text": ("echo", say("a", "é" * 200, "", "x" * 70_000), {}),
    "echo of bytes": ("echo", say(b"", b"\xff\0", b"x" * 126), {}),
    "echo of fragments": ("echo", say(["a", "b", ""], [b"x", b"y"]), {}),
    "leaving with a code": (
        "echo",
        say("a", end=lambda session: session.close(4001, "tired é")),
        {},
    ),
    "too big": ("echo", say(b"x" * ((1 << 20) + 1)), {}),
    "largest": ("echo", say(b"x" * (1 << 20)), {}),
    "scope": ("dressed", listen, {"additional_headers": {"X-Mine": "a", "x-empty": ""}}),
    "scope of another path": ("dressed/../%64ressed%2f", say("x"), {}),
    "subprotocol": ("dressed", listen, {"subprotocols": ["one", "two"]}),
    "refused by close": ("refuse", listen, {}),
    "refused by a page": ("refuse_with_page", listen, {}),
    "raise before accept": ("raise_before", listen, {}),
    "return before accept": ("return_before", listen, {}),
    "close with a code": ("close", listen, {}),
    "wrong messages": ("wrong", listen, {}),
    "raise after accept": ("raise_after", listen, {}),
    "return after accept": ("return_after", listen, {}),
    "waiting twice": (
        "cancelling",
        lambda session, seen: (listen_one(session, seen), session.send("a"), listen(session, seen)),
        {},
    ),  # type: ignore[dict-item]
}


def listen_one(session: ClientConnection, seen: list[Any]) -> None:
    seen.append(session.recv(timeout=5))


@pytest.mark.parametrize("name", CASES)
def test_the_same_transcript(name: str, ours: Running, servers: dict[str, Running]) -> None:
    path, client, options = CASES[name]
    theirs = talk(servers["sansio"], path, client, **options)
    told = talk(ours, path, client, **options)
    print(json.dumps(told), json.dumps(theirs), sep="\n")
    assert alike(name, told, ours) == alike(name, theirs, servers["sansio"])


def alike(name: str, told: Any, server: Running) -> Any:
    return told
