"""Whether a cell says something about what it meant to measure."""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

MAX_LAG = 1.0
"""Seconds that a load worker may run late; beyond, its cell tells more about it than about servers."""

SMALL_LAG, LAG_SHARE = 0.1, 0.1
"""Seconds, and a share of the median session; a load that ran later than both is worth a warning."""

MAX_CLOCK_OFFSET = 0.05
"""Seconds; moments of nodes whose clocks differ by more cannot be put in one order."""

LOST = ("LOAD_WORKER_LOST", "ROW_MISSING", "NOT_STARTED", "INTERRUPTED")
"""Sessions of which the load itself lost track."""

OF_LOAD = ("NO_DESCRIPTORS", "NO_PORTS", "LOAD_ERROR")
"""Sessions that the load could not even try."""


@dataclass(frozen=True)
class Seen:
    """A cell: its line so far, how many rows, how often which error, what run.json says of it, by how
    many seconds at most a session began before it was meant to, and how many hosts sessions reached,
    whether these succeeded or not."""

    line: Mapping[str, Any]
    rows: int
    errors: Mapping[str, int]
    facts: Mapping[str, Any]
    early: float = 0.0
    hosts: int = 0

    @property
    def workers(self) -> Mapping[str, Mapping[str, Any]]:
        return self.facts.get("workers") or {}


def lag_limit(facts: Mapping[str, Any]) -> float:
    """Seconds that a load worker may run late in the cell; asked for, it may be 0."""
    asked = _number(facts.get("max_lag"))
    return MAX_LAG if asked is None else asked


def reasons(seen: Seen) -> list[str]:
    """Why the cell is invalid; empty for a valid one."""
    return [reason for judge in REASONS if (reason := judge(seen))]


def warnings(seen: Seen) -> list[str]:
    """What to know about the cell, valid or not."""
    return [warning for judge in WARNINGS if (warning := judge(seen))]


def sessions_lost(seen: Seen) -> str | None:
    lost = seen.line["lost"]
    return f"{lost} sessions lost by the load" if lost else None


def rows_missing(seen: Seen) -> str | None:
    batch = seen.line["batch_size"]
    return f"{seen.rows} of {batch} rows" if seen.rows != batch else None


def hosts_missed(seen: Seen) -> str | None:
    """A server that fails every session it gets was reached: that is a result."""
    expected = seen.line["expected_hosts"]
    if _number(expected) is None or seen.hosts >= expected:
        return None
    if not seen.hosts and (seen.line["successful"] or not seen.line["lost"]):
        return None  # no row can tell, or all were refused, which is a result
    return f"traffic reached {seen.hosts} of {int(expected)} hosts"


def fewer_offered(seen: Seen) -> str | None:
    own = sum(seen.errors.get(kind, 0) for kind in OF_LOAD)
    if not own:
        return None
    batch = seen.line["batch_size"]
    return f"{own} of {batch} sessions were never offered ({_counts(seen.errors, OF_LOAD)})"


def ran_late(seen: Seen) -> str | None:
    limit = lag_limit(seen.facts)
    late = {name: lag for name, of in seen.workers.items() if (lag := _lag(of)) > limit}
    if late:
        each = ", ".join(f"{name} by {lag:.2f} s" for name, lag in sorted(late.items()))
        return f"the load ran late: {each} (limit {limit:g} s)"
    lag = _number(seen.line["load_lag"]) or 0.0
    return f"the load ran late by {lag:.2f} s (limit {limit:g} s)" if lag > limit else None


def worker_lost(seen: Seen) -> str | None:
    lost = seen.facts.get("lost_workers")
    return f"load worker lost: {', '.join(lost)}" if lost else None


def replaced(seen: Seen) -> str | None:
    gone = seen.facts.get("replaced")
    return f"replaced in the middle: {', '.join(gone)}" if gone else None


def shares_node(seen: Seen) -> str | None:
    shares = seen.facts.get("shares_node")
    return "the load shared a node with what it measured" if shares else None


def counts_differ(seen: Seen) -> str | None:
    clients, servers = seen.line["open_clients"], seen.line["open_servers"]
    if _number(clients) is None or _number(servers) is None or clients == servers:
        return None
    return f"clients counted {clients} open sessions, servers {servers}"


def clocks_differ(seen: Seen) -> str | None:
    offsets = {name: _number(of.get("clock_offset")) or 0.0 for name, of in seen.workers.items()}
    off = {name: by for name, by in offsets.items() if abs(by) > MAX_CLOCK_OFFSET}
    if not off:
        return None
    each = ", ".join(f"{name} by {by:+.3f} s" for name, by in sorted(off.items()))
    return f"clocks differ from the load master's: {each}"


def began_early(seen: Seen) -> str | None:
    if seen.early <= MAX_CLOCK_OFFSET:
        return None
    return f"sessions began up to {seen.early:.3f} s before they were meant to: clocks differ"


def all_failed(seen: Seen) -> str | None:
    return None if seen.line["successful"] else "no session succeeded"


def lag_counts(seen: Seen) -> str | None:
    lag, p50 = _number(seen.line["load_lag"]), _number(seen.line["total_p50"])
    if lag is None or p50 is None or ran_late(seen) or lag <= max(SMALL_LAG, LAG_SHARE * p50):
        return None
    return f"the load ran up to {lag:.2f} s late: latencies are in part its own"


def hosts_untold(seen: Seen) -> str | None:
    untold = seen.line["successful"] and not seen.hosts
    return "hosts cannot be told: no row names one" if untold else None


Judge = Callable[[Seen], str | None]

REASONS: tuple[Judge, ...] = (
    sessions_lost,
    rows_missing,
    hosts_missed,
    fewer_offered,
    ran_late,
    worker_lost,
    replaced,
    shares_node,
)

PASSING: tuple[Judge, ...] = (sessions_lost, rows_missing, ran_late, worker_lost, replaced)
"""Reasons that may be gone when the cell is run again."""

TEXTS: Mapping[Judge, str] = {
    sessions_lost: r"\d+ sessions lost by the load$",
    rows_missing: r"\d+ of \d+ rows$",
    hosts_missed: r"traffic reached \d+ of \d+ hosts$",
    fewer_offered: r"\d+ of \d+ sessions were never offered ",
    ran_late: r"the load ran late(:| by) ",
    worker_lost: r"load worker lost: ",
    replaced: r"replaced in the middle: ",
    shares_node: r"the load shared a node with what it measured$",
}
"""How the text of each reason begins, or what it is."""


def worth_again(reasons: str) -> bool:
    """Whether a cell with these reasons, as its line has them, may be valid when it is run again."""
    return any(re.match(TEXTS[judge], one) for judge in PASSING for one in reasons.split("; "))


WARNINGS: tuple[Judge, ...] = (
    counts_differ,
    clocks_differ,
    began_early,
    all_failed,
    lag_counts,
    hosts_untold,
)


def _lag(worker: Mapping[str, Any]) -> float:
    return _number(worker.get("lag_max")) or 0.0


def _number(value: Any) -> float | None:
    return None if value is None or math.isnan(value) else float(value)


def _counts(errors: Mapping[str, int], kinds: tuple[str, ...]) -> str:
    return " ".join(f"{kind}:{errors[kind]}" for kind in kinds if errors.get(kind))
