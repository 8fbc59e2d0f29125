"""The benchmark environment on OpenEnv's own server, for the conformance tests."""

import os
from typing import Any

from openenv.core.env_server import create_fastapi_app, Environment
from openenv.core.env_server.types import Action, Observation, State
from pydantic import Field

from benchmark.server.environment import MAX_WAIT_SECONDS, WaitAction, WaitEnvironment


class StockAction(Action):
    wait_seconds: float = Field(default=0.0, ge=0.0, le=MAX_WAIT_SECONDS, allow_inf_nan=False)


class StockObservation(Observation):
    waited_seconds: float
    pid: int
    session_hash: str
    host_url: str
    step_count: int


class StockEnvironment(Environment[StockAction, StockObservation, State]):
    SUPPORTS_CONCURRENT_SESSIONS = True

    def __init__(self) -> None:
        super().__init__()
        self._environment = WaitEnvironment("stock:8000")

    def reset(self, seed: Any = None, episode_id: Any = None, **_: Any) -> StockObservation:
        raise AssertionError("the server uses reset_async")

    async def reset_async(
        self, seed: Any = None, episode_id: Any = None, **kwargs: Any
    ) -> StockObservation:
        return StockObservation(**await self._environment.reset_async(seed, episode_id, **kwargs))

    def step(self, action: StockAction, timeout_s: Any = None, **_: Any) -> StockObservation:
        raise AssertionError("the server uses step_async")

    async def step_async(
        self, action: StockAction, timeout_s: Any = None, **_: Any
    ) -> StockObservation:
        wait = WaitAction(wait_seconds=action.wait_seconds)
        return StockObservation(**await self._environment.step_async(wait))

    @property
    def state(self) -> State:
        return State(**self._environment.state)


app = create_fastapi_app(
    StockEnvironment,
    StockAction,
    StockObservation,
    max_concurrent_envs=int(os.environ.get("MAX_CONCURRENT_ENVS", "100")),
)
