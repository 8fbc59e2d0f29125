"""Watches what takes long: constructors that do not return, and sessions that nobody uses."""

import asyncio
import logging
import time

from benchmark.server.engine.closing import Closing
from benchmark.server.engine.environment import OpenEnvironment
from benchmark.server.engine.http_sessions import HttpSessions
from benchmark.server.engine.loop_watch import LoopWatch
from benchmark.server.engine.session import Session
from benchmark.server.engine.spec import Spec
from benchmark.server.settings import Serving

INTERVAL_SECONDS = 1.0
# The log reports a constructor after this time, and again whenever the time has doubled.
SLOW_SECONDS = 10.0
# A session without a WebSocket has no connection whose end would close it.
HTTP_IDLE_SECONDS = 600.0

logger = logging.getLogger("uvicorn.error")


class Watch:
    def __init__(
        self, spec: Spec, serving: Serving, http: HttpSessions, closing: Closing, patience: float
    ) -> None:
        """A constructor has `patience` seconds."""
        self.opening: dict[OpenEnvironment, float] = {}  # since when, the oldest first
        self.sessions: set[Session] = set()
        self._spec, self._http, self._closing, self._patience = spec, http, closing, patience
        self._idle_seconds = serving.idle_timeout or spec.session_timeout
        self._report_after = SLOW_SECONDS
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        loop = LoopWatch(self._session_of)
        while True:
            await asyncio.sleep(INTERVAL_SECONDS)
            loop.beat()
            now = time.monotonic()
            self._check_constructors(now)
            self._closing.check(now)
            self._expire_sessions(now)
            for name in self._http.reclaim(self._idle_seconds or HTTP_IDLE_SECONDS):
                logger.warning("Closed session %s, which nobody used", name)

    @property
    def slowest(self) -> str:
        """The constructor that has run longest, and where it is; empty when none runs."""
        oldest = next(iter(self.opening), None)
        if oldest is None:
            return ""
        waited = time.monotonic() - self.opening[oldest]
        others = f" (and {len(self.opening) - 1} others)" if len(self.opening) > 1 else ""
        name, position = self._spec.name, oldest.position
        return f"the constructor of {name} has run for {waited:.0f} s{others}; it is {position}"

    def _check_constructors(self, now: float) -> None:
        waited = now - next(iter(self.opening.values()), now)
        if waited < SLOW_SECONDS:
            self._report_after = SLOW_SECONDS
        elif waited >= self._report_after:
            self._report_after = 2 * waited
            logger.warning("Waiting for an environment: %s", self.slowest)
        for environment, since in list(self.opening.items()):
            if now - since < self._patience:
                break
            environment.give_up(now - since)

    def _session_of(self, task: "asyncio.Task[object] | None") -> str:
        owners = [session.name for session in list(self.sessions) if session.runs_in(task)]
        return f"session {owners[0]}" if owners else "code that is not of a session"

    def _expire_sessions(self, now: float) -> None:
        if self._idle_seconds is not None:
            for session in [each for each in self.sessions if not each.busy]:
                if now - session.used_at > self._idle_seconds:
                    session.expire(self._idle_seconds)
