"""The messages of a session, as OpenEnv's own server reads and writes them.

The reference is the `/ws` endpoint of `openenv.core.env_server.http_server`.
"""

import json
from enum import StrEnum
from typing import Any

import orjson
from pydantic import ValidationError
from pydantic_core import from_json, to_json

PLAIN = (
    orjson.OPT_PASSTHROUGH_DATACLASS
    | orjson.OPT_PASSTHROUGH_DATETIME
    | orjson.OPT_PASSTHROUGH_SUBCLASS
)


class ErrorCode(StrEnum):
    """The codes of OpenEnv's error messages."""

    CAPACITY_REACHED = "CAPACITY_REACHED"
    EXECUTION_ERROR = "EXECUTION_ERROR"
    FACTORY_ERROR = "FACTORY_ERROR"
    INVALID_JSON = "INVALID_JSON"
    SESSION_ERROR = "SESSION_ERROR"
    UNKNOWN_TYPE = "UNKNOWN_TYPE"
    VALIDATION_ERROR = "VALIDATION_ERROR"


def decode(data: bytes) -> Any:
    """Decodes JSON. Raises `json.JSONDecodeError`, `UnicodeDecodeError`, `RecursionError`, and `ValueError`
    for an integer of more digits than Python converts.

    The reference uses the standard library, whose errors are sent to the client, and which also accepts
    lone surrogates; whatever the faster decoder accepts, both decode to the same value.
    """
    try:
        return from_json(data)
    except ValueError:
        return json.loads(data.decode())


def encode(message: dict[str, Any]) -> bytes:
    """Encodes a reply as `BaseModel.model_dump_json` does. Raises `PydanticSerializationError`."""
    # For plain values the faster encoder gives the same bytes; it refuses any other, such as a date.
    try:
        return orjson.dumps(message, option=PLAIN)
    except orjson.JSONEncodeError:
        return to_json(message, by_alias=False, inf_nan_mode="null")


def error(code: ErrorCode, message: str, **details: Any) -> bytes:
    return encode({"type": "error", "data": {"message": message, "code": code, **details}})


def failure_reply(failure: BaseException) -> bytes:
    """The reply to a message that could not be handled."""
    if isinstance(failure, ValidationError):
        return error(ErrorCode.VALIDATION_ERROR, "Invalid message", errors=failure.errors())
    return error(ErrorCode.EXECUTION_ERROR, str(failure))
