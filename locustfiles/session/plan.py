"""The steps of a session, and the server that it connects to."""

import _socket
import errno
import functools
import socket
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import orjson

from analysis.rows.error_types import ErrorType
from locustfiles.websocket.frames import Request, TEXT

IP_BIND_ADDRESS_NO_PORT = 24
NON_BLOCKING = socket.SOCK_STREAM | socket.SOCK_NONBLOCK

ERROR_TYPES = {
    errno.ECONNREFUSED: ErrorType.CONNECT_REFUSED,
    errno.EMFILE: ErrorType.NO_DESCRIPTORS,
    errno.ENFILE: ErrorType.NO_DESCRIPTORS,
    errno.EADDRNOTAVAIL: ErrorType.NO_PORTS,
    errno.ETIMEDOUT: ErrorType.CONNECT_TIMEOUT,
}


class SessionError(Exception):
    """A failed session; `error_type` is an `ErrorType`, a code that the server sent, or HTTP_<status>."""

    def __init__(self, error_type: str, message: str) -> None:
        super().__init__(message)
        self.error_type = error_type


def connect_error(failure: OSError) -> SessionError:
    return SessionError(ERROR_TYPES.get(failure.errno or 0, ErrorType.CONNECT_FAILED), str(failure))


@dataclass(frozen=True)
class Target:
    """The server and the source address of connections; None lets the kernel choose the address."""

    host: str
    port: int
    path: str = ""
    source: str | None = None

    @classmethod
    def from_url(cls, url: str, source: str | None = None) -> "Target":
        """Raises `SessionError`."""
        try:
            parts = urlsplit(url)
            if parts.scheme not in ("http", "ws") or not parts.hostname:
                raise ValueError("not an http:// or ws:// URL")
            port = 80 if parts.port is None else parts.port
            return cls(parts.hostname, port, parts.path.rstrip("/"), source)
        except ValueError as failure:
            raise SessionError(ErrorType.BAD_URL, f"{url!r}: {failure}") from None

    @functools.cached_property
    def address(self) -> Any:
        """The resolved address, cached. Raises `SessionError`."""
        try:
            (_, _, _, _, address), *_ = socket.getaddrinfo(
                self.host, self.port, self._family, socket.SOCK_STREAM
            )
        except (OSError, UnicodeError) as failure:
            raise SessionError(ErrorType.CONNECT_FAILED, str(failure)) from None
        return address

    @functools.cached_property
    def upgrade_head(self) -> bytes:
        """The upgrade request up to its key."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        lines = (
            f"GET {self.path}/ws HTTP/1.1",
            f"Host: {host}" if self.port == 80 else f"Host: {host}:{self.port}",
            "Upgrade: websocket",
            "Connection: Upgrade",
            "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Key: ",
        )
        return "\r\n".join(lines).encode()

    def open(self) -> socket.socket:
        """A connected TCP socket for a greenlet. Raises `SessionError`."""
        address = self.address
        try:
            connection = socket.socket(self._family, socket.SOCK_STREAM)
        except OSError as failure:
            raise connect_error(failure) from None
        try:
            self._prepare(connection)
            connection.connect(address)
        except OSError as failure:
            connection.close()
            raise connect_error(failure) from None
        except BaseException:
            connection.close()
            raise
        return connection

    def connect(self) -> _socket.socket:
        """A non-blocking TCP socket that is connecting. Raises `SessionError`."""
        address = self.address
        connection = None
        try:
            connection = _socket.socket(self._family, NON_BLOCKING)
            self._prepare(connection)
            error = connection.connect_ex(address)
            if error not in (0, errno.EINPROGRESS):
                raise OSError(error, errno.errorcode.get(error, "connect failed"))
        except OSError as failure:
            if connection is not None:
                connection.close()
            raise connect_error(failure) from None
        return connection

    @functools.cached_property
    def _family(self) -> int:
        return socket.AF_INET6 if ":" in self.host else socket.AF_INET

    def _prepare(self, connection: _socket.socket) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self.source is not None:
            # Choosing the port at connect allows more connections per address (ip(7)).
            connection.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
            connection.bind((self.source, 0))


@dataclass(frozen=True)
class Plan:
    """`mode` is "ws" or "http"; `wait` and `timeout` are in seconds. Raises `SessionError` for invalid
    values."""

    mode: str
    wait: float
    timeout: float
    steps: int = 1

    def __post_init__(self) -> None:
        if self.steps < 1 or not self.wait >= 0 or not self.timeout > 0:
            text = "a session requires steps ≥ 1, wait ≥ 0 and timeout > 0"
            raise SessionError(ErrorType.BAD_PLAN, text)

    @functools.cached_property
    def step(self) -> Request:
        return Request(TEXT, orjson.dumps({"type": "step", "data": {"wait_seconds": self.wait}}))

    @property
    def timeout_error(self) -> SessionError:
        return SessionError(ErrorType.TIMEOUT, f"the session did not end within {self.timeout:g} s")
