"""What a worker does before it reports ready: learn how many sessions the app's environment allows."""

import asyncio

from benchmark.server.admission import Admission
from benchmark.server.engine.app import Engine
from benchmark.server.engine.environment import describe, FactoryFailed
from benchmark.server.places import Board, Trial

WAIT_SECONDS = 0.01


class Preparation:
    """Worker 0 makes and closes one environment; the others wait for what it found out."""

    def __init__(self, app: Engine | Admission, name: str, board: Board, index: int) -> None:
        self._app, self._name, self._board, self._index = app, name, board, index
        self.failure: str | None = None

    async def run(self) -> bool:
        """Whether the worker can serve; if not, `failure` says why."""
        app = self._app
        if isinstance(app, Admission):
            self._print(f"by its own code: {app.reason}")
            return True
        if self._index == 0 and self._board.trial is Trial.UNKNOWN and not await self._try(app):
            return False
        while (trial := self._board.trial) is Trial.UNKNOWN:
            await asyncio.sleep(WAIT_SECONDS)
        app.prepare(concurrent=trial is Trial.CONCURRENT)
        self._print(f"on the session engine: {app.summary}")
        return True

    async def _try(self, engine: Engine) -> bool:
        try:
            concurrent = await engine.trial()
        except FactoryFailed as failure:
            self.failure = f"{self._name}: {failure}"
        except Exception as failure:  # noqa: BLE001 - the message names the cause
            self.failure = f"{self._name}: an environment does not open: {describe(failure)}"
        else:
            self._board.trial = Trial.CONCURRENT if concurrent else Trial.SINGLE
        return self.failure is None

    def _print(self, how: str) -> None:
        if self._index == 0:
            print(f"Sessions of {self._name} are served {how}", flush=True)
