"""Tells in the log which session blocks the event loop, and so all sessions of its worker."""

import asyncio
import logging
import threading
import time
from collections.abc import Callable

from benchmark.server.engine.failures import position

INTERVAL_SECONDS = 1.0
# The log reports a blocked loop after this time, and again whenever the time has doubled.
BLOCKED_SECONDS = 3.0

logger = logging.getLogger("uvicorn.error")


class LoopWatch:
    """`beat` must be called every second by a task of the loop."""

    def __init__(self, name: Callable[["asyncio.Task[object] | None"], str]) -> None:
        """`name` tells whose task it is; it is called in another thread while the loop is blocked."""
        self._name = name
        self._ran_at = time.monotonic()
        self._loop = asyncio.get_running_loop()
        self._ident = threading.get_ident()
        threading.Thread(target=self._run, name="loop watch", daemon=True).start()

    def beat(self) -> None:
        self._ran_at = time.monotonic()

    def _run(self) -> None:
        report_after = BLOCKED_SECONDS
        while not self._loop.is_closed():
            time.sleep(INTERVAL_SECONDS)
            blocked = time.monotonic() - self._ran_at
            if blocked < BLOCKED_SECONDS:
                report_after = BLOCKED_SECONDS
            elif blocked >= report_after:
                report_after = 2 * blocked
                self._report(blocked)

    def _report(self, blocked: float) -> None:
        task = asyncio.current_task(self._loop)
        text = (
            "The event loop, and so every session of this worker, has waited %.0f s for %s, which is %s; "
            "code that blocks belongs in step and reset, not in step_async and reset_async"
        )
        logger.warning(text, blocked, self._name(task), position(self._ident))
