"""Sessions with the environments of `tests/helpers/apps/faulty.py`."""

import contextlib
import json
import re
from collections.abc import Iterator
from typing import Any

import websocket

from tests.helpers.wire import connect, receive, Script, transcript

UUID = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"


def step(do: str = "nothing", value: Any = None) -> str:
    return json.dumps({"type": "step", "data": {"do": do, "value": value}})


def reset(do: str = "nothing", value: Any = None) -> str:
    return json.dumps({"type": "reset", "data": {"do": do, "value": value}})


def frames(url: str, script: Script) -> list[str]:
    """The transcript without the worker's pid."""
    return [re.sub(r'"pid":\d+', '"pid":0', text) for text in transcript(url, script)]


class Client:
    """A session whose replies are read one by one."""

    def __init__(self, url: str) -> None:
        self._connection: websocket.WebSocket = connect(url)

    def send(self, frame: str) -> None:
        self._connection.send(frame)

    def receive(self) -> str:
        """A frame, or how the connection was closed."""
        while (text := receive(self._connection)).startswith("opcode 9"):  # a ping
            pass
        return text

    def ask(self, frame: str) -> str:
        self.send(frame)
        return self.receive()

    def leave(self) -> None:
        """Disconnects without a close frame."""
        self._connection.shutdown()

    def pid(self) -> int:
        """The process id of the worker, which a step that does nothing returns."""
        return int(json.loads(self.ask(step()))["data"]["observation"]["pid"])


@contextlib.contextmanager
def session(url: str) -> Iterator[Client]:
    client = Client(url)
    try:
        yield client
    finally:
        client.leave()


def serves(url: str) -> bool:
    """Whether a new session succeeds."""
    with session(url) as client:
        replies = [client.ask(frame) for frame in (reset(), step("nothing", "good"))]
        client.send('{"type":"close"}')
        return '"good"' in replies[1] and client.receive() == "closed 1000"
