"""What reset and step do. Nothing here knows of HTTP, WebSocket or JSON."""

import asyncio
import os
import uuid
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

MAX_WAIT_SECONDS = 86_400.0
"""A step may wait for a day; anything longer is taken for a mistake."""


class WaitAction(BaseModel):
    """One step: wait, then answer."""

    model_config = ConfigDict(extra="forbid")

    metadata: dict[str, Any] = Field(default_factory=dict, description="Not read.")
    wait_seconds: float = Field(
        default=0.0,
        ge=0.0,
        le=MAX_WAIT_SECONDS,
        allow_inf_nan=False,
        description="Seconds to wait before the step answers.",
    )


class WaitObservation(BaseModel):
    """What a reset or a step answers, as `/schema` publishes it."""

    model_config = ConfigDict(extra="forbid")

    done: bool = False
    reward: bool | int | float | None = None
    metadata: dict[str, Any] = Field(default_factory=dict)
    waited_seconds: float = Field(description="Seconds that this step was asked to wait.")
    pid: int = Field(description="Process that holds the session.")
    session_hash: str = Field(description="12 hexadecimal digits, one value a session.")
    host_url: str = Field(description="<node>:<port> of the server that holds the session.")
    step_count: int = Field(description="Steps since the last reset.")


class State(BaseModel):
    model_config = ConfigDict(extra="allow")

    episode_id: str | None = None
    step_count: int = Field(default=0, ge=0)


class WaitEnvironment:
    """Waits as long as it is told to and says where it ran."""

    def __init__(self, host_url: str) -> None:
        self.host_url = host_url
        self.session_hash = os.urandom(6).hex()
        self.pid = os.getpid()
        self._episode_id: str | None = None
        self.step_count = 0

    def reset(self, seed: Any = None, episode_id: Any = None, **_: Any) -> dict[str, Any]:  # noqa: ARG002
        """Begins an episode; `seed` is taken as every environment takes it, and not used."""
        if episode_id is not None and not isinstance(episode_id, str):
            raise ValueError(f"episode_id must be a string, not {type(episode_id).__name__}")
        self._episode_id = episode_id or None
        self.step_count = 0
        return self._observation(0.0)

    async def step(self, wait_seconds: float) -> dict[str, Any]:
        if wait_seconds > 0:
            await asyncio.sleep(wait_seconds)
        return self.stepped(wait_seconds)

    def stepped(self, wait_seconds: float) -> dict[str, Any]:
        """What a step answers that has waited so long."""
        self.step_count += 1
        return self._observation(wait_seconds)

    @property
    def episode_id(self) -> str:
        """Made up when it is first asked for, where reset was given none."""
        if self._episode_id is None:
            self._episode_id = str(uuid.uuid4())
        return self._episode_id

    @property
    def state(self) -> dict[str, Any]:
        return {"episode_id": self.episode_id, "step_count": self.step_count}

    def _observation(self, waited: float) -> dict[str, Any]:
        return {
            "metadata": {},
            "waited_seconds": waited,
            "pid": self.pid,
            "session_hash": self.session_hash,
            "host_url": self.host_url,
            "step_count": self.step_count,
        }
