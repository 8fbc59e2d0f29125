"""MCP sessions: by HTTP, and by OpenEnv's own client."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import requests
from openenv.core.mcp_client import MCPToolClient

CREATE, CLOSE = "openenv/session/create", "openenv/session/close"


def rpc(
    url: str, method: str, by: requests.Session | None = None, **parameters: Any
) -> dict[str, Any]:
    """A request by a connection of its own, or `by` a client that keeps its connection."""
    request = {"jsonrpc": "2.0", "method": method, "params": parameters, "id": 1}
    post = requests.post if by is None else by.post
    with post(f"{url}/mcp", json=request, timeout=30) as response:
        return dict(response.json())


def create(url: str) -> str:
    return str(rpc(url, CREATE)["result"]["session_id"])


async def keep_counting(
    url: str, sessions: int, when_all_are_open: Callable[[], Awaitable[None]]
) -> None:
    """Adds up in many sessions of `tools:app` at once, and checks that each has its own total."""
    everybody = asyncio.Barrier(sessions)

    async def count(amount: int) -> None:
        async with MCPToolClient(base_url=url) as client:
            await client.reset()
            await everybody.wait()
            if amount == 1:
                await when_all_are_open()
            await everybody.wait()
            for calls in (1, 2, 3):
                assert await client.call_tool("add", amount=amount) == calls * amount

    await asyncio.gather(*(count(amount) for amount in range(1, sessions + 1)))
