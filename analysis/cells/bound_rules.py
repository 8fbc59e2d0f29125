"""The rules by which a cell is judged: each looks for one kind of bound. Pure."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from analysis.cells.samples import Sampled, SATURATED, Usage
from analysis.cells.validity import lag_limit, LOST

ADMISSION = "admission cap"
BREAKER = "Envoy breaker"
ENVOY_CPU = "Envoy CPU"
DESCRIPTORS = "descriptors"
PORTS = "ports"
SERVER_CPU = "server CPU"
SKEW = "accept skew"
LOAD = "load generator"

OVERFLOWS = ("upstream_cx_overflow", "upstream_rq_pending_overflow", "upstream_rq_active_overflow",
             "upstream_rq_retry_overflow", "downstream_cx_overflow",
             "downstream_global_cx_overflow")  # fmt: skip
LOAD_LOST = (*LOST, "LOAD_ERROR")
NAMED = ("CAPACITY_REACHED", "NO_DESCRIPTORS", "NO_PORTS", *LOAD_LOST)
"""Errors that say what they are from."""

NO_ADDRESS = ("cannot assign requested address", "address not available", "eaddrnotavail")
MOST = 0.5
FULL = 0.98
MOST_PORTS = 0.95


@dataclass(frozen=True)
class Candidate:
    by: str
    evidence: str
    explains: float = 0.0
    """Share of the failed sessions that it accounts for by count."""
    busy: bool = False
    """It was CPU-bound for most of the cell."""

    @property
    def rank(self) -> tuple[int, float]:
        """The lower, the more direct; from 3 on it is no more than worth a look."""
        if self.explains >= MOST:
            return 0, -self.explains
        if self.busy:
            return 1, 0.0
        return (2, -self.explains) if self.explains else (3, 0.0)


@dataclass(frozen=True)
class Cell:
    line: Mapping[str, Any]
    errors: Mapping[str, int]
    messages: str
    sampled: Sampled
    facts: Mapping[str, Any]
    caps: Mapping[str, Any]

    @property
    def batch(self) -> int:
        return int(self.line["batch_size"])

    @property
    def failed(self) -> int:
        return sum(self.errors.values())

    @property
    def unnamed(self) -> int:
        """Sessions whose error may be from anything."""
        return self.failed - sum(self.errors.get(name, 0) for name in NAMED)

    def share(self, sessions: int) -> float:
        return min(1.0, sessions / self.failed) if self.failed else 0.0

    @property
    def by_envoy(self) -> bool:
        """Whether its sessions went through Envoy; not known of an Envoy that gave no samples."""
        return self.sampled.rise("envoy", "downstream_cx_total") >= self.batch / 2

    @property
    def places(self) -> tuple[int, int]:
        """Most that were in use, and how many there were, of the servers that had sessions."""
        used = self.sampled.peaks("places", "used")
        limits = self.sampled.peaks("places", "limit")
        served = [each for each in used if self.served(each[0], each[2])]
        return sum(used[each] for each in served), sum(limits[each] for each in served)

    def served(self, node: str, name: str) -> bool:
        """Whether a server had sessions: clients may connect to one of several directly."""
        peaks = self.sampled.peaks("places", "used")
        return not any(peaks.values()) or peaks.get((node, "places", name), 1) > 0


def _places(cell: Cell) -> list[Candidate]:
    """A cap that all places have reached, or workers that are full beside others that are not."""
    rows = cell.errors.get("CAPACITY_REACHED", 0)
    refused = cell.sampled.rise("places", "refused")
    used, limit = cell.places
    if not rows and not refused and not (limit and used >= limit):
        return []
    told = [f"{rows:,} of {cell.batch:,} sessions were told CAPACITY_REACHED"] * bool(rows)
    told += [f"servers refused {refused:,} times"] * bool(refused)
    told += [f"at most {used:,} of {limit:,} places were in use"] * bool(limit)
    skew = None if cell.by_envoy or not (rows or refused) else _full_beside_others(cell)
    by = SKEW if skew else ADMISSION
    return [Candidate(by, "; ".join([*told, *([skew] if skew else [])]), cell.share(rows))]


def _full_beside_others(cell: Cell) -> str | None:
    """Of clients that connect to servers directly: the kernel deals out connections, and a worker
    that is full cannot pass one on."""
    for (node, _, name), series in cell.sampled.of("places").items():
        for sample in series:
            each = sample["limit"] / max(sample["count"], 1)
            if (
                sample["count"] > 1
                and sample["most"] >= each
                and sample["used"] <= 0.9 * sample["limit"]
            ):
                mean = sample["used"] / sample["count"]
                return (
                    f"a worker of {name} on {node} held {sample['most']:,} sessions, all it may, when "
                    f"its {sample['count']} workers held {mean:,.0f} on average"
                )
    capacity = cell.caps.get("capacity")
    if capacity and cell.batch <= capacity and (cell.caps.get("workers_per_node") or 0) > 1:
        return f"there were {capacity:,} places for {cell.batch:,} sessions"
    return None


def _breaker(cell: Cell) -> list[Candidate]:
    counts = {name: cell.sampled.rise("envoy", name) for name in OVERFLOWS}
    grown = [f"{name} grew by {count:,}" for name, count in counts.items() if count]
    said = "overflow" in cell.messages and cell.errors.get("HTTP_503", 0)
    if not grown and not said:
        return []
    told = [f"Envoy answered {said:,} sessions with 503 (overflow)"] if said else []
    explained = min(cell.unnamed, max(sum(counts.values()), said or 0))
    return [Candidate(BREAKER, "; ".join([*told, *grown]), cell.share(explained))]


def _descriptors(cell: Cell) -> list[Candidate]:
    rows = cell.errors.get("NO_DESCRIPTORS", 0)
    full = [usage for usage in cell.sampled.usages("") if usage.fullness >= FULL]
    told = [f"{rows:,} sessions found no descriptor in their load worker"] * bool(rows)
    told += [
        f"{each.name} on {each.node} had {each.fds:,} of {each.fd_limit:,} descriptors open"
        for each in full
    ]
    if not told:
        return []
    served = any(not usage.name.startswith("load-") for usage in full)
    explained = rows + (cell.unnamed if served else 0)
    return [Candidate(DESCRIPTORS, "; ".join(told), cell.share(explained))]


def _ports(cell: Cell) -> list[Candidate]:
    rows = cell.errors.get("NO_PORTS", 0)
    told = [f"{rows:,} sessions found no port in their load worker"] * bool(rows)
    refusals = cell.sampled.rise("envoy", "upstream_cx_connect_fail")
    said = any(text in cell.messages for text in NO_ADDRESS)
    spent = _ports_spent(cell) if refusals else []
    short = _nodes_short_of_ports(cell) if refusals and not spent else []
    if said or spent or short:
        told.append(f"Envoy failed to connect {refusals:,} times")
        told += ["an error says that no address was to be had"] * said + spent + short
    if not told:
        return []
    explained = rows + (cell.unnamed if said or spent else 0)
    return [Candidate(PORTS, "; ".join(told), cell.share(explained))]


def _ports_spent(cell: Cell) -> list[str]:
    """A port of Envoy's node serves one connection to each worker."""
    active = max(cell.sampled.peaks("envoy", "upstream_cx_active").values(), default=0)
    workers = max(cell.sampled.peaks("envoy", "membership_total").values(), default=0)
    ports = min((series[-1]["ports"] for series in _envoys_machines(cell).values()), default=0)
    if not ports * workers or active < MOST_PORTS * ports * workers:
        return []
    return [f"it had {active:,} connections to {workers:,} workers, with {ports:,} ports for each"]


