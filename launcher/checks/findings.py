"""What a check finds: good or bad, on which nodes, and what to do. Pure."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

SHOWN = 6

Views = Mapping[str, Mapping[str, Any]]
"""What was seen, by node."""


class Verdict(StrEnum):
    OK = "OK"
    WARN = "WARN"
    FAIL = "FAIL"


@dataclass(frozen=True)
class Finding:
    check: str
    verdict: Verdict
    nodes: tuple[str, ...]
    detail: str
    advice: str = ""


def ok(check: str, detail: str) -> Finding:
    return Finding(check, Verdict.OK, (), detail)


def listed(names: Iterable[str]) -> str:
    every = list(dict.fromkeys(names))
    more = f" and {len(every) - SHOWN} more" if len(every) > SHOWN else ""
    return ", ".join(every[:SHOWN]) + more


def everywhere(nodes: Iterable[str]) -> str:
    every = list(nodes)
    return "on every node" if len(every) > 1 else f"on {every[0]}"


def lowest(
    check: str,
    values: Mapping[str, int],
    fail: int,
    warn: int,
    say: Callable[[int], str],
    advice: str,
) -> Finding:
    """FAIL for nodes below `fail`; WARN for those below `warn`, or below what most others have."""
    counts = list(values.values())
    usual = max(set(counts), key=lambda value: (counts.count(value), value))
    least = min(counts)
    bad = tuple(node for node, value in values.items() if value < fail)
    low = tuple(node for node, value in values.items() if value < max(warn, usual))
    if not low:
        return ok(check, f"{say(least)} {everywhere(values)}")
    verdict, nodes = (Verdict.FAIL, bad) if bad else (Verdict.WARN, low)
    some = max(values[node] for node in nodes)
    extent = say(least) if some == least else f"{say(least)} and more"
    others = f"; {say(usual)} elsewhere" if usual > some else ""
    return Finding(check, verdict, nodes, f"{extent} on {listed(nodes)}{others}", advice)
