"""The benchmark environment, independent of HTTP, WebSocket and JSON."""

import asyncio
import os
import uuid
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

# One day; a longer wait is rejected as a mistake.
MAX_WAIT_SECONDS = 86_400.0


class WaitAction(BaseModel):
    """A step that waits before it returns."""

    model_config = ConfigDict(extra="forbid")

    metadata: dict[str, Any] = Field(default_factory=dict, description="Ignored.")
    wait_seconds: float = Field(
        default=0.0,
        ge=0.0,
        le=MAX_WAIT_SECONDS,
        allow_inf_nan=False,
        description="Seconds to wait before the step returns.",
    )


class WaitObservation(BaseModel):
    """The result of a reset or a step."""

    model_config = ConfigDict(extra="forbid")

    done: bool = False
    reward: bool | int | float | None = None
    metadata: dict[str, Any] = Field(default_factory=dict)
    waited_seconds: float = Field(description="The wait that the step requested, in seconds.")
    pid: int = Field(description="The process that holds the session.")
    session_hash: str = Field(description="12 hexadecimal digits, unique for each session.")
    host_url: str = Field(description="<node>:<port> of the server that holds the session.")
    step_count: int = Field(description="The number of steps since the last reset.")


class State(BaseModel):
    model_config = ConfigDict(extra="allow")

    episode_id: str | None = None
    step_count: int = Field(default=0, ge=0)


class WaitEnvironment:
    """Waits as long as each step requests and reports where it ran."""

    SUPPORTS_CONCURRENT_SESSIONS = True

    def __init__(self, host_url: str) -> None:
        self.host_url = host_url
        self.session_hash = os.urandom(6).hex()
        self.pid = os.getpid()
        self._episode_id: str | None = None
        self.step_count = 0

    async def reset_async(
        self,
        seed: Any = None,  # noqa: ARG002 - part of OpenEnv's interface; nothing here is random
        episode_id: Any = None,
        **_: Any,
    ) -> dict[str, Any]:
        if episode_id is not None and not isinstance(episode_id, str):
            raise ValueError(f"episode_id must be a string, not {type(episode_id).__name__}")
        self._episode_id = episode_id or None
        self.step_count = 0
        return self._observation(0.0)

    async def step_async(self, action: WaitAction) -> dict[str, Any]:
        if action.wait_seconds > 0:
            await asyncio.sleep(action.wait_seconds)
        self.step_count += 1
        return self._observation(action.wait_seconds)

    @property
    def episode_id(self) -> str:
        """Generated on first use unless the reset named one."""
        if self._episode_id is None:
            self._episode_id = str(uuid.uuid4())
        return self._episode_id

    @property
    def state(self) -> dict[str, Any]:
        return {"episode_id": self.episode_id, "step_count": self.step_count}

    def close(self) -> None:
        """Nothing to close."""

    def _observation(self, waited: float) -> dict[str, Any]:
        """The fields of a `WaitObservation` that are not those of every observation."""
        return {
            "metadata": {},
            "waited_seconds": waited,
            "pid": self.pid,
            "session_hash": self.session_hash,
            "host_url": self.host_url,
            "step_count": self.step_count,
        }
