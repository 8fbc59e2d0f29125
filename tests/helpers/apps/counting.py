"""Counting environments, one for each way in which OpenEnv runs an environment.

`asynchronous` overrides `reset_async` and `step_async`; `blocking` refuses to run in another thread than
its constructor's; `single_threaded` refuses to run in another thread than the first one's.
"""

import asyncio
import os
import threading
import time
from typing import Any, ClassVar

from openenv.core.env_server import create_app, Environment
from openenv.core.env_server.types import Action, Observation, State
from pydantic import Field, field_validator


class Count(Action):
    amount: int = Field(default=1, ge=-100, le=100)
    wait_seconds: float = Field(default=0.0, ge=0.0, le=60.0)
    note: str | None = Field(default=None, max_length=1_000)
    fail: str | None = None
    last: bool = False

    @field_validator("note")
    @classmethod
    def polite(cls, note: str | None) -> str | None:
        if note == "rude":
            raise ValueError("the note is rude")
        return note


class Counted(Observation):
    total: int
    note: str | None = None
    steps: list[int] = Field(default_factory=list)


class CountState(State):
    total: int = 0


class Counting(Environment):
    SUPPORTS_CONCURRENT_SESSIONS = True

    def __init__(self) -> None:
        super().__init__()
        self.steps: list[int] = []
        self.episode: str | None = None
        self.ended = False
        self.record("made")

    def start(self, seed: int | None, episode_id: str | None, **more: Any) -> Counted:
        if more.get("fail"):
            raise LookupError(f"no level {more['fail']}")
        self.steps = [seed] if seed else []
        self.episode, self.ended = episode_id, False
        return Counted(total=sum(self.steps), note=more.get("note"))

    def add(self, action: Count) -> Counted:
        if action.fail:
            raise ValueError(action.fail)
        self.steps.append(action.amount)
        self.ended = self.ended or action.last
        return Counted(
            total=sum(self.steps),
            note=action.note,
            steps=self.steps,
            done=self.ended,
            reward=action.amount / 2,
            metadata=action.metadata,
        )

    def record(self, event: str) -> None:
        """Appends a line to the file that the environment variable EVENTS names."""
        if path := os.environ.get("EVENTS"):
            with open(path, "a") as events:  # noqa: PTH123
                events.write(f"{event} {os.getpid()} {threading.get_ident()} {id(self)}\n")

    @property
    def state(self) -> CountState:
        return CountState(
            episode_id=self.episode,
            step_count=len(self.steps),
            total=sum(self.steps),
            ended=self.ended,
        )

    def close(self) -> None:
        self.record("closed")

    def reset(self, seed: int | None = None, episode_id: str | None = None, **more: Any) -> Counted:
        return self.start(seed, episode_id, **more)

    def step(self, action: Count, timeout_s: float | None = None, **_: Any) -> Counted:
        time.sleep(action.wait_seconds)
        return self.add(action)


class AsyncCounting(Counting):
    async def reset_async(
        self, seed: int | None = None, episode_id: str | None = None, **more: Any
    ) -> Counted:
        await asyncio.sleep(0)
        return self.start(seed, episode_id, **more)

    async def step_async(self, action: Count, timeout_s: float | None = None, **_: Any) -> Counted:
        if action.wait_seconds:
            await asyncio.sleep(action.wait_seconds)
        return self.add(action)


class ThreadBound(Counting):
    def __init__(self) -> None:
        super().__init__()
        self.thread = threading.get_ident()

    def start(self, seed: int | None, episode_id: str | None, **more: Any) -> Counted:
        self.check()
        return super().start(seed, episode_id, **more)

    def add(self, action: Count) -> Counted:
        self.check()
        return super().add(action)

    def close(self) -> None:
        self.record("closed" if self.thread == threading.get_ident() else "closed elsewhere")

    def check(self) -> None:
        if self.thread != threading.get_ident():
            raise RuntimeError("called in another thread")


class SingleThreaded(ThreadBound):
    REQUIRES_SINGLE_THREAD_EXECUTOR = True
    first_thread: ClassVar[int] = 0

    def __init__(self) -> None:
        super().__init__()
        type(self).first_thread = self.thread = self.first_thread or threading.get_ident()
        self.check()


def app_of(environment: Any) -> Any:
    cap = int(os.environ.get("MAX_CONCURRENT_ENVS", "100"))
    return create_app(environment, Count, Counted, env_name="counting", max_concurrent_envs=cap)


asynchronous = app_of(AsyncCounting)
blocking = app_of(ThreadBound)
single_threaded = app_of(SingleThreaded)
