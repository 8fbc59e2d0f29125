"""The interface between a connection and a session that receives its messages by function calls."""

import asyncio
from collections.abc import Callable
from contextvars import Context
from typing import Protocol

from websockets.frames import CloseCode

# The name of the ASGI scope extension. Its function `attach` takes a `DirectSession`: it accepts the
# connection and delivers every message to the session from then on.
EXTENSION = "openenv.attach"
# The name of another extension, of HTTP too. Its function `give` takes the id of a session and the body
# of the request: it gives the connection to the worker that owns the session, and returns whether it has.
HANDOFF = "openenv.handoff"
# What a protocol needs for this: a function that also takes the transport and the whole request.
Give = Callable[[str, asyncio.Transport, bytes], bool]


class Channel(Protocol):
    """The side of a connection through which a session replies."""

    def send(self, text: bytes) -> None: ...

    def close(self, code: int = CloseCode.NORMAL_CLOSURE, reason: str = "") -> None: ...

    def resume(self) -> None:
        """The session is no longer busy: deliver the messages that arrived in the meantime."""
        ...


class DirectSession(Protocol):
    """A session that receives its messages one at a time, by function calls."""

    # Whether the next message must wait until the session calls `Channel.resume`.
    busy: bool

    def start(self, channel: Channel, context: Context | None) -> None:
        """`context` is that of the task which serves the connection, if it is known."""
        ...

    def receive_text(self, data: bytes) -> None:
        """Handles a text message. Raises `UnicodeDecodeError` if it is not UTF-8."""
        ...

    def receive_binary(self, data: bytes) -> None: ...

    def disconnected(self) -> None:
        """The connection has ended, for whatever reason; called once."""
        ...
