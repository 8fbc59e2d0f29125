"""What a worker does before it reports ready: learn how many sessions the app's environment allows."""

import asyncio
import itertools

from benchmark.server.admission import Admission
from benchmark.server.engine.app import Engine
from benchmark.server.engine.failures import describe, FactoryFailed
from benchmark.server.places import Board, Trial

WAIT_SECONDS = 0.01
ACTIVITY_SECONDS = 0.25
# The log says what a slow start waits for. The engine reports again after 10 s.
SLOW_SECONDS = 2.0


class Preparation:
    """Worker 0 makes and closes one environment; the others wait for what it found out."""

    def __init__(self, app: Engine | Admission, name: str, board: Board, index: int) -> None:
        self._app, self._board, self._index = app, board, index
        self.name = name

    async def run(self) -> bool:
        """Whether the worker can serve; if not, the board's `failure` says why."""
        app, board = self._app, self._board
        if isinstance(app, Admission):
            self._report(f"by its own code: {app.reason}; {_sessions(app.places.limit)}")
            return True
        if self._index == 0 and board.trial is Trial.UNKNOWN and not await self._try(app):
            return False
        while (trial := board.trial) is Trial.UNKNOWN:
            await asyncio.sleep(WAIT_SECONDS)
        app.prepare(concurrent=trial is Trial.CONCURRENT)
        self._report(f"on the session engine: {app.name}, {_sessions(app.places.limit)}")
        return True

    async def _try(self, engine: Engine) -> bool:
        trial = asyncio.create_task(engine.trial())
        showing = asyncio.create_task(self._show_activity(engine))
        try:
            concurrent = await trial
        except FactoryFailed as failure:
            self._board.failure = f"{self.name}: {failure}"
        except Exception as failure:  # noqa: BLE001 - the message names the cause
            problem = f"an environment does not open: {describe(failure)}"
            self._board.failure = f"{self.name}: {problem}"
        else:
            self._board.trial = Trial.CONCURRENT if concurrent else Trial.SINGLE
            return True
        finally:
            showing.cancel()
        return False

    async def _show_activity(self, engine: Engine) -> None:
        for turn in itertools.count():
            self._board.activity = engine.slowest or "the first environment opens and closes"
            if turn * ACTIVITY_SECONDS == SLOW_SECONDS:
                print(f"Waiting for {self.name}: {self._board.activity}", flush=True)
            await asyncio.sleep(ACTIVITY_SECONDS)

    def _report(self, how: str) -> None:
        if self._index == 0:
            self._board.activity = f"the other workers start {self.name}"
            print(f"Sessions of {self.name} are served {how}", flush=True)


def _sessions(limit: int) -> str:
    return f"{limit} session{'s' * (limit != 1)} per worker"
