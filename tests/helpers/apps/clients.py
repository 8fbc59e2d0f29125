"""Sessions of the counting environments by OpenEnv's clients, in the Python environment of a release.

So it imports nothing of the tests. Reads `["CLIENT", "URL", SESSIONS]` from standard input, prints the class
and the release when every session is open, steps at the next line, and prints what the steps returned.
"""

import asyncio
import importlib.metadata
import json
import sys
import traceback
from typing import Any

from counting_env import CountingAction, CountingEnv
from openenv import AutoEnv
from openenv.core import GenericEnvClient
from openenv.core.mcp_client import MCPToolClient

PACKAGES = ("openenv", "openenv-core")


def client_of(name: str, url: str) -> Any:
    if name == "AutoEnv":
        return AutoEnv.from_env("counting", base_url=url)
    classes = (GenericEnvClient, MCPToolClient, CountingEnv)
    return {each.__name__: each for each in classes}[name](base_url=url)


async def add(client: Any, amount: int) -> Any:
    """Adds to the session's total by a step, and returns the total."""
    if isinstance(client, MCPToolClient):
        return await client.call_tool("add", amount=amount)
    if isinstance(client, GenericEnvClient):
        return (await client.step({"amount": amount})).observation["total"]
    return (await client.step(CountingAction(amount=amount))).observation.total


async def session(client: Any, amount: int, together: asyncio.Barrier) -> list[Any]:
    try:
        async with client:
            await client.reset()
            await together.wait()  # all are open
            await together.wait()  # somebody has counted them
            return [await add(client, amount) for _ in range(3)]
    except Exception:
        await (
            together.abort()
        )  # the others would wait for ever; a client may swallow being cancelled
        raise


async def play(name: str, url: str, sessions: int) -> None:
    clients = [client_of(name, url) for _ in range(sessions)]
    together = asyncio.Barrier(sessions + 1)
    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(session(client, amount, together))
            for amount, client in enumerate(clients, 1)
        ]
        await together.wait()
        say([type(clients[0]).__name__, *releases()])
        await asyncio.to_thread(sys.stdin.readline)
        await together.wait()
    say([task.result() for task in tasks])


def releases() -> list[str]:
    distributions = importlib.metadata.distributions()
    return [f"{each.name} {each.version}" for each in distributions if each.name in PACKAGES]


def say(answer: object) -> None:
    print(json.dumps(answer), flush=True)


for line in sys.stdin:
    try:
        asyncio.run(play(*json.loads(line)))
    except ExceptionGroup:
        say(traceback.format_exc())
