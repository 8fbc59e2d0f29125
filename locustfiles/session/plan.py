"""What a session does, where it goes, and the names under which failures are counted."""

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

NAMES = {
    errno.ECONNREFUSED: ErrorType.CONNECT_REFUSED,
    errno.EMFILE: ErrorType.NO_DESCRIPTORS,
    errno.ENFILE: ErrorType.NO_DESCRIPTORS,
    errno.EADDRNOTAVAIL: ErrorType.NO_PORTS,
    errno.ETIMEDOUT: ErrorType.CONNECT_TIMEOUT,
}


class SessionError(Exception):
    """A session that failed, by the name under which it is counted."""

    def __init__(self, error_type: str, message: str) -> None:
        super().__init__(message)
        self.error_type = error_type


def connect_failure(failure: OSError) -> SessionError:
    return SessionError(NAMES.get(failure.errno or 0, ErrorType.CONNECT_FAILED), str(failure))


@dataclass(frozen=True)
class Target:
    """Where sessions go, and from which address; None leaves the choice to the kernel."""

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
            return cls(
                parts.hostname,
                80 if parts.port is None else parts.port,
                parts.path.rstrip("/"),
                source,
            )
        except ValueError as failure:
            raise SessionError(ErrorType.BAD_URL, f"{url!r}: {failure}") from None

    @functools.cached_property
    def address(self) -> Any:
        """What the host's name stands for; looked up once. Raises `SessionError`."""
        try:
            (_, _, _, _, address), *_ = socket.getaddrinfo(
                self.host, self.port, self._family, socket.SOCK_STREAM
            )
        except (OSError, UnicodeError) as failure:
            raise SessionError(ErrorType.CONNECT_FAILED, str(failure)) from None
        return address

    @functools.cached_property
    def upgrade_head(self) -> bytes:
        """The request for a WebSocket, up to its key."""
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
        """A connected TCP socket, for a greenlet. Raises `SessionError`."""
        address = self.address
        try:
            connection = socket.socket(self._family, socket.SOCK_STREAM)
        except OSError as failure:
            raise connect_failure(failure) from None
        try:
            self._prepare(connection)
            connection.connect(address)
        except OSError as failure:
            connection.close()
            raise connect_failure(failure) from None
        except BaseException:
            connection.close()
            raise
        return connection

    def begin(self) -> _socket.socket:
        """A TCP socket that connects by itself and never blocks. Raises `SessionError`."""
        address = self.address
        connection = None
        try:
            connection = _socket.socket(self._family, NON_BLOCKING)
            self._prepare(connection)
            failed = connection.connect_ex(address)
            if failed not in (0, errno.EINPROGRESS):
                raise OSError(failed, errno.errorcode.get(failed, "connect failed"))
        except OSError as failure:
            if connection is not None:
                connection.close()
            raise connect_failure(failure) from None
        return connection

    @functools.cached_property
    def _family(self) -> int:
        return socket.AF_INET6 if ":" in self.host else socket.AF_INET

    def _prepare(self, connection: _socket.socket) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self.source is not None:
            # The port is chosen at connect, when the destination is known: more of them fit.
            connection.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
            connection.bind((self.source, 0))


@dataclass(frozen=True)
class Plan:
    """What a session does: `mode` "ws" or "http"; wait and timeout in seconds.

    Raises `SessionError` for what no session can do.
    """

    mode: str
    wait: float
    timeout: float
    steps: int = 1

    def __post_init__(self) -> None:
        if self.steps < 1 or not self.wait >= 0 or not self.timeout > 0:
            raise SessionError(
                ErrorType.BAD_PLAN,
                "a session needs steps of 1 or more, a wait of 0 or more, and a timeout",
            )

    @functools.cached_property
    def step(self) -> Request:
        return Request(TEXT, orjson.dumps({"type": "step", "data": {"wait_seconds": self.wait}}))

    @property
    def too_long(self) -> SessionError:
        return SessionError(
            ErrorType.TIMEOUT, f"the session had not ended after {self.timeout:g} s"
        )
