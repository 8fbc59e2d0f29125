"""Codes for why a cell is invalid, what to know about it and what limited it. Decisions use the codes;
their texts are made here when a line is printed or written."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Bound(StrEnum):
    """What limited a cell; the values are those of `bound` in summary.csv and run.json."""

    ADMISSION = "admission cap"
    BREAKER = "Envoy breaker"
    ENVOY_CPU = "Envoy CPU"
    DESCRIPTORS = "descriptors"
    PORTS = "ports"
    SERVER_CPU = "server CPU"
    SKEW = "accept skew"
    LOAD = "load generator"
    MAX_BATCH = "--max-batch"
    UNKNOWN = "unknown"


class Reason(StrEnum):
    """Why a cell is invalid."""

    SESSIONS_LOST = "sessions_lost"
    ROWS_MISSING = "rows_missing"
    HOSTS_MISSED = "hosts_missed"
    NOT_ATTEMPTED = "not_attempted"
    LOAD_LATE = "load_late"
    LOAD_WORKER_LOST = "load_worker_lost"
    DEPLOYMENT_CHANGED = "deployment_changed"
    NODE_SHARED = "node_shared"

    @property
    def is_transient(self) -> bool:
        """Whether another attempt at the cell may be valid."""
        return self not in (Reason.HOSTS_MISSED, Reason.NOT_ATTEMPTED, Reason.NODE_SHARED)


class Caution(StrEnum):
    """What a reader should know about a cell, valid or not."""

    COUNTS_DIFFER = "counts_differ"
    CLOCKS_DIFFER = "clocks_differ"
    STARTED_EARLY = "started_early"
    ALL_FAILED = "all_failed"
    LAG_IN_LATENCIES = "lag_in_latencies"
    HOSTS_UNKNOWN = "hosts_unknown"


@dataclass(frozen=True)
class Finding:
    """A code, and the values that its text names."""

    code: Reason | Caution
    values: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        shown = {name: _shown(value) for name, value in self.values.items()}
        return TEXTS[self.code].format(**shown)


class Findings(tuple[Finding, ...]):
    """All findings of one kind about a cell; as text, separated by semicolons."""

    @property
    def codes(self) -> frozenset[Reason | Caution]:
        return frozenset(finding.code for finding in self)

    def __str__(self) -> str:
        return "; ".join(map(str, self))


class Counts(dict[str, int]):
    """How often each name occurs, the most frequent first; as text, `TIMEOUT:3 HTTP_503:1`."""

    def __str__(self) -> str:
        return " ".join(f"{error}:{count}" for error, count in self.items())


TEXTS: Mapping[Reason | Caution, str] = {
    Reason.SESSIONS_LOST: "the load generator lost {lost} of {batch} sessions",
    Reason.ROWS_MISSING: "{rows} rows were recorded for {batch} sessions",
    Reason.HOSTS_MISSED: "traffic reached {reached} of {expected} hosts",
    Reason.NOT_ATTEMPTED: "the load generator could not attempt {count} of {batch} sessions ({errors})",
    Reason.LOAD_LATE: "the load generator ran late: {lags} (limit {limit:g} s)",
    Reason.LOAD_WORKER_LOST: "load workers were lost: {workers}",
    Reason.DEPLOYMENT_CHANGED: "the deployment changed during the cell: {changes}",
    Reason.NODE_SHARED: "the load generator shared a node with the deployment",
    Caution.COUNTS_DIFFER: "clients counted {clients} open sessions, servers counted {servers}",
    Caution.CLOCKS_DIFFER: "clocks differ from the load master's: {offsets}",
    Caution.STARTED_EARLY: "sessions started up to {early:.3f} s before they were due: clocks differ",
    Caution.ALL_FAILED: "no session succeeded",
    Caution.LAG_IN_LATENCIES: "the load generator ran up to {lag:.2f} s late, which its latencies include",
    Caution.HOSTS_UNKNOWN: "the hosts are unknown: no row names one",
}


def _shown(value: Any) -> Any:
    if isinstance(value, Mapping) and not isinstance(value, Counts):
        return ", ".join(f"{name} by {seconds:.3f} s" for name, seconds in sorted(value.items()))
    return ", ".join(value) if isinstance(value, (list, tuple)) else value
