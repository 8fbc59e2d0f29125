"""One session as a client sees it: connect → reset → step(wait) → close, each part timed."""

import contextlib
import errno
import http.client
import json
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import gevent
import orjson
import websocket

CLOSE_SECONDS = 10.0
IP_BIND_ADDRESS_NO_PORT = 24


class SessionError(Exception):
    """A session that failed, by the name under which it is counted."""

    def __init__(self, error_type: str, message: str) -> None:
        super().__init__(message)
        self.error_type = error_type


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
            raise SessionError("BAD_URL", f"{url!r}: {failure}") from None

    @property
    def netloc(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def open(self) -> socket.socket:
        """A connected TCP socket. Raises `SessionError`."""
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        try:
            connection = socket.socket(family, socket.SOCK_STREAM)
        except OSError as failure:
            raise _connect_failure(failure) from None
        try:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self.source is not None:
                # The port is chosen at connect, when the destination is known: more of them fit.
                connection.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
                connection.bind((self.source, 0))
            connection.connect((self.host, self.port))
        except OSError as failure:
            connection.close()
            raise _connect_failure(failure) from None
        except BaseException:
            connection.close()
            raise
        return connection


@dataclass
class Outcome:
    """What one session saw. Latencies in seconds; None is a part that never ended.

    `begun` (of `time.perf_counter`) is what connect and total count from: now, or when the session
    was due.
    """

    begun: float = field(default_factory=time.perf_counter)
    started: float = field(default_factory=time.time)
    connect_latency: float | None = None
    reset_latency: float | None = None
    step_latencies: list[float] = field(default_factory=list)
    hold_latency: float | None = None
    total_latency: float | None = None
    waited_seconds: float | None = None
    pid: int | None = None
    session_hash: str | None = None
    host_url: str | None = None
    success: bool = False
    error_type: str | None = None
    error_message: str | None = None

    @property
    def step_latency(self) -> float | None:
        """The mean over the steps that ended."""
        steps = self.step_latencies
        return sum(steps) / len(steps) if steps else None

    @property
    def step_latency_max(self) -> float | None:
        return max(self.step_latencies, default=None)

    @contextlib.contextmanager
    def timed(self, part: str) -> Iterator[None]:
        begun = self.begun if part == "connect" else time.perf_counter()
        yield
        latency = time.perf_counter() - begun
        if part == "step":
            self.step_latencies.append(latency)
        else:
            setattr(self, f"{part}_latency", latency)

    def parts(self) -> Iterator[tuple[str, float]]:
        """Each part that ended, with its latency; every step is one."""
        for part, latency in (("connect", self.connect_latency), ("reset", self.reset_latency)):
            if latency is not None:
                yield part, latency
        for latency in self.step_latencies:
            yield "step", latency

    def saw(self, observation: dict[str, Any]) -> None:
        """Keeps what tells where the session ran; other apps say other things, or nothing."""
        self.pid = _of(int, observation.get("pid"))
        self.session_hash = _of(str, observation.get("session_hash"))
        self.host_url = _of(str, observation.get("host_url"))

    def ended(self) -> None:
        """Being held until the others are open is nobody's latency."""
        self.total_latency = time.perf_counter() - self.begun - (self.hold_latency or 0.0)

    def failed(self, error_type: str, message: str) -> None:
        self.success = False
        self.error_type, self.error_message = error_type, message[:500]


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
                "BAD_PLAN", "a session needs steps of 1 or more, a wait of 0 or more, and a timeout"
            )


class Gate:
    """What a session passes between its reset and its steps. This one stands open."""

    def wait(self) -> None: ...


