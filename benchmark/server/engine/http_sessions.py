"""Sessions that `POST /mcp` creates, uses and closes, and to which a WebSocket may attach.

The replies are those of `mcp_handler` in `openenv.core.env_server.http_server`.
"""

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from benchmark.server import messages
from benchmark.server.admission import ERROR_HEADER, Refusal
from benchmark.server.engine import session_id
from benchmark.server.engine.environment import OpenEnvironment
from benchmark.server.engine.failures import as_exception, FactoryFailed, report
from benchmark.server.engine.session import Session
from benchmark.server.engine.spec import Spec
from benchmark.server.messages import ErrorCode
from benchmark.server.places import Places
from benchmark.server.websocket.interface import HANDOFF

PATH = "/mcp"
CREATE, CLOSE = "openenv/session/create", "openenv/session/close"
FIELDS = {"jsonrpc", "method", "params", "id"}
# JSON-RPC 2.0, section 5.1.
INVALID_REQUEST, INVALID_PARAMS, SERVER_ERROR = -32600, -32602, -32000


class HttpSession:
    def __init__(self, environment: OpenEnvironment) -> None:
        self.environment = environment
        self.is_open = False
        self.session: Session | None = None  # the attached WebSocket
        self.closing = False  # when the WebSocket detaches
        self.calls = 0  # that are running

    @property
    def idle_since(self) -> float | None:
        in_use = not self.is_open or self.session is not None or self.calls
        return None if in_use else self.environment.used_at


class HttpSessions:
    def __init__(
        self,
        app: ASGIApp,
        spec: Spec,
        places: Places,
        make: Callable[[str], OpenEnvironment],
        close: Callable[[OpenEnvironment], Coroutine[Any, Any, None]],
    ) -> None:
        """`make` returns an environment that is not open; `close` also frees its place."""
        self._app, self._spec, self._places, self._make = app, spec, places, make
        self._close_environment = close
        self._sessions: dict[str, HttpSession] = {}
        self._closing: set[asyncio.Task[None]] = set()

    @staticmethod
    def concerns(scope: Scope) -> bool:
        return bool(scope["type"] == "http" and scope["path"] == PATH and scope["method"] == "POST")

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = await _read(receive)
        request = _request(body) if self._spec.handle_mcp is not None else None
        if request is None:
            await self._app(scope, _replay(body, receive), send)
            return
        name = request.get("params", {}).get("session_id")
        if request["method"] != CREATE and await self.hand_over(name, scope, receive, body):
            return
        response = await self._respond(request, scope)
        await response(scope, receive, send)

    async def hand_over(self, name: Any, scope: Scope, receive: Receive, body: bytes = b"") -> bool:
        """Whether another worker of this server, which owns the session, replies."""
        extension = scope.get("extensions", {}).get(HANDOFF)
        if extension is None or not isinstance(name, str) or name in self._sessions:
            return False
        if not extension["give"](name, body):
            return False
        while not (await receive())["type"].endswith(".disconnect"):
            pass
        return True

    def find(self, name: str) -> tuple[HttpSession | None, str]:
        """The session that a WebSocket may attach to, or why it may not."""
        record = self._sessions.get(name)
        if record is None:
            return None, f"Unknown session_id: {name}"
        if not record.is_open:
            return None, f"Session {name} is still initializing"
        if record.session is not None:
            return None, f"Session {name} already has an attached WebSocket"
        return record, ""

    async def detach(self, name: str) -> None:
        record = self._sessions[name]
        record.session = None
        record.environment.touch()
        if record.closing:
            await self._destroy(name)

    def reclaim(self, seconds: float) -> list[str]:
        """Begins to close the sessions that nobody has used for so long; returns their ids."""
        limit = time.monotonic() - seconds
        idle = [
            name
            for name, record in self._sessions.items()
            if record.idle_since is not None and record.idle_since < limit
        ]
        for name in idle:
            self._destroy_later(name)
        return idle

    async def _respond(self, request: dict[str, Any], scope: Scope) -> Response:
        parameters = request.get("params", {})
        if request["method"] == CREATE:
            return await self._create(request, scope)
        if request["method"] == CLOSE:
            return await self._close(request, parameters.get("session_id"))
        return await self._call(request, parameters["session_id"])

    async def _create(self, request: dict[str, Any], scope: Scope) -> Response:
        if not self._places.take():
            return self._refuse(request, scope)
        name = self._new_id(scope)
        record = self._sessions[name] = HttpSession(self._make(name))
        try:
            await record.environment.open()
        except BaseException as failure:
            self._destroy_later(name)  # the constructor may still be running
            if not isinstance(failure, FactoryFailed):
                raise
            report(name, failure)
            details = {"factory_name": failure.factory_name}
            return _failure(request, SERVER_ERROR, str(failure), details)
        record.is_open = True
        return _success(request, {"session_id": name})

    def _new_id(self, scope: Scope) -> str:
        ip, port = scope["server"]
        return session_id.make(ip, self._places.own_port or port)

    def _refuse(self, request: dict[str, Any], scope: Scope) -> Response:
        """On its own port, 503 makes the load balancer try another worker."""
        places = self._places
        refusal = Refusal.DRAINING if places.draining else Refusal.FULL
        details = {"active_sessions": places.used, "max_sessions": places.limit}
        response = _failure(request, SERVER_ERROR, refusal.message(places), details)
        if scope["server"][1] == places.own_port:
            response.status_code = 503
            response.headers[ERROR_HEADER.decode()] = ErrorCode.CAPACITY_REACHED
        return response

    async def _close(self, request: dict[str, Any], name: Any) -> Response:
        if not name:
            text = "Invalid params - 'session_id' is required"
            return _failure(request, INVALID_PARAMS, text)
        record = self._sessions.get(name) if isinstance(name, str) else None
        if record is None:
            return _failure(request, INVALID_PARAMS, f"Unknown session_id: {name}")
        if not record.is_open:
            return _failure(request, INVALID_REQUEST, _initializing(name))
        if record.session is not None:
            record.closing = True
            closing = {"session_id": name, "closed": False, "closing": True}
            return _success(request, closing)
        await self._destroy(name)
        return _success(request, {"session_id": name, "closed": True})

    async def _call(self, request: dict[str, Any], name: str) -> Response:
        record = self._sessions.get(name)
        if record is None:
            return _failure(request, INVALID_PARAMS, f"Unknown session_id: {name}")
        if not record.is_open:
            return _failure(request, INVALID_REQUEST, _initializing(name))
        record.calls += 1
        try:
            content = await record.environment.handle_mcp(request)
        except asyncio.CancelledError:
            raise
        except BaseException as failure:  # noqa: BLE001 - it would end the worker
            raise as_exception(failure) from None
        finally:
            record.calls -= 1
            record.environment.touch()
        return _json(content)

    def _destroy_later(self, name: str) -> None:
        """Forgets the session now; its place is free when its environment has closed."""
        closing = asyncio.create_task(self._close_environment(self._sessions.pop(name).environment))
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)

    async def _destroy(self, name: str) -> None:
        await self._close_environment(self._sessions.pop(name).environment)


