"""Between a connection and a session that answers at once, without a task of its own."""

from typing import Protocol

EXTENSION = "openenv.serve"
"""Of ASGI's scope: by its function `serve` an app hands its session to the connection."""

NORMAL = 1000


class Wire(Protocol):
    """What a session is given to answer by."""

    def send(self, text: bytes) -> None: ...

    def close(self, code: int = NORMAL, reason: str = "") -> None: ...

    def resume(self) -> None:
        """Goes on with messages that came while the session was busy."""
        ...


class Answering(Protocol):
    """A session that is handed message after message, one at a time."""

    @property
    def busy(self) -> bool:
        """Whether the next message has to wait until it calls the wire's `resume`."""
        ...

    def begin(self, wire: Wire) -> None: ...

    def receive(self, message: str | bytes) -> None: ...

    def leave(self) -> None:
        """The connection has ended."""
        ...
