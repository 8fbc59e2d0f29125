"""An environment whose actions are MCP tools; each session counts for itself."""

import asyncio
import os
import signal
from typing import Any

from fastmcp import Context, FastMCP
from openenv.core.env_server import create_app
from openenv.core.env_server.mcp_environment import MCPEnvironment
from openenv.core.env_server.mcp_types import CallToolAction, CallToolObservation
from openenv.core.env_server.types import Action, Observation, State


class Tools(MCPEnvironment):
    SUPPORTS_CONCURRENT_SESSIONS = True

    def __init__(self) -> None:
        server = FastMCP("counting")
        self.total = 0
        self.episode: str | None = None

        @server.tool
        def add(amount: int) -> int:
            """Adds to the session's total and returns it."""
            self.total += amount
            return self.total

        @server.tool
        async def add_slowly(amount: int, seconds: float = 0.02) -> dict[str, Any]:
            """Waits, then adds."""
            await asyncio.sleep(seconds)
            self.total += amount
            return {"total": self.total, "worker": os.getpid()}

        @server.tool
        def fail(reason: str) -> str:
            """Always fails."""
            raise RuntimeError(reason)

        @server.tool
        def crash() -> None:
            """Ends the worker."""
            os.kill(os.getpid(), signal.SIGKILL)

        @server.tool
        async def visits(ctx: Context) -> int:
            """Counts in the state of the MCP session."""
            visits = ((await ctx.get_state("visits")) or 0) + 1
            await ctx.set_state("visits", visits)
            return visits

        super().__init__(server)

    def reset(
        self, seed: int | None = None, episode_id: str | None = None, **_: Any
    ) -> Observation:
        self.total, self.episode = seed or 0, episode_id
        return Observation(reward=0.0, metadata={"status": "ready", "total": self.total})

    def _step_impl(self, action: Action, timeout_s: float | None = None, **_: Any) -> Observation:
        return Observation(metadata={"error": f"unknown action {type(action).__name__}"})

    @property
    def state(self) -> State:
        return State(episode_id=self.episode, step_count=0, total=self.total)


app = create_app(
    Tools,
    CallToolAction,
    CallToolObservation,
    env_name="tools",
    max_concurrent_envs=int(os.environ.get("MAX_CONCURRENT_ENVS", "100")),
)