def _request(body: bytes) -> dict[str, Any] | None:
    """A valid request that concerns a session; anything else is left to the app."""
    try:
        request = messages.decode(body)
    except (ValueError, RecursionError):
        return None
    if not isinstance(request, dict) or not set(request) <= FIELDS:
        return None
    parameters, method = request.get("params", {}), request.get("method")
    valid = (
        request.get("jsonrpc") == "2.0"
        and isinstance(method, str)
        and isinstance(parameters, dict)
        and type(request.get("id")) in (str, int, type(None))
    )
    if not valid:
        return None
    named = isinstance(parameters.get("session_id"), str) and parameters["session_id"]
    return request if method in (CREATE, CLOSE) or named else None


def _initializing(name: str) -> str:
    return f"Session {name} is still initializing; retry shortly"


def _success(request: dict[str, Any], result: dict[str, Any]) -> Response:
    return _json({"jsonrpc": "2.0", "id": request.get("id"), "result": result})


def _failure(request: dict[str, Any], code: int, text: str, data: Any = None) -> Response:
    error = {"code": code, "message": text, "data": data}
    return _json({"jsonrpc": "2.0", "id": request.get("id"), "error": error})


def _json(content: dict[str, Any]) -> Response:
    return Response(messages.encode(content), media_type="application/json")


async def _read(receive: Receive) -> bytes:
    parts = []
    while True:
        message = await receive()
        parts.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(parts)


def _replay(body: bytes, receive: Receive) -> Receive:
    events: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return events.pop() if events else await receive()

    return replay
