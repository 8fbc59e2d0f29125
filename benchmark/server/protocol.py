"""OpenEnv's messages: parses requests and encodes replies.

The reference is `openenv.core.env_server` 0.10; tests/local/serving/test_conformance.py compares
every reply with that of the reference server.
"""

import json
from enum import StrEnum
from typing import Any, Literal

import orjson
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import to_json

from benchmark.server.environment import MAX_WAIT_SECONDS, WaitAction


class ErrorCode(StrEnum):
    """The codes of OpenEnv's error replies."""

    CAPACITY_REACHED = "CAPACITY_REACHED"
    EXECUTION_ERROR = "EXECUTION_ERROR"
    INVALID_JSON = "INVALID_JSON"
    SESSION_ERROR = "SESSION_ERROR"
    UNKNOWN_TYPE = "UNKNOWN_TYPE"
    VALIDATION_ERROR = "VALIDATION_ERROR"


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


class ProtocolFailure(Exception):
    """Leads to an error reply; when `fatal`, the session is closed after it."""

    def __init__(
        self, code: ErrorCode, message: str, *, fatal: bool = False, **details: Any
    ) -> None:
        super().__init__(message)
        self.code = code
        self.fatal = fatal
        self.details = details

    def frame(self) -> bytes:
        return error(self.code, str(self), **self.details)


def parse(text: str) -> tuple[str, Any]:
    """The message's type and its payload: reset arguments, seconds to wait, or None.

    Raises `ProtocolFailure` with the code of the reference server for the same frame.
    """
    message = _decode(text)
    if not isinstance(message, dict):
        text = f"a message must be a JSON object, not {type(message).__name__}"
        raise ProtocolFailure(ErrorCode.SESSION_ERROR, text, fatal=True)
    kind = message.get("type", "")
    model = MESSAGES.get(kind) if isinstance(kind, str) else None
    if model is None:
        raise ProtocolFailure(ErrorCode.UNKNOWN_TYPE, f"Unknown message type: {kind}")
    if (payload := _fast_payload(kind, message)) is not None:
        return kind, payload
    try:
        checked = model.model_validate(message)
        if isinstance(checked, StepMessage):
            return kind, WaitAction.model_validate(checked.data).wait_seconds
    except ValidationError as failure:
        code, errors = ErrorCode.VALIDATION_ERROR, problems(failure)
        raise ProtocolFailure(code, "Invalid message", errors=errors) from None
    return kind, getattr(checked, "data", None)


def observation(fields: dict[str, Any]) -> bytes:
    return _encode({"type": "observation", "data": observation_data(fields)})


def observation_data(fields: dict[str, Any]) -> dict[str, Any]:
    return {"observation": fields, "reward": None, "done": False}


def state(fields: dict[str, Any]) -> bytes:
    return _encode({"type": "state", "data": fields})


def error(code: ErrorCode, message: str, **details: Any) -> bytes:
    return _encode({"type": "error", "data": {"message": message, "code": code, **details}})


def problems(failure: ValidationError) -> list[dict[str, Any]]:
    return [dict(problem) for problem in failure.errors()]


def _fast_payload(kind: str, message: dict[str, Any]) -> Any:
    """The payload of a common message, parsed without pydantic; None for any other."""
    if kind == "step":
        return _fast_wait(message.get("data")) if len(message) == 2 else None
    if kind == "reset":
        plain = len(message) == 1 or (len(message) == 2 and message.get("data") == {})
        return {} if plain else None
    return {} if len(message) == 1 else None


def _fast_wait(data: Any) -> float | None:
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
    # The reference server uses the standard library, which also accepts NaN, Infinity and lone
    # surrogates; such messages must get the same replies here.
    try:
        return json.loads(text)
    except RecursionError as failure:
        raise ProtocolFailure(ErrorCode.SESSION_ERROR, str(failure), fatal=True) from None
    except ValueError as failure:
        raise ProtocolFailure(ErrorCode.INVALID_JSON, f"Invalid JSON: {failure}") from None


def _encode(reply: dict[str, Any]) -> bytes:
    try:
        return orjson.dumps(reply)
    except orjson.JSONEncodeError:
        # The client's own data in an error reply: integers beyond 64 bits, arbitrary objects.
        try:
            return to_json(reply, fallback=str)
        except ValueError as failure:  # a lone surrogate, which UTF-8 cannot encode
            text = str(failure).encode("ascii", "replace").decode()
            return error(ErrorCode.EXECUTION_ERROR, text)
