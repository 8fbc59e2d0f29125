"""What changed in a deployment between the start of a cell and its end. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from launcher.envoy.admin import HEALTHY, TOTAL, UPTIME
from launcher.sampling.sample import SampleKind

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
    kind: Kind
    name: str
    node: str
    numbers: Mapping[str, int] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.kind.format(name=self.name, node=self.node, **self.numbers)


def find_changes(samples: Sequence[Mapping[str, Any]]) -> list[Change]:
    """Servers and Envoys that were replaced, and workers that became unhealthy, in the samples of a
    cell as `Sampler.cell_samples` returns them."""
    changes: dict[str, Change] = {}
    last: dict[tuple[Any, ...], Mapping[str, Any]] = {}
    for sample in samples:
        key = sample["node"], sample["kind"], sample.get("name")
        before = last.get(key)
        last[key] = sample
        change = _between(before, sample) if before is not None else None
        if change:
            changes[str(change)] = change
    return list(changes.values())


def merged(recorded: Sequence[Change], sampled: Sequence[Change]) -> list[Change]:
    """Joins the changes that the deployment recorded and those that the samples show. A replaced
    process that the samples name with its pids is listed once."""
    named = {(each.name, each.node) for each in sampled if each.kind is Kind.PID_CHANGED}
    return [
        each
        for each in recorded
        if each.kind is not Kind.REPLACED or (each.name, each.node) not in named
    ] + list(sampled)


def _between(before: Mapping[str, Any], now: Mapping[str, Any]) -> Change | None:
    node, name = now["node"], now.get("name", "envoy")
    if now["kind"] == SampleKind.PROCESS and not name.startswith(LOAD):
        if before["pid"] != now["pid"]:
            pids = {"before": before["pid"], "after": now["pid"]}
            return Change(Kind.PID_CHANGED, name, node, pids)
    elif now["kind"] == SampleKind.PLACES:
        if now["replaced"] > before["replaced"]:
            count = {"count": now["replaced"] - before["replaced"]}
            return Change(Kind.WORKERS_REPLACED, name, node, count)
    elif now["kind"] == SampleKind.ENVOY:
        if now.get(UPTIME, 0) < before.get(UPTIME, 0):
            return Change(Kind.ENVOY_RESTARTED, name, node)
        if now.get(HEALTHY, 0) < before.get(HEALTHY, 0):
            healthy, total = now[HEALTHY], now.get(TOTAL, 0)
            return Change(
                Kind.WORKERS_UNHEALTHY, name, node, {"count": total - healthy, "total": total}
            )
    return None
