"""`uvicorn tests.perf.peers.stock:app`: an OpenEnv environment on OpenEnv's own server, as its users write
them: reset and step are plain functions, and a step blocks while it waits."""

import os
import time
from typing import Any

from openenv.core.env_server import create_app, Environment
from openenv.core.env_server.types import Action, Observation, State
from pydantic import Field

from tests.perf.peers.messages import new_hash, PID


class WaitAction(Action):
    wait_seconds: float = Field(default=0.0, ge=0.0)


class WaitObservation(Observation):
    waited_seconds: float
    pid: int
    session_hash: str
    host_url: str
    step_count: int


class StockEnvironment(Environment[WaitAction, WaitObservation, State]):
    SUPPORTS_CONCURRENT_SESSIONS = True

    def __init__(self) -> None:
        super().__init__()
        self._hash, self._steps = new_hash(), 0

    def reset(self, seed: Any = None, episode_id: Any = None, **_: Any) -> WaitObservation:
        self._steps = 0
        return self._observation(0.0)

    def step(self, action: WaitAction, timeout_s: Any = None, **_: Any) -> WaitObservation:
        if action.wait_seconds > 0:
            time.sleep(action.wait_seconds)
        self._steps += 1
        return self._observation(action.wait_seconds)

    @property
    def state(self) -> State:
        return State(step_count=self._steps)

    def _observation(self, waited: float) -> WaitObservation:
        return WaitObservation(
            waited_seconds=waited,
            pid=PID,
            session_hash=self._hash,
            host_url="peer:8000",
            step_count=self._steps,
        )


app = create_app(
    StockEnvironment,
    WaitAction,
    WaitObservation,
    max_concurrent_envs=int(os.environ.get("MAX_CONCURRENT_ENVS", "100")),
)
