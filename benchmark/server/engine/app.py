"""The ASGI app that serves the sessions of a recognised app on the engine, and the rest by the app itself."""

import asyncio
import uuid

from starlette.datastructures import QueryParams
from starlette.types import ASGIApp, Receive, Scope, Send

from benchmark.server import messages
from benchmark.server.admission import Admission, send_error
from benchmark.server.engine.closing import Closing
from benchmark.server.engine.environment import OpenEnvironment
from benchmark.server.engine.http_sessions import HttpSessions
from benchmark.server.engine.recognise import SESSIONS
from benchmark.server.engine.session import Session
from benchmark.server.engine.spec import Spec
from benchmark.server.engine.threads import Threads
from benchmark.server.engine.watch import Watch
from benchmark.server.messages import ErrorCode
from benchmark.server.places import Places
from benchmark.server.settings import Serving, settings_from_environment
from benchmark.server.websocket.asgi_channel import serve


class Engine:
    def __init__(self, app: ASGIApp, spec: Spec, places: Places, serving: Serving) -> None:
        self._app, self._spec, self._serving = app, spec, serving
        self.places = places
        if (state := getattr(app, "state", None)) is not None:
            state.places = places  # for the app's own routes
        self._admission = Admission(app, places)
        patience = settings_from_environment().constructor_timeout
        self._closing = Closing(places, patience)
        self._http = HttpSessions(app, spec, places, self._environment, self._closing.close)
        self._watch = Watch(spec, serving, self._http, self._closing, patience)
        self._threads: Threads | None = None  # belong to the event loop of the first session
        self._prepared = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        opens_sessions = scope["type"] == "websocket" or HttpSessions.concerns(scope)
        if opens_sessions and not self._prepared.is_set():
            await self._prepared.wait()
        if scope["type"] == "websocket":
            if scope["path"] != SESSIONS:
                await self._admission(scope, receive, send)
            elif session_id := self._named(scope):
                await self._attach(session_id, scope, receive, send)
            elif self.places.take():
                await self._open(scope, receive, send)
            else:
                await self._admission.refuse(scope, receive, send)
        elif opens_sessions:
            await self._http.handle(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def trial(self) -> bool:
        """Makes and closes one environment; returns whether it allows concurrent sessions.

        Raises `FactoryFailed` and what its `mcp_session` raises.
        """
        environment = self._environment("trial")
        await environment.open()
        concurrent = getattr(environment.instance, "SUPPORTS_CONCURRENT_SESSIONS", False)
        await environment.close()
        return bool(concurrent if self._spec.concurrent is None else self._spec.concurrent)

    def prepare(self, *, concurrent: bool) -> None:
        """Sets the limit; sessions that arrive earlier wait for it."""
        self.places.limit = self._spec.limit(self.places.limit, concurrent)
        self._spec.apply_limit(self.places.limit)
        self._prepared.set()

    @property
    def slowest(self) -> str:
        """The constructor that has run longest, and where it is; empty when none runs."""
        return self._watch.slowest

    @property
    def name(self) -> str:
        return self._spec.name

    def _named(self, scope: Scope) -> str | None:
        """The id of the session that the client wants to attach to."""
        query = scope["query_string"]
        if not self._spec.attachable or b"session_id" not in query:
            return None
        return QueryParams(query).get("session_id")

    def _environment(self, session_id: str) -> OpenEnvironment:
        if self._threads is None:
            loop = asyncio.get_running_loop()
            self._threads = Threads(loop, single=self._spec.single_thread)
            self._watch.start()
        watch, places = self._watch, self.places
        return OpenEnvironment(self._spec, self._threads, places, watch.opening, session_id)

    async def _open(self, scope: Scope, receive: Receive, send: Send) -> None:
        """A session with an environment of its own; a place has been taken."""
        environment = self._environment(str(uuid.uuid4()))
        session = Session(self._spec, environment, strict=self._serving.strict_sessions)
        await serve(session, self._run(session, environment), scope, receive, send)

    async def _run(self, session: Session, environment: OpenEnvironment) -> None:
        self._watch.sessions.add(session)
        try:
            await session.run(opens=True)
        finally:
            self._watch.sessions.discard(session)
            await self._closing.close(environment)
        session.finish()

    async def _attach(self, session_id: str, scope: Scope, receive: Receive, send: Send) -> None:
        if await self._http.hand_over(session_id, scope, receive):
            return
        record, problem = self._http.find(session_id)
        if record is None:
            await receive()
            await send_error(messages.error(ErrorCode.SESSION_ERROR, problem), send)
            return
        session = Session(self._spec, record.environment, strict=self._serving.strict_sessions)
        record.session = session
        await serve(session, self._run_attached(session, session_id), scope, receive, send)

    async def _run_attached(self, session: Session, session_id: str) -> None:
        self._watch.sessions.add(session)
        try:
            await session.run(opens=False)
        finally:
            self._watch.sessions.discard(session)
            await self._http.detach(session_id)
        session.finish()
