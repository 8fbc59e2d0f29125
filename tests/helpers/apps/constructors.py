"""OpenEnv apps whose environments are hard to make, or allow few sessions."""

import ctypes
import threading
import time
from typing import Any

from openenv.core.env_server import create_app, Environment
from openenv.core.env_server.types import Action, Observation, State


class Alone(Environment):
    """Declares no concurrency, so a worker has one."""

    def reset(self, seed: Any = None, episode_id: Any = None, **_: Any) -> Observation:
        return Observation(done=False, reward=0.0)

    def step(self, action: Any, timeout_s: Any = None, **_: Any) -> Observation:
        return Observation(done=False, reward=1.0)

    @property
    def state(self) -> State:
        return State()


class Fails(Alone):
    def __init__(self) -> None:
        raise FileNotFoundError("there is no level 7")


class Blocks(Alone):
    def __init__(self) -> None:
        threading.Event().wait()


class Crashes(Alone):
    def __init__(self) -> None:
        ctypes.string_at(0)


class Slow(Alone):
    def __init__(self) -> None:
        super().__init__()
        time.sleep(3)


class Several(Alone):
    SUPPORTS_CONCURRENT_SESSIONS = True


def app_of(environment: Any, sessions: int = 1) -> Any:
    return create_app(environment, Action, Observation, max_concurrent_envs=sessions)


alone, several = app_of(Alone), app_of(Several, 5)
fails, blocks, crashes, slow = app_of(Fails), app_of(Blocks), app_of(Crashes), app_of(Slow)
