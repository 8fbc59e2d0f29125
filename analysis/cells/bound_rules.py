"""The rules by which a cell is judged: each looks for one kind of limit. Pure."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from analysis.cells.bound_cell import Candidate, Cause, Cell, LOAD_LOST, MAJORITY
from analysis.cells.reasons import Bound
from analysis.cells.samples import SATURATED, Usage
from analysis.cells.validity import lag_limit
from analysis.rows.error_types import ErrorType

OVERFLOWS = ("upstream_cx_overflow", "upstream_rq_pending_overflow", "upstream_rq_active_overflow",
             "upstream_rq_retry_overflow", "downstream_cx_overflow",
             "downstream_global_cx_overflow")  # fmt: skip

FULL = 0.98
PORTS_FULL = 0.95


def _places(cell: Cell) -> list[Candidate]:
    """All places are taken, or a worker is full while its siblings are not."""
    rows = cell.errors.get(ErrorType.CAPACITY_REACHED, 0)
    refused = cell.sampled.rise("places", "refused")
    used, limit = cell.places
    if not rows and not refused and not (limit and used >= limit):
        return []
    evidence = _counted(rows, f"of {cell.batch:,} sessions ended with CAPACITY_REACHED")
    evidence += [f"servers refused {refused:,} times"] * bool(refused)
    evidence += [f"at most {used:,} of {limit:,} places were in use"] * bool(limit)
    skew = _skew(cell) if (rows or refused) and not cell.through_envoy else []
    by = Bound.SKEW if skew else Bound.ADMISSION
    return [Candidate(by, "; ".join(evidence + skew), cell.share(rows))]


def _counted(count: int, what: str) -> list[str]:
    return [f"{count:,} {what}"] if count else []


def _skew(cell: Cell) -> list[str]:
    """Evidence of uneven accepts. Without Envoy the kernel distributes connections, and a full worker
    cannot hand one over."""
    for (node, _, name), series in cell.sampled.of("places").items():
        for sample in series:
            count, used, limit = sample["count"], sample["used"], sample["limit"]
            if count > 1 and sample["most"] >= limit / count and used <= 0.9 * limit:
                return [
                    f"a worker of {name} on {node} was full with {sample['most']:,} sessions while its "
                    f"{count} workers held {used / count:,.0f} on average"
                ]
    capacity = cell.caps.get("capacity")
    if capacity and cell.batch <= capacity and (cell.caps.get("workers_per_node") or 0) > 1:
        return [f"there were {capacity:,} places for {cell.batch:,} sessions"]
    return []


def _breaker(cell: Cell) -> list[Candidate]:
    counts = {name: cell.sampled.rise("envoy", name) for name in OVERFLOWS}
    grown = [f"{name} grew by {count:,}" for name, count in counts.items() if count]
    answered = cell.errors.get("HTTP_503", 0) if Cause.OVERFLOW in cell.causes else 0
    if not grown and not answered:
        return []
    evidence = _counted(answered, "sessions ended with 503 (overflow) from Envoy") + grown
    explained = min(cell.unexplained, max(sum(counts.values()), answered))
    return [Candidate(Bound.BREAKER, "; ".join(evidence), cell.share(explained))]


def _descriptors(cell: Cell) -> list[Candidate]:
    rows = cell.errors.get(ErrorType.NO_DESCRIPTORS, 0)
    full = [usage for usage in cell.sampled.usages("") if usage.fullness >= FULL]
    evidence = _counted(rows, "sessions failed because their load worker had no descriptor")
    evidence += [
        f"{each.name} on {each.node} had {each.fds:,} of {each.fd_limit:,} descriptors open"
        for each in full
    ]
    if not evidence:
        return []
    serving = any(not usage.name.startswith("load-") for usage in full)
    explained = rows + (cell.unexplained if serving else 0)
    return [Candidate(Bound.DESCRIPTORS, "; ".join(evidence), cell.share(explained))]


def _ports(cell: Cell) -> list[Candidate]:
    rows = cell.errors.get(ErrorType.NO_PORTS, 0)
    evidence = _counted(rows, "sessions failed because their load worker had no port")
    failures = cell.sampled.rise("envoy", "upstream_cx_connect_fail")
    named = Cause.NO_ADDRESS in cell.causes
    spent = _ports_spent(cell) if failures else []
    short = _nodes_short_of_ports(cell) if failures and not spent else []
    if named or spent or short:
        evidence += [f"Envoy failed to connect {failures:,} times"]
        evidence += ["an error names an unavailable local address"] * named + spent + short
    if not evidence:
        return []
    explained = rows + (cell.unexplained if named or spent else 0)
    return [Candidate(Bound.PORTS, "; ".join(evidence), cell.share(explained))]


def _ports_spent(cell: Cell) -> list[str]:
    """Each ephemeral port of Envoy's node carries one connection to each worker."""
    active = max(cell.sampled.peaks("envoy", "upstream_cx_active").values(), default=0)
    workers = max(cell.sampled.peaks("envoy", "membership_total").values(), default=0)
    ports = min((series[-1]["ports"] for series in _envoys_machines(cell).values()), default=0)
    if not ports * workers or active < PORTS_FULL * ports * workers:
        return []
    return [f"it had {active:,} connections to {workers:,} workers, with {ports:,} ports for each"]


