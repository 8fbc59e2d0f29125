"""`uvicorn tests.perf.peers.stock_async:app`: the environment of `stock.py` with `reset_async` and
`step_async`, which run on the event loop of the server."""

import asyncio
import os
from typing import Any

from openenv.core.env_server import create_app

from tests.perf.peers.stock import StockEnvironment, WaitAction, WaitObservation


class AsyncEnvironment(StockEnvironment):
    async def reset_async(
        self, seed: Any = None, episode_id: Any = None, **_: Any
    ) -> WaitObservation:
        self._steps = 0
        return self._observation(0.0)

    async def step_async(
        self, action: WaitAction, timeout_s: Any = None, **_: Any
    ) -> WaitObservation:
        if action.wait_seconds > 0:
            await asyncio.sleep(action.wait_seconds)
        self._steps += 1
        return self._observation(action.wait_seconds)


app = create_app(
    AsyncEnvironment,
    WaitAction,
    WaitObservation,
    max_concurrent_envs=int(os.environ.get("MAX_CONCURRENT_ENVS", "100")),
)
