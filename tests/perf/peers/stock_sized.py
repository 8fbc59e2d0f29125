"""`uvicorn tests.perf.peers.stock_sized:app`: an OpenEnv environment whose observation is a text of the size
that the step asks for, like the text of a web page."""

import os
from typing import Any

from openenv.core.env_server import create_app, Environment
from openenv.core.env_server.types import Action, Observation, State
from pydantic import Field

MAX_SIZE = 4_000_000
LINE = 'An observed page says "hello" to its reader, and ends with a line break, 80 wide\n'
PAGE = LINE * (MAX_SIZE // len(LINE) + 1)


class SizeAction(Action):
    size: int = Field(ge=0, le=MAX_SIZE)


class PageObservation(Observation):
    text: str


class SizedEnvironment(Environment[SizeAction, PageObservation, State]):
    SUPPORTS_CONCURRENT_SESSIONS = True

    def reset(self, seed: Any = None, episode_id: Any = None, **_: Any) -> PageObservation:
        return PageObservation(text="")

    def step(self, action: SizeAction, timeout_s: Any = None, **_: Any) -> PageObservation:
        return PageObservation(text=PAGE[: action.size])

    @property
    def state(self) -> State:
        return State()


app = create_app(
    SizedEnvironment,
    SizeAction,
    PageObservation,
    max_concurrent_envs=int(os.environ.get("MAX_CONCURRENT_ENVS", "100")),
)
