"""Sessions of an environment of OpenEnv's catalogue by its own client; runs in its Python environment."""

import asyncio
import contextlib
import importlib
import importlib.metadata
import json
import os
import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

# A step of a session, by its number and its last result.
Step = Callable[[Any, int, Any], Awaitable[Any]]


async def echo(client: Any, number: int, _: Any) -> None:
    message = f"message of session {number}"
    reply = await client.call_tool("echo_message", message=message)
    if reply != message:
        raise ValueError(f"the reply is {reply!r} instead of {message!r}")


async def walk(client: Any, _: int, last: Any) -> Any:
    from maze_env import MazeAction

    return await client.step(MazeAction(action=last.observation.legal_actions[0]))


async def push(client: Any, number: int, _: Any) -> Any:
    from dm_control_env import DMControlAction

    return await client.step(DMControlAction(values=[number / 100]))


async def count(client: Any, _: int, last: Any) -> Any:
    from counting_env import CountingAction

    result = await client.step(CountingAction(amount=1))
    if result.observation.total != last.observation.total + 1:
        raise ValueError(f"{last.observation.total} is followed by {result.observation.total}")
    return result


ENVIRONMENTS: dict[str, tuple[str, Step]] = {
    "echo_env": ("EchoEnv", echo),
    "maze_env": ("MazeEnv", walk),
    "dm_control_env": ("DMControlEnv", push),
    # of the same shape, for the tests
    "counting_env": ("CountingEnv", count),
}


class Crowd:
    """Sessions that are all open before the first one steps."""

    def __init__(self, name: str, sessions: int, steps: int) -> None:
        client, self._step = ENVIRONMENTS[name]
        self.client = getattr(importlib.import_module(name), client)
        self._steps, self._sessions = steps, range(sessions)
        self._together = asyncio.Barrier(sessions + 1)

    async def run(self) -> dict[str, Any]:
        tasks = [asyncio.create_task(self._session(number)) for number in self._sessions]
        servers: list[Any] = []
        with contextlib.suppress(asyncio.BrokenBarrierError):
            await self._together.wait()
            servers = await asyncio.to_thread(places)
            await self._together.wait()
        began = time.monotonic()
        episodes = await asyncio.gather(*tasks, return_exceptions=True)
        return self._row(servers, episodes, time.monotonic() - began)

    def _row(self, servers: list[Any], episodes: list[Any], seconds: float) -> dict[str, Any]:
        succeeded = {each for each in episodes if isinstance(each, str)}
        failed = Counter(repr(each) for each in episodes if isinstance(each, BaseException))
        failures = [f"{count} sessions: {failure}" for failure, count in failed.items()]
        if len(succeeded) + failed.total() < len(episodes):
            failures.append("two sessions had the same episode")
        workers = [worker["used"] for server in servers for worker in server["workers"]]
        if sum(workers) != len(episodes):
            failures.append(f"{sum(workers)} sessions were counted when {len(episodes)} were open")
        return {
            "client": self.client.__name__,
            "OpenEnv": release(),
            "sessions": f"{len(succeeded)} of {len(episodes)}",
            "servers": sum(server["used"] > 0 for server in servers),
            "workers": sum(used > 0 for used in workers),
            "steps/s": round(len(succeeded) * self._steps / seconds),
            "failures": failures,
        }

    async def _session(self, number: int) -> str:
        """The id of the episode, which is the same before and after the steps."""
        try:
            async with self.client(base_url=os.environ["OPENENV_URL"]) as client:
                result = await client.reset(episode_id=str(uuid.uuid4()))
                before = (await client.state()).episode_id
                await self._together.wait()
                await self._together.wait()
                for _ in range(self._steps):
                    result = await self._step(client, number, result)
                after = (await client.state()).episode_id
        except Exception:
            await self._together.abort()
            raise
        if not before or after != before:
            raise ValueError(f"the episode {before} became {after}")
        return str(before)


def places() -> list[Any]:
    """The places of each server."""
    argv = (sys.executable, "-P", "-m", "launcher", "status", "catalogue", "--json")
    status = json.loads(subprocess.run(argv, stdout=subprocess.PIPE, check=True).stdout)
    return list(status["places"].values())


def release() -> str:
    """The version that the imported package comes from; two names were used for it."""
    for package in ("openenv", "openenv-core"):
        try:
            return f"{package} {importlib.metadata.version(package)}"
        except importlib.metadata.PackageNotFoundError:
            continue
    return "unknown"


async def main(name: str, sessions: int, steps: int) -> dict[str, Any]:
    return await Crowd(name, sessions, steps).run()


if __name__ == "__main__":
    print(json.dumps(asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))))
