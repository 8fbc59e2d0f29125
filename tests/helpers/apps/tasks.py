"""An environment whose steps concern the task and the context that they run in."""

import asyncio
import os
from collections.abc import Generator
from contextvars import ContextVar
from typing import Any

from openenv.core.env_server import create_app, Environment
from openenv.core.env_server.types import Action, Observation, State

episode: ContextVar[str] = ContextVar("episode", default="none")


class Do(Action):
    what: str
    seconds: float = 0.0


class Done(Observation):
    note: Any = None


class NextTurn:
    """Waits as `asyncio.sleep(0)` does, without being a coroutine."""

    def __await__(self) -> Generator[None, None, str]:
        yield
        return "next turn"


class TaskEnvironment(Environment):
    SUPPORTS_CONCURRENT_SESSIONS = True

    async def reset_async(
        self, seed: int | None = None, episode_id: str | None = None, **_: Any
    ) -> Done:
        self.task = asyncio.current_task()
        episode.set(episode_id or "reset")
        return Done(note=episode.get())

    async def step_async(self, action: Do, timeout_s: float | None = None, **_: Any) -> Done:
        return Done(note=await getattr(self, f"step_{action.what}")(action.seconds))

    def reset(self, *_: Any, **__: Any) -> Done:
        raise NotImplementedError

    step = reset

    @property
    def state(self) -> State:
        return State(same_task=self.task is asyncio.current_task())

    async def step_task(self, _: float) -> bool:
        return self.task is asyncio.current_task()

    async def step_context(self, seconds: float) -> list[str]:
        before = episode.get()
        await asyncio.sleep(seconds)
        episode.set(episode.get() + "+")
        return [before, episode.get()]

    async def step_turns(self, _: float) -> str:
        for _turn in range(3):
            await asyncio.sleep(0)
        return await NextTurn()

    async def step_timeout(self, seconds: float) -> str:
        try:
            async with asyncio.timeout(seconds):
                await asyncio.sleep(60)
        except TimeoutError:
            return "timed out"
        return "finished"

    async def step_in_time(self, seconds: float) -> int:
        async with asyncio.timeout(60):
            await asyncio.sleep(seconds)
        assert self.task is not None
        return self.task.cancelling()

    async def step_group(self, seconds: float) -> list[int]:
        async with asyncio.TaskGroup() as group:
            children = [group.create_task(asyncio.sleep(seconds, number)) for number in range(3)]
        return [child.result() for child in children]

    async def step_failing_group(self, seconds: float) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(asyncio.sleep(60))
            group.create_task(self.fail(seconds))

    async def fail(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        raise ValueError("a child failed")

    async def step_finished_future(self, _: float) -> int:
        future = asyncio.get_running_loop().create_future()
        future.set_result(7)
        return int(await future)

    async def step_soon(self, _: float) -> int:
        future = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_soon(future.set_result, 8)
        return int(await future)

    async def step_nothing_to_serialize(self, seconds: float) -> object:
        await asyncio.sleep(seconds)
        return object()

    async def step_cleanup(self, seconds: float) -> None:
        """Records that it was cancelled, in the file that the environment variable EVENTS names."""
        try:
            await asyncio.sleep(seconds)
        finally:
            await asyncio.sleep(0)
            with open(os.environ["EVENTS"], "a") as events:  # noqa: PTH123
                events.write("cleaned up\n")


class PlainAwaitable(TaskEnvironment):
    """Its `reset_async` and `step_async` are no coroutine functions."""

    def step_async(self, action: Do, timeout_s: float | None = None, **more: Any) -> Any:
        if action.what == "raise":
            raise ValueError("raised before it returned an awaitable")
        return asyncio.ensure_future(super().step_async(action, timeout_s, **more))


def app_of(environment: Any) -> Any:
    return create_app(environment, Do, Done, env_name="tasks", max_concurrent_envs=100)


app, plain = app_of(TaskEnvironment), app_of(PlainAwaitable)
