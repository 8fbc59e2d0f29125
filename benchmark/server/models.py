"""The messages of a session as pydantic models, for apps that do not use OpenEnv's package.

They accept and refuse what the models of `openenv.core.env_server.types` do, with the same errors.
"""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from benchmark.server.engine.spec import Models


class _Message(BaseModel):
    model_config = ConfigDict(extra="forbid")


class ResetMessage(_Message):
    type: Literal["reset"]
    data: dict[str, Any] = {}


class StepMessage(_Message):
    type: Literal["step"]
    data: dict[str, Any]


class StateMessage(_Message):
    type: Literal["state"]


class CloseMessage(_Message):
    type: Literal["close"]


MODELS = Models(ResetMessage, StepMessage, StateMessage, CloseMessage)
