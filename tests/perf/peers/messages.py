"""The replies of a benchmark environment, for peers that are not OpenEnv servers."""

import os
import secrets
from typing import Any

import orjson

PID = os.getpid()


def new_hash() -> str:
    return secrets.token_hex(6)


def observation(session: str, waited: float, step: int) -> dict[str, Any]:
    """The same fields as in a reply of the kit's own server."""
    fields = {
        "metadata": {},
        "waited_seconds": waited,
        "pid": PID,
        "session_hash": session,
        "host_url": "peer:8000",
        "step_count": step,
    }
    return {"type": "observation", "data": {"observation": fields, "reward": None, "done": False}}


def encoded(session: str, waited: float, step: int) -> bytes:
    return orjson.dumps(observation(session, waited, step))
