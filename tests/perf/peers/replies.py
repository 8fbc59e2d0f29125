"""The results of a client's sessions, printed as one line of JSON."""

import json
import os
import time
from dataclasses import dataclass, field
from typing import Any

import orjson


class UnexpectedReply(Exception):
    """The reply does not match the request."""


def check(reply: bytes | str, waited: float, step: int) -> None:
    """Raises `UnexpectedReply` unless the reply is the observation of that step."""
    answer = orjson.loads(reply)
    try:
        observation = answer["data"]["observation"]
        matches = (observation["waited_seconds"], observation["step_count"]) == (waited, step)
    except (KeyError, TypeError):
        matches = False
    if not matches:
        raise UnexpectedReply(str(answer)[:200])


@dataclass
class SessionResults:
    """The results of all sessions of one client."""

    sessions: int
    errors: dict[str, int] = field(default_factory=dict)
    steps: list[float] = field(default_factory=list)
    started: float = field(default_factory=time.perf_counter)
    before: os.times_result = field(default_factory=os.times)
    step_seconds: float | None = None

    def add_failure(self, why: object) -> None:
        name = str(why) or type(why).__name__
        self.errors[name[:120]] = self.errors.get(name[:120], 0) + 1

    def line(self) -> str:
        """The results as JSON. Wall time, steps and this process's CPU are in seconds since this object was
        created."""
        used = os.times()
        steps = sorted(self.steps)
        line: dict[str, Any] = {
            "sessions": self.sessions,
            "failed": sum(self.errors.values()),
            "errors": self.errors,
            "wall": time.perf_counter() - self.started,
            "user": used.user - self.before.user,
            "system": used.system - self.before.system,
            "steps": len(steps),
            "step_seconds": self.step_seconds,
        }
        for percent in (50, 99):
            line[f"step_p{percent}"] = steps[len(steps) * percent // 100] if steps else None
        return json.dumps(line)
