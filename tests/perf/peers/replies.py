"""What a client says of its sessions when they are over: one line of JSON."""

import json
import os
import time
from dataclasses import dataclass, field
from typing import Any

import orjson


class Wrong(Exception):
    """An answer that is not the one to this message."""


def check(reply: bytes | str, waited: float, step: int) -> None:
    """Raises `Wrong` unless it is the observation of that step."""
    answer = orjson.loads(reply)
    try:
        seen = answer["data"]["observation"]
        right = (seen["waited_seconds"], seen["step_count"]) == (waited, step)
    except (KeyError, TypeError):
        right = False
    if not right:
        raise Wrong(str(answer)[:200])


@dataclass
class Told:
    """Of all sessions of one client."""

    sessions: int
    errors: dict[str, int] = field(default_factory=dict)
    steps: list[float] = field(default_factory=list)
    begun: float = field(default_factory=time.perf_counter)
    before: os.times_result = field(default_factory=os.times)
    step_seconds: float | None = None

    def failed(self, why: object) -> None:
        name = str(why) or type(why).__name__
        self.errors[name[:120]] = self.errors.get(name[:120], 0) + 1

    def line(self) -> str:
        """Wall, steps and own CPU in seconds, from when this was made."""
        used = os.times()
        steps = sorted(self.steps)
        told: dict[str, Any] = {
            "sessions": self.sessions,
            "failed": sum(self.errors.values()),
            "errors": self.errors,
            "wall": time.perf_counter() - self.begun,
            "user": used.user - self.before.user,
            "system": used.system - self.before.system,
            "steps": len(steps),
            "step_seconds": self.step_seconds,
        }
        for percent in (50, 99):
            told[f"step_p{percent}"] = steps[len(steps) * percent // 100] if steps else None
        return json.dumps(told)
