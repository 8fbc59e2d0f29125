"""An app made with OpenEnv whose environment has one tool."""

from typing import Any

from fastmcp import FastMCP
from openenv.core.env_server import create_app
from openenv.core.env_server.mcp_environment import MCPEnvironment
from openenv.core.env_server.mcp_types import CallToolAction, CallToolObservation
from openenv.core.env_server.types import Observation, State


class Echo(MCPEnvironment):
    SUPPORTS_CONCURRENT_SESSIONS = True

    def __init__(self) -> None:
        tools = FastMCP("tools")

        @tools.tool
        def echo(message: str) -> str:
            return message

        super().__init__(tools)

    def reset(self, seed: Any = None, episode_id: Any = None, **_: Any) -> Observation:
        return Observation(done=False, reward=0.0)

    def _step_impl(self, action: Any, timeout_s: Any = None, **_: Any) -> Observation:
        raise AssertionError("every step calls a tool")

    @property
    def state(self) -> State:
        return State()


app = create_app(Echo, CallToolAction, CallToolObservation, max_concurrent_envs=10)
