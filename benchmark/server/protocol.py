"""OpenEnv messages: text frames in, replies out. Pure functions over bytes and dicts.

Source: `openenv.core.env_server` 0.10. Every reply here is compared with that server's in
tests/local/serving/test_conformance.py.
"""

import json
from typing import Any, Literal

import orjson
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import to_json

from benchmark.server.environment import MAX_WAIT_SECONDS, WaitAction


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


MESSAGES: dict[str, type[_Message]] = {
    "reset": ResetMessage,
    "step": StepMessage,
    "state": StateMessage,
    "close": CloseMessage,
}


class Refused(Exception):
    """A message that gets an error reply; `fatal` ends the session after it."""

    def __init__(self, code: str, message: str, *, fatal: bool = False, **details: Any) -> None:
        super().__init__(message)
        self.code = code
        self.fatal = fatal
        self.details = details

    def frame(self) -> bytes:
        return error(self.code, str(self), **self.details)


def parse(text: str) -> tuple[str, Any]:
    """The message's type and what it carries: reset arguments, seconds to wait, or None.

    Raises `Refused` with the code that OpenEnv gives the same frame.
    """
    message = _decode(text)
    if not isinstance(message, dict):
        raise Refused(
            "SESSION_ERROR",
            f"a message must be a JSON object, not {type(message).__name__}",
            fatal=True,
        )
    kind = message.get("type", "")
    model = MESSAGES.get(kind) if isinstance(kind, str) else None
    if model is None:
        raise Refused("UNKNOWN_TYPE", f"Unknown message type: {kind}")
    if (plain := _plain(kind, message)) is not None:
        return kind, plain
    try:
        checked = model.model_validate(message)
        if isinstance(checked, StepMessage):
            return kind, WaitAction.model_validate(checked.data).wait_seconds
    except ValidationError as failure:
        raise Refused("VALIDATION_ERROR", "Invalid message", errors=problems(failure)) from None
    return kind, getattr(checked, "data", None)


def observation(fields: dict[str, Any]) -> bytes:
    return _encode({"type": "observation", "data": observation_data(fields)})


def observation_data(fields: dict[str, Any]) -> dict[str, Any]:
    return {"observation": fields, "reward": None, "done": False}


def state(fields: dict[str, Any]) -> bytes:
    return _encode({"type": "state", "data": fields})


def error(code: str, message: str, **details: Any) -> bytes:
    return _encode({"type": "error", "data": {"message": message, "code": code, **details}})


def problems(failure: ValidationError) -> list[dict[str, Any]]:
    return [dict(problem) for problem in failure.errors()]


def _plain(kind: str, message: dict[str, Any]) -> Any:
    """What a message carries that needs no model to be understood; None sends it to the model."""
    if kind == "step":
        return _plain_wait(message.get("data")) if len(message) == 2 else None
    if kind == "reset":
        return (
            {} if len(message) == 1 or (len(message) == 2 and message.get("data") == {}) else None
        )
    return {} if len(message) == 1 else None


def _plain_wait(data: Any) -> float | None:
    if type(data) is dict and len(data) == 1:
        wait = data.get("wait_seconds")
        if type(wait) is float and 0.0 <= wait <= MAX_WAIT_SECONDS:
            return wait
    return None


def _decode(text: str) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        pass
    # OpenEnv reads frames with the standard library, which takes NaN, Infinity and lone
    # surrogates too: whatever it can read is answered the way OpenEnv answers it.
    try:
        return json.loads(text)
    except RecursionError as failure:
        raise Refused("SESSION_ERROR", str(failure), fatal=True) from None
    except ValueError as failure:
        raise Refused("INVALID_JSON", f"Invalid JSON: {failure}") from None


def _encode(reply: dict[str, Any]) -> bytes:
    try:
        return orjson.dumps(reply)
    except orjson.JSONEncodeError:
        # What a client sent and gets back in an error: integers beyond 64 bits, objects.
        try:
            return to_json(reply, fallback=str)
        except ValueError as failure:  # a lone surrogate, which no reply can carry
            return error("EXECUTION_ERROR", str(failure).encode("ascii", "replace").decode())