def _nodes_short_of_ports(cell: Cell) -> list[str]:
    """Of Envoy's nodes. No proof: a port serves as many connections as there are servers' ports."""
    found = []
    for node, series in _envoys_machines(cell).items():
        most = max(sample["tcp_inuse"] + sample["tcp_tw"] for sample in series)
        ports = series[-1]["ports"]
        if 0 < MOST_PORTS * ports <= most:
            found.append(f"{node} had {most:,} TCP sockets with {ports:,} ports")
    return found


def _envoys_machines(cell: Cell) -> dict[str, Sequence[Mapping[str, Any]]]:
    """On one machine, that machine."""
    envoys, machines = cell.sampled.of("envoy"), cell.sampled.of("node")
    nodes = {node for node, _, _ in (envoys if len(machines) > 1 else machines)}
    return {node: series for (node, _, _), series in machines.items() if node in nodes}


def _load(cell: Cell) -> list[Candidate]:
    lost = sum(cell.errors.get(name, 0) for name in LOAD_LOST)
    workers = cell.facts.get("workers") or {}
    lag = max((worker.get("lag_max") or 0.0 for worker in workers.values()), default=0.0)
    late = lag > lag_limit(cell.facts)
    busy = [usage for usage in cell.sampled.usages("load-") if usage.saturated >= MOST]
    strain = [_busy_thread(cell, max(busy, key=lambda usage: usage.busiest))] if busy else []
    strain = strain or [
        f"{name} ran or waited for a CPU {share:.0%} of the time"
        for name, share in map(_own_share, workers.items())
        if share >= SATURATED
    ]
    strain += [f"a load worker ran {lag:.1f} s late"] * late
    told = [f"the load lost {lost:,} of {cell.batch:,} sessions"] * bool(lost) + strain
    return [Candidate(LOAD, "; ".join(told), cell.share(lost), bool(strain))] if told else []