def _nodes_short_of_ports(cell: Cell) -> list[str]:
    """Evidence but not proof, because a port carries one connection to each port of a server."""
    evidence = []
    for node, series in _envoys_machines(cell).items():
        sockets = max(sample["tcp_inuse"] + sample["tcp_tw"] for sample in series)
        ports = series[-1]["ports"]
        if 0 < PORTS_FULL * ports <= sockets:
            evidence.append(f"{node} had {sockets:,} TCP sockets with {ports:,} ports")
    return evidence


def _envoys_machines(cell: Cell) -> dict[str, Sequence[Mapping[str, Any]]]:
    """The samples of the nodes that run Envoy. A machine that represents all nodes is the only one."""
    envoys, machines = cell.sampled.of("envoy"), cell.sampled.of("node")
    nodes = {node for node, _, _ in (envoys if len(machines) > 1 else machines)}
    return {node: series for (node, _, _), series in machines.items() if node in nodes}


def _load(cell: Cell) -> list[Candidate]:
    lost = sum(cell.errors.get(name, 0) for name in LOAD_LOST)
    workers = cell.facts.get("workers") or {}
    lag = max((worker.get("lag_max") or 0.0 for worker in workers.values()), default=0.0)
    late = lag > lag_limit(cell.facts)
    busy = [usage for usage in cell.sampled.usages("load-") if usage.saturated >= MAJORITY]
    strain = [_busy_thread(cell, max(busy, key=lambda usage: usage.busiest))] if busy else []
    strain = strain or [
        f"{name} ran or waited for a CPU {share:.0%} of the time"
        for name, share in map(_own_share, workers.items())
        if share >= SATURATED
    ]
    strain += [f"a load worker ran {lag:.1f} s late"] * late
    evidence = (
        _counted(lost, f"of {cell.batch:,} sessions were lost by the load generator") + strain
    )
    if not evidence:
        return []
    return [Candidate(Bound.LOAD, "; ".join(evidence), cell.share(lost), bool(strain))]


def _own_share(worker: tuple[str, Mapping[str, Any]]) -> tuple[str, float]:
    """A load worker's name, and the share of time for which it reports that it needed a CPU."""
    name, facts = worker
    used = (facts.get("cpu_seconds") or 0.0) + (facts.get("wait_seconds") or 0.0)
    return name, used / facts["wall_seconds"] if facts.get("wall_seconds") else 0.0


def _server_cpu(cell: Cell) -> list[Candidate]:
    servers = [each for each in cell.sampled.usages("server-") if cell.served(each.node, each.name)]
    busy = [usage for usage in servers if usage.saturated >= MAJORITY]
    if not busy:
        return []
    busiest = max(busy, key=lambda usage: usage.busiest)
    most = len(busy) >= MAJORITY * len(servers)
    evidence = (
        f"{len(busy)} of {len(servers)} servers were CPU-bound: {_busy_thread(cell, busiest)}"
    )
    places = cell.sampled.of("places").get((busiest.node, "places", busiest.name))
    workers = places[-1]["count"] if places else 0
    alone = workers > 1 and busiest.runnable is not None and busiest.runnable < 0.6 * workers
    if alone:
        evidence += f", while its {workers} workers together kept {busiest.runnable:.1f} CPUs busy"
    by = Bound.SKEW if alone and not cell.through_envoy else Bound.SERVER_CPU
    return [Candidate(by, evidence, busy=most)]


def _envoy_cpu(cell: Cell) -> list[Candidate]:
    return [
        Candidate(Bound.ENVOY_CPU, f"Envoy was CPU-bound: {_busy_thread(cell, usage)}", busy=True)
        for usage in cell.sampled.usages("envoy")
        if usage.saturated >= MAJORITY
    ]


def _busy_thread(cell: Cell, usage: Usage) -> str:
    busy = cell.sampled.cpu_busy(usage.node)
    return (
        f"the busiest thread of {usage.name} on {usage.node} ran or waited for a CPU "
        f"{usage.busiest:.0%} of the time"
    ) + (f" (CPUs of its node: {busy:.0%} busy)" if busy is not None else "")


Rule = Callable[[Cell], list[Candidate]]

# The first of two candidates with the same rank wins. A load generator at its limit comes before the
# servers, which may have had more to give; servers come before Envoy, which waits for them.
RULES: tuple[Rule, ...] = (_breaker, _descriptors, _ports, _places, _load, _server_cpu, _envoy_cpu)
