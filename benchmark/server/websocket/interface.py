"""The interface between a connection and a session that runs without a task of its own."""

from typing import Protocol

from websockets.frames import CloseCode

# The name of the ASGI scope extension whose function `serve` takes a `DirectSession`.
EXTENSION = "openenv.serve"


class Channel(Protocol):
    """The side of a connection through which a session replies."""

    def send(self, text: bytes) -> None: ...

    def close(self, code: int = CloseCode.NORMAL_CLOSURE, reason: str = "") -> None: ...

    def resume(self) -> None:
        """The session is no longer busy: deliver the messages that arrived in the meantime."""
        ...


class DirectSession(Protocol):
    """A session that receives its messages one at a time, by function calls."""

    @property
    def busy(self) -> bool:
        """Whether the next message must wait until the session calls `Channel.resume`."""
        ...

    def start(self, channel: Channel) -> None: ...

    def receive(self, message: str | bytes) -> None: ...

    def disconnected(self) -> None: ...
