"""Actions and observations as OpenEnv's server reads and writes them, with fewer calls.

Each function replaces one of OpenEnv or pydantic only where that is known to do the same.
"""

from collections.abc import Callable
from typing import Any

from pydantic import BaseModel

from benchmark.server import messages

# What `serialize_observation` uses since OpenEnv 0.4; other functions are called as they are.
KNOWN_SERIALIZER = ("model_dump", "reward", "done", "metadata")
ELSEWHERE = {"reward", "done"}

_model_dump = BaseModel.model_dump


def validator(model: type[BaseModel]) -> Callable[[dict[str, Any]], Any]:
    """`model.model_validate` of a dictionary."""
    plain = getattr(model.model_validate, "__func__", None) is BaseModel.model_validate.__func__  # type: ignore[attr-defined]
    if not plain or not model.__pydantic_complete__:
        return model.model_validate
    return model.__pydantic_validator__.validate_python


def observation_encoder(serialize: Callable[[Any], Any]) -> Callable[[Any], bytes]:
    """The frame's payload for an observation; `serialize` is OpenEnv's `serialize_observation`."""

    def encode(observation: Any) -> bytes:
        return messages.encode({"type": "observation", "data": serialize(observation)})

    def encode_plain(observation: Any) -> bytes:
        model = type(observation)
        if getattr(model, "model_dump", None) is not _model_dump:
            return encode(observation)
        fields = model.__pydantic_serializer__.to_python(observation, exclude=ELSEWHERE)
        data = {"observation": fields, "reward": observation.reward, "done": observation.done}
        if metadata := observation.metadata:
            data["metadata"] = metadata
        return messages.encode({"type": "observation", "data": data})

    names = getattr(getattr(serialize, "__code__", None), "co_names", None)
    return encode_plain if names == KNOWN_SERIALIZER else encode
