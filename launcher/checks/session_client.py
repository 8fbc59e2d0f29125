"""Opens sessions as OpenEnv's own clients do, many at once, and says how far each came."""

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import urlencode, urlsplit

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus, WebSocketException

from launcher.checks.actions import CannotMake, make_action
from launcher.system import http

T = TypeVar("T")

# How many sessions are being opened at the same time.
OPENING = 64
CLOSE_SECONDS = 1.0
CREATE, CLOSE = "openenv/session/create", "openenv/session/close"
METHOD_NOT_FOUND = -32601


class Refused(Exception):
    """`kind` tells refusals apart: the code of an error frame or the kind of failure."""

    def __init__(self, kind: str, message: str = "") -> None:
        super().__init__(message)
        self.kind, self.message = kind, message


class _Lost(Refused):
    """The connection is gone."""


@dataclass(frozen=True)
class Outcome:
    """`session` is why a session could not be opened and reset, or was lost; `step` is why its step was
    refused. Both are None for a session that works."""

    session: Refused | None = None
    step: Refused | None = None


class StepAction:
    """The action of every session's step. An app with tools gets a call of its first tool."""

    def __init__(self, schema: Any) -> None:
        properties = schema.get("properties", ()) if isinstance(schema, dict) else ()
        self.is_tool_call = {"tool_name", "arguments"} <= set(properties)
        self.value: Any = None
        self.missing = ""
        if not self.is_tool_call:
            self._choose(lambda: make_action(schema))

    @property
    def needs_tools(self) -> bool:
        return self.is_tool_call and self.value is None and not self.missing

    def choose_tool(self, tools: Sequence[dict[str, Any]]) -> None:
        self._choose(lambda: tool_call(tools))

    def _choose(self, make: Callable[[], Any]) -> None:
        try:
            self.value = make()
        except CannotMake as failure:
            self.missing = str(failure)


def tool_call(tools: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """A call of the first tool whose arguments can be made. Raises `CannotMake`."""
    problem = CannotMake("the app lists no tools")
    for tool in tools:
        try:
            arguments = make_action(tool.get("input_schema") or {})
        except CannotMake as failure:
            problem = CannotMake(f"tool {tool['name']}: {failure}")
            continue
        return {"type": "call_tool", "tool_name": tool["name"], "arguments": arguments}
    raise problem


def open_all(url: str, count: int, action: StepAction, seconds: float) -> list[Outcome]:
    """The outcomes of the sessions that were started within `seconds`, which also bounds the wait for
    each reply. They all stay open until the last one has been tried."""
    return asyncio.run(_open_all(url, count, action, seconds))


async def _open_all(url: str, count: int, action: StepAction, seconds: float) -> list[Outcome]:
    loop = asyncio.get_running_loop()
    loop.set_default_executor(ThreadPoolExecutor(OPENING))  # for requests by HTTP
    deadline, gate = loop.time() + seconds, asyncio.Semaphore(OPENING)
    sessions: list[_Session] = []

    async def open_one() -> Outcome | None:
        async with gate:
            if loop.time() >= deadline:
                return None
            sessions.append(_Session(url, action, seconds))
            return await sessions[-1].open()

    try:
        first = await open_one()  # alone, because it finds out the tools
        others = await asyncio.gather(*(open_one() for _ in range(count - 1)))
    finally:
        await asyncio.gather(*(session.close() for session in sessions))
    return [outcome for outcome in (first, *others) if outcome is not None]


class _Session:
    def __init__(self, url: str, action: StepAction, seconds: float) -> None:
        self._url, self._action, self._seconds = url, action, seconds
        self._id: str | None = None
        self._connection: ClientConnection | None = None

    async def open(self) -> Outcome:
        try:
            if self._action.is_tool_call:
                self._id = await self._create()
            await self._connect()
            await self._ask("reset", {})
        except Refused as refused:
            return Outcome(refused)
        try:
            await self._step()
        except Refused as refused:
            return Outcome(refused) if isinstance(refused, _Lost) else Outcome(step=refused)
        return Outcome()

    async def _create(self) -> str | None:
        """Creates a session by HTTP, as OpenEnv's `MCPToolClient` does; None where the app cannot."""
        try:
            reply = await self._post(CREATE, {})
        except http.Unreachable as failure:
            if failure.status in (404, 405):
                return None
            raise Refused(f"POST /mcp: {failure}") from None
        except ValueError:
            raise Refused("POST /mcp", "the reply is not JSON") from None
        error = reply.get("error") or {}
        if error.get("code") == METHOD_NOT_FOUND:
            return None
        session_id = (reply.get("result") or {}).get("session_id")
        if session_id is None:
            raise Refused("POST /mcp", str(error.get("message", "the reply has no session_id")))
        return str(session_id)

    async def _post(self, method: str, params: dict[str, str]) -> dict[str, Any]:
        call = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        reply = await asyncio.to_thread(http.post_json, f"{self._url}/mcp", call, self._seconds)
        return reply if isinstance(reply, dict) else {}

    async def _connect(self) -> None:
        parts = urlsplit(self._url)
        query = "?" + urlencode({"session_id": self._id}) if self._id else ""
        # No pings: their timeout would end the session of an app whose code blocks its event loop.
        opening = connect(
            f"ws://{parts.netloc}{parts.path}/ws{query}",
            open_timeout=None,
            ping_interval=None,
            close_timeout=CLOSE_SECONDS,
            compression=None,
            max_size=None,
            proxy=None,
        )
        self._connection = await self._in_time(opening, "the connection")

    async def _step(self) -> None:
        if self._action.needs_tools:
            reply = await self._ask("step", {"type": "list_tools"})
            self._action.choose_tool(reply.get("observation", {}).get("tools", ()))
        if not self._action.missing:
            await self._ask("step", self._action.value)

    async def _ask(self, kind: str, content: Any) -> dict[str, Any]:
        assert self._connection is not None
        sending = self._connection.send(json.dumps({"type": kind, "data": content}))
        with contextlib.suppress(_Lost):  # a server that closed may have sent the reason before
            await self._in_time(sending, kind)
        frame = await self._in_time(self._connection.recv(), kind)
        try:
            reply = json.loads(frame)
            data = dict(reply["data"])
        except (ValueError, KeyError, TypeError):
            raise Refused(f"{kind}: the reply is not one of OpenEnv's") from None
        if reply.get("type") == "error":
            raise Refused(str(data.get("code", "error")), str(data.get("message", "")))
        return data

    async def _in_time(self, waiting: Awaitable[T], what: str) -> T:
        try:
            async with asyncio.timeout(self._seconds):
                return await waiting
        except TimeoutError:
            raise Refused(f"no answer to {what} within {self._seconds:g} s") from None
        except InvalidStatus as failure:
            raise _refused_upgrade(failure) from None
        except (OSError, WebSocketException) as failure:
            raise _Lost(f"{what}: connection closed", str(failure)) from None

    async def close(self) -> None:
        if self._connection is not None:
            await self._connection.close()
        if self._id is not None:
            with contextlib.suppress(OSError, ValueError):
                await self._post(CLOSE, {"session_id": self._id})


def _refused_upgrade(failure: InvalidStatus) -> Refused:
    """The body of a refused upgrade is an error frame, as the server's admission sends it."""
    status = f"HTTP {failure.response.status_code}"
    try:
        data = json.loads(failure.response.body or b"")["data"]
        return Refused(str(data["code"]), str(data["message"]))
    except (ValueError, KeyError, TypeError):
        return Refused(status)
