"""What changed in a deployment between the start of a cell and its end. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

LOAD = "load-"


class Kind(StrEnum):
    REPLACED = "{name} on {node} was replaced"
    PID_CHANGED = "{name} on {node} was replaced (pid {before}, then {after})"
    GIVEN_UP = "{name} on {node} was given up"
    WORKERS_REPLACED = "{count} worker(s) of {name} on {node} were replaced"
    ENVOY_RESTARTED = "Envoy on {node} was restarted"
    WORKERS_UNHEALTHY = "Envoy counted {count} of {total} workers out"


@dataclass(frozen=True)
class Change:
    """One change, and the numbers that its text names."""

    kind: Kind
    name: str
    node: str
    numbers: Mapping[str, int] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.kind.format(name=self.name, node=self.node, **self.numbers)


def replaced(samples: Sequence[Mapping[str, Any]]) -> list[Change]:
    """Of a cell's samples in their order, after the last one of each source before it: servers and
    Envoys that were replaced, and what Envoy counted out."""
    found: dict[str, Change] = {}
    last: dict[tuple[Any, ...], Mapping[str, Any]] = {}
    for sample in samples:
        key = sample["node"], sample["kind"], sample.get("name")
        before = last.get(key)
        last[key] = sample
        change = _between(before, sample) if before is not None else None
        if change:
            found[str(change)] = change
    return list(found.values())


def merged(recorded: Sequence[Change], sampled: Sequence[Change]) -> list[Change]:
    """Changes that the deployment recorded, and those that samples show. A replaced process that
    samples name with its pids is listed once."""
    named = {(each.name, each.node) for each in sampled if each.kind is Kind.PID_CHANGED}
    return [
        each
        for each in recorded
        if each.kind is not Kind.REPLACED or (each.name, each.node) not in named
    ] + list(sampled)


def _between(before: Mapping[str, Any], now: Mapping[str, Any]) -> Change | None:
    node, name = now["node"], now.get("name", "envoy")
    if now["kind"] == "process" and not name.startswith(LOAD):
        if before["pid"] != now["pid"]:
            pids = {"before": before["pid"], "after": now["pid"]}
            return Change(Kind.PID_CHANGED, name, node, pids)
    elif now["kind"] == "places":
        if now["replaced"] > before["replaced"]:
            count = {"count": now["replaced"] - before["replaced"]}
            return Change(Kind.WORKERS_REPLACED, name, node, count)
    elif now["kind"] == "envoy":
        if now.get("uptime", 0) < before.get("uptime", 0):
            return Change(Kind.ENVOY_RESTARTED, name, node)
        if now.get("membership_healthy", 0) < before.get("membership_healthy", 0):
            healthy, total = now["membership_healthy"], now.get("membership_total", 0)
            return Change(
                Kind.WORKERS_UNHEALTHY, name, node, {"count": total - healthy, "total": total}
            )
    return None