class Limit:
    """Ends the session that runs in this greenlet when it takes too long; not while it waits at a
    gate, and after that it has its time anew."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._timeout = gevent.Timeout.start_new(seconds)

    def pass_gate(self, gate: Gate) -> float:
        """Seconds that it waited there."""
        self._timeout.close()
        begun = time.perf_counter()
        gate.wait()
        held = time.perf_counter() - begun
        self._timeout = gevent.Timeout.start_new(self._seconds)
        return held

    def close(self) -> None:
        self._timeout.close()

    def is_mine(self, expired: gevent.Timeout) -> bool:
        return expired is self._timeout


def run(
    plan: Plan, target: Target, gate: Gate | None = None, begun: float | None = None
) -> Outcome:
    """One whole session, never longer than the plan's timeout. Never raises: a failure is an
    outcome too. `begun` (of `time.perf_counter`) is when it was due; None is now."""
    outcome = Outcome() if begun is None else Outcome(begun)
    session = _websocket_session if plan.mode == "ws" else _http_session
    limit = Limit(plan.timeout)

    def pass_gate() -> None:
        if gate is not None:
            outcome.hold_latency = limit.pass_gate(gate)

    try:
        session(outcome, target, plan, pass_gate)
        outcome.success = True
    except gevent.Timeout as expired:
        if not limit.is_mine(expired):
            raise
        outcome.failed("TIMEOUT", f"the session had not ended after {plan.timeout:g} s")
    except SessionError as failure:
        outcome.failed(failure.error_type, str(failure))
    except OSError as failure:
        outcome.failed("DISCONNECTED", f"{type(failure).__name__}: {failure}")
    except Exception as failure:  # noqa: BLE001 - a session that has no row would be lost
        outcome.failed("LOAD_ERROR", f"{type(failure).__name__}: {failure}")
    finally:
        limit.close()
    outcome.ended()
    return outcome


def _websocket_session(
    outcome: Outcome, target: Target, plan: Plan, pass_gate: Callable[[], None]
) -> None:
    with outcome.timed("connect"):
        connection = _upgrade(target)
    try:
        with outcome.timed("reset"):
            outcome.saw(_ask(connection, {"type": "reset", "data": {}}))
        pass_gate()
        request = {"type": "step", "data": {"wait_seconds": plan.wait}}
        for _ in range(plan.steps):
            with outcome.timed("step"):
                observation = _ask(connection, request)
        outcome.saw(observation)
        outcome.waited_seconds = _of(float, observation.get("waited_seconds"))
        _close(connection)
    finally:
        connection.shutdown()


def _upgrade(target: Target) -> websocket.WebSocket:
    raw = target.open()
    connection = websocket.WebSocket(enable_multithread=False, skip_utf8_validation=True)
    try:
        connection.connect(
            f"ws://{target.netloc}{target.path}/ws", socket=raw, suppress_origin=True
        )
    except websocket.WebSocketBadStatusException as refused:
        raw.close()
        raise _refusal(refused) from None
    except (websocket.WebSocketException, OSError) as failure:
        raw.close()
        raise SessionError("HANDSHAKE_FAILED", f"{type(failure).__name__}: {failure}") from None
    except BaseException:
        raw.close()
        raise
    return connection


def _ask(connection: websocket.WebSocket, request: dict[str, Any]) -> dict[str, Any]:
    """The observation that answers `request`. Raises `SessionError`."""
    try:
        connection.send(orjson.dumps(request), websocket.ABNF.OPCODE_TEXT)
        reply = orjson.loads(connection.recv() or b"null")
    except websocket.WebSocketConnectionClosedException as failure:
        raise SessionError("DISCONNECTED", str(failure)) from None
    except websocket.WebSocketException as failure:
        raise SessionError("PROTOCOL_ERROR", f"{type(failure).__name__}: {failure}") from None
    except orjson.JSONDecodeError as failure:
        raise SessionError("PROTOCOL_ERROR", f"the reply is not JSON: {failure}") from None
    if reply is None:
        raise SessionError("DISCONNECTED", "the server closed the connection")
    return _observation(reply)


def _observation(reply: Any) -> dict[str, Any]:
    kind = reply.get("type") if isinstance(reply, dict) else None
    data = reply.get("data") if isinstance(reply, dict) else None
    if kind == "error" and isinstance(data, dict):
        raise SessionError(str(data.get("code", "UNKNOWN_ERROR")), str(data.get("message", "")))
    observation = data.get("observation") if isinstance(data, dict) else None
    if kind != "observation" or not isinstance(observation, dict):
        raise SessionError("PROTOCOL_ERROR", f"not an observation: {str(reply)[:200]}")
    return observation


def _close(connection: websocket.WebSocket) -> None:
    """Says goodbye and waits for the server to close, so that its place is free again."""
    with contextlib.suppress(websocket.WebSocketException, OSError):
        connection.settimeout(CLOSE_SECONDS)
        connection.send(b'{"type":"close"}', websocket.ABNF.OPCODE_TEXT)
        connection.recv()


def _http_session(
    outcome: Outcome, target: Target, plan: Plan, pass_gate: Callable[[], None]
) -> None:
    connection = http.client.HTTPConnection(target.host, target.port)
    with outcome.timed("connect"):
        connection.sock = target.open()
    try:
        with outcome.timed("reset"):
            outcome.saw(_post(connection, f"{target.path}/reset", {}))
        pass_gate()
        for _ in range(plan.steps):
            with outcome.timed("step"):
                observation = _post(
                    connection, f"{target.path}/step", {"action": {"wait_seconds": plan.wait}}
                )
        outcome.saw(observation)
        outcome.waited_seconds = _of(float, observation.get("waited_seconds"))
    finally:
        connection.close()


def _post(
    connection: http.client.HTTPConnection, path: str, body: dict[str, Any]
) -> dict[str, Any]:
    try:
        connection.request("POST", path, orjson.dumps(body), {"Content-Type": "application/json"})
        answer = connection.getresponse()
        content = answer.read()
    except http.client.HTTPException as failure:
        raise SessionError("DISCONNECTED", f"{type(failure).__name__}: {failure}") from None
    if answer.status != 200:
        raise SessionError(f"HTTP_{answer.status}", content[:200].decode(errors="replace"))
    try:
        return _observation({"type": "observation", "data": orjson.loads(content)})
    except orjson.JSONDecodeError as failure:
        raise SessionError("PROTOCOL_ERROR", f"the reply is not JSON: {failure}") from None


def _of(kind: type, value: Any) -> Any:
    """The value when it is of that kind (any number is a float); else None."""
    wanted = (int, float) if kind is float else kind
    return value if isinstance(value, wanted) and not isinstance(value, bool) else None


def _refusal(refused: websocket.WebSocketBadStatusException) -> SessionError:
    """A refused upgrade: by a full server, which says so, or by anything else on the way."""
    body = refused.resp_body or b""
    text = body.decode(errors="replace") if isinstance(body, bytes) else str(body)
    code = (refused.resp_headers or {}).get("x-openenv-error")
    if code:
        with contextlib.suppress(ValueError, KeyError, TypeError):
            text = json.loads(text)["data"]["message"]
        return SessionError(code, text)
    return SessionError(f"HTTP_{refused.status_code}", text)


def _connect_failure(failure: OSError) -> SessionError:
    names = {
        errno.ECONNREFUSED: "CONNECT_REFUSED",
        errno.EMFILE: "NO_DESCRIPTORS",
        errno.ENFILE: "NO_DESCRIPTORS",
        errno.EADDRNOTAVAIL: "NO_PORTS",
        errno.ETIMEDOUT: "CONNECT_TIMEOUT",
    }
    return SessionError(names.get(failure.errno or 0, "CONNECT_FAILED"), str(failure))
