"""What was not the same from the beginning of a cell to its end. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any

LOAD = "load-"


def replaced(samples: Sequence[Mapping[str, Any]]) -> list[str]:
    """Of a cell's samples in their order, after the last one of each source before it: servers and
    Envoys that were replaced, and what Envoy counted out."""
    found: dict[str, None] = {}
    last: dict[tuple[Any, ...], Mapping[str, Any]] = {}
    for sample in samples:
        key = sample["node"], sample["kind"], sample.get("name")
        before = last.get(key)
        last[key] = sample
        text = _between(before, sample) if before is not None else None
        if text:
            found[text] = None
    return list(found)


def _between(before: Mapping[str, Any], now: Mapping[str, Any]) -> str | None:
    node = now["node"]
    if now["kind"] == "process" and not now["name"].startswith(LOAD):
        if before["pid"] != now["pid"]:
            return f"{now['name']} on {node} was replaced (pid {before['pid']}, then {now['pid']})"
    elif now["kind"] == "places":
        if now["replaced"] > before["replaced"]:
            count = now["replaced"] - before["replaced"]
            return f"{count} worker(s) of {now['name']} on {node} were replaced"
    elif now["kind"] == "envoy":
        if now.get("uptime", 0) < before.get("uptime", 0):
            return f"Envoy on {node} was restarted"
        if now.get("membership_healthy", 0) < before.get("membership_healthy", 0):
            healthy, total = now["membership_healthy"], now.get("membership_total", 0)
            return f"Envoy counted {total - healthy} of {total} workers out"
    return None