def _own_share(worker: tuple[str, Mapping[str, Any]]) -> tuple[str, float]:
    """As a load worker says it of itself."""
    name, told = worker
    used = (told.get("cpu_seconds") or 0.0) + (told.get("wait_seconds") or 0.0)
    return name, used / told["wall_seconds"] if told.get("wall_seconds") else 0.0


def _server_cpu(cell: Cell) -> list[Candidate]:
    servers = [each for each in cell.sampled.usages("server-") if cell.served(each.node, each.name)]
    busy = [usage for usage in servers if usage.saturated >= MOST]
    if not busy:
        return []
    busiest = max(busy, key=lambda usage: usage.busiest)
    most = len(busy) >= MOST * len(servers)
    told = f"{len(busy)} of {len(servers)} servers were CPU-bound: {_busy_thread(cell, busiest)}"
    workers = _workers(cell, busiest)
    alone = workers > 1 and busiest.runnable is not None and busiest.runnable < 0.6 * workers
    if alone:
        told += f", while its {workers} workers together kept {busiest.runnable:.1f} CPUs busy"
    return [Candidate(SKEW if alone and not cell.by_envoy else SERVER_CPU, told, busy=most)]


def _workers(cell: Cell, usage: Usage) -> int:
    """Of a server; 0 when that is not known."""
    series = cell.sampled.of("places").get((usage.node, "places", usage.name))
    return int(series[-1]["count"]) if series else 0


def _envoy_cpu(cell: Cell) -> list[Candidate]:
    return [
        Candidate(ENVOY_CPU, f"Envoy was CPU-bound: {_busy_thread(cell, usage)}", busy=True)
        for usage in cell.sampled.usages("envoy")
        if usage.saturated >= MOST
    ]


def _busy_thread(cell: Cell, usage: Usage) -> str:
    busy = cell.sampled.cpu_busy(usage.node)
    return (
        f"the busiest thread of {usage.name} on {usage.node} ran or waited for a CPU "
        f"{usage.busiest:.0%} of the time"
    ) + (f" (CPUs of its node: {busy:.0%} busy)" if busy is not None else "")


Rule = Callable[[Cell], list[Candidate]]
RULES: tuple[Rule, ...] = (
    *(_breaker, _descriptors, _ports, _places),
    *(_load, _server_cpu, _envoy_cpu),
)
"""Of two that rank alike, the first counts. A load that is at its limit comes before what it loads,
which may have had more to give; servers come before Envoy, which waits for them."""
