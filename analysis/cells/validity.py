"""Whether a cell measured what it was meant to measure: why it is invalid, and what to know about it."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from analysis.cells.reasons import Caution, Counts, Finding, Findings, Reason
from analysis.rows.error_types import ErrorType

# Seconds. When a load worker ran later than this, its cell measured the load more than the servers.
MAX_LAG = 1.0

# A lag above both these seconds and this share of the median session is worth a warning.
SMALL_LAG, LAG_SHARE = 0.1, 0.1

# Seconds. Timestamps of nodes whose clocks differ by more cannot be ordered.
MAX_CLOCK_OFFSET = 0.05

# Errors of sessions whose result the load generator lost.
LOST = (ErrorType.LOAD_WORKER_LOST, ErrorType.ROW_MISSING, ErrorType.NOT_STARTED,
        ErrorType.INTERRUPTED)  # fmt: skip

# Errors of sessions that the load generator could not attempt.
NOT_ATTEMPTED = (ErrorType.NO_DESCRIPTORS, ErrorType.NO_PORTS, ErrorType.LOAD_ERROR)


# The values that a finding's text names; None when there is nothing to report.
Values = Mapping[str, Any] | None


@dataclass(frozen=True)
class Observed:
    """`line` is the summary of the cell so far, `facts` its entry in run.json, `early` the most seconds
    by which a session started before it was due, `hosts` how many hosts its sessions reached."""

    line: Mapping[str, Any]
    rows: int
    errors: Mapping[str, int]
    facts: Mapping[str, Any]
    early: float
    hosts: int

    @property
    def workers(self) -> Mapping[str, Mapping[str, Any]]:
        return self.facts.get("workers") or {}

    @property
    def batch(self) -> int:
        return int(self.line["batch_size"])


Judge = Callable[[Observed], Values]


def lag_limit(facts: Mapping[str, Any]) -> float:
    """Seconds that a load worker may run late. A requested limit of 0 is a limit."""
    requested = _number(facts.get("max_lag"))
    return MAX_LAG if requested is None else requested


def reasons(cell: Observed) -> Findings:
    """Why the cell is invalid; empty when it is valid."""
    return _findings(REASONS, cell)


def warnings(cell: Observed) -> Findings:
    return _findings(CAUTIONS, cell)


def _findings(judges: Mapping[Any, Judge], cell: Observed) -> Findings:
    judged = ((code, judge(cell)) for code, judge in judges.items())
    return Findings(Finding(code, values) for code, values in judged if values is not None)


def _hosts_missed(cell: Observed) -> Values:
    """A server that fails all its sessions was reached: that is a result."""
    expected = cell.line["expected_hosts"]
    if _number(expected) is None or cell.hosts >= expected:
        return None
    if not cell.hosts and (cell.line["successful"] or not cell.line["lost"]):
        return None  # no row names a host, or servers refused all sessions, which is a result
    return {"reached": cell.hosts, "expected": int(expected)}


def _not_attempted(cell: Observed) -> Values:
    counts = {str(error): n for error in NOT_ATTEMPTED if (n := cell.errors.get(error, 0))}
    return _when(counts, count=sum(counts.values()), batch=cell.batch, errors=Counts(counts))


def _load_late(cell: Observed) -> Values:
    limit = lag_limit(cell.facts)
    lags = {name: _number(worker.get("lag_max")) for name, worker in cell.workers.items()}
    late = {name: lag for name, lag in lags.items() if lag is not None and lag > limit}
    lag = _number(cell.line["load_lag"])
    if not late and lag is not None and lag > limit:
        late = {"one session": lag}  # the facts of another tool's cell name no load workers
    return _when(late, lags=late, limit=limit)


def _counts_differ(cell: Observed) -> Values:
    clients, servers = cell.line["open_clients"], cell.line["open_servers"]
    if _number(clients) is None or _number(servers) is None or clients == servers:
        return None
    return {"clients": clients, "servers": servers}


def _clocks_differ(cell: Observed) -> Values:
    offsets = {name: _number(worker.get("clock_offset")) for name, worker in cell.workers.items()}
    off = {n: by for n, by in offsets.items() if by is not None and abs(by) > MAX_CLOCK_OFFSET}
    return _when(off, offsets=off)


def _lag_in_latencies(cell: Observed) -> Values:
    lag, p50 = _number(cell.line["load_lag"]), _number(cell.line["total_p50"])
    if lag is None or p50 is None or _load_late(cell) or lag <= max(SMALL_LAG, LAG_SHARE * p50):
        return None
    return {"lag": lag}


def _when(condition: Any, **values: Any) -> Values:
    return values if condition else None


REASONS: Mapping[Reason, Judge] = {
    Reason.SESSIONS_LOST: lambda c: _when(c.line["lost"], lost=c.line["lost"], batch=c.batch),
    Reason.ROWS_MISSING: lambda c: _when(c.rows != c.batch, rows=c.rows, batch=c.batch),
    Reason.HOSTS_MISSED: _hosts_missed,
    Reason.NOT_ATTEMPTED: _not_attempted,
    Reason.LOAD_LATE: _load_late,
    Reason.LOAD_WORKER_LOST: lambda c: _when(lost := c.facts.get("lost_workers"), workers=lost),
    Reason.DEPLOYMENT_CHANGED: lambda c: _when(texts := c.facts.get("replaced"), changes=texts),
    Reason.NODE_SHARED: lambda c: _when(c.facts.get("shares_node")),
}

CAUTIONS: Mapping[Caution, Judge] = {
    Caution.COUNTS_DIFFER: _counts_differ,
    Caution.CLOCKS_DIFFER: _clocks_differ,
    Caution.STARTED_EARLY: lambda c: _when(c.early > MAX_CLOCK_OFFSET, early=c.early),
    Caution.ALL_FAILED: lambda c: _when(not c.line["successful"]),
    Caution.LAG_IN_LATENCIES: _lag_in_latencies,
    Caution.HOSTS_UNKNOWN: lambda c: _when(c.line["successful"] and not c.hosts),
}


def _number(value: Any) -> float | None:
    return None if value is None or math.isnan(value) else float(value)
