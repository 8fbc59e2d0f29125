"""How many sessions each limit allows, and which binds first. Pure."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import ceil

from launcher.deployment.placement import Placement
from launcher.envoy.capacity import (
    DESCRIPTORS_PER_SESSION,
    envoy_descriptors,
    envoy_processes,
    envoy_sessions,
)
from launcher.envoy.config import max_checked, MAX_CHECKS_A_SECOND
from launcher.errors import UsageError
from launcher.system.machine import Limits, Machine, machine, SPARE_DESCRIPTORS


@dataclass(frozen=True)
class Cost:
    """`session` and `process` are bytes; `cpu` is seconds a session: connect, reset, step, close."""

    session: int
    process: int
    cpu: float


SERVER = Cost(session=13_000, process=80_000_000, cpu=150e-6)
ENVOY = Cost(session=62_000, process=45_000_000, cpu=300e-6)
LOAD = Cost(session=9_000, process=90_000_000, cpu=150e-6)
"""What a session takes of each, rounded up, and what a process takes without any. Measured with the
environment that comes with this package by `make bench ONLY=1,3,4,5` (deploy/PERFORMANCE.md), with 4 KB
more for each socket, which the kernel takes. An environment of your own may need far more."""


@dataclass(frozen=True)
class Bound:
    """`change` makes room for what is wanted."""

    limit: str
    sessions: int
    why: str
    change: str


@dataclass(frozen=True)
class Stage:
    """A placement with the machine that each node is, and each that makes the load. `load` has the
    load workers of those, and is empty where nobody has said who makes it; `sources` counts their
    addresses where they are more than the machines."""

    placement: Placement
    machines: Mapping[str, Machine]
    load: Mapping[str, int]
    sources: int = 0

    @property
    def local(self) -> bool:
        return self.placement.deployment.local

    def at(self, node: str) -> str:
        return "this machine" if self.local else node

    @property
    def servers(self) -> list[str]:
        return [server.name for server in self.placement.servers]


def limits_of(machine: Machine) -> Limits:
    return Limits(machine.descriptors, machine.ports)


def bounds(stage: Stage, sessions: int | None) -> list[Bound]:
    """The tightest first; `sessions` is how many are wanted."""
    found = [*hosting(stage, sessions), *_memory(stage)]
    if stage.load:
        found += load_bounds(stage.load, stage.machines, sessions, stage.sources)
    return sorted(found, key=lambda bound: bound.sessions)


def hosting(stage: Stage, sessions: int | None) -> Iterator[Bound]:
    """Those that follow from how many of what a deployment has."""
    yield from _servers(stage, sessions)
    if stage.placement.envoy_node:
        yield from _envoy(stage, stage.placement.envoy_node, sessions)


def refuse(placement: Placement, sessions: int | None) -> None:
    """Raises `UsageError` when nodes like this machine cannot hold the sessions in this placement."""
    here = machine()
    names = [server.name for server in placement.servers]
    machines = dict.fromkeys([*names, *filter(None, [placement.envoy_node])], here)
    found = hosting(Stage(placement, machines, {}), sessions)
    check(sorted(found, key=lambda bound: bound.sessions), sessions)


def check(found: Sequence[Bound], sessions: int | None) -> None:
    """Raises `UsageError` when a limit is below what is wanted; `found` has the tightest first."""
    if sessions is not None and found[0].sessions < sessions:
        first = found[0]
        raise UsageError(
            f"{sessions:,} sessions cannot be held: the {first.limit} allow {first.sessions:,} "
            f"({first.why}); {first.change}"
        )


def load_bounds(
    load: Mapping[str, int],
    machines: Mapping[str, Machine],
    sessions: int | None,
    addresses: int = 0,
) -> Iterator[Bound]:
    """`load` has the load workers of each machine that makes the load."""
    workers, sources = sum(load.values()), max(len(load), addresses)
    node, machine = _lowest(list(load), machines, lambda machine: machine.descriptors)
    each = max(0, machine.descriptors - SPARE_DESCRIPTORS)
    needed = ceil(_target(workers * each, sessions) / max(1, each))
    yield Bound(
        "descriptors of the load workers",
        workers * each,
        f"{workers:,} load worker(s) with {machine.descriptors:,} (ulimit -Hn on {node}), 1 a session",
        f"launcher grid --load-workers {needed}",
    )
    fewest = min(machines[node].ports for node in load)
    needed = ceil(_target(sources * fewest, sessions) / max(1, fewest))
    yield Bound(
        "ports from the load to the URL",
        sources * fewest,
        f"{fewest:,} ephemeral ports of each of {sources} address(es)",
        f"--client-nodes {needed}, or without client nodes {needed} addresses of this machine "
        "(launcher grid --source-addresses)",
    )


def _target(have: int, sessions: int | None) -> int:
    """What there is to make room for: what is wanted, or, where that fits, twice as much."""
    return sessions if sessions is not None and sessions > have else 2 * have


def _servers(stage: Stage, sessions: int | None) -> Iterator[Bound]:
    placement = stage.placement
    each, count = placement.deployment.max_concurrent_envs, placement.endpoints
    needed = ceil(_target(placement.capacity, sessions) / count)
    yield Bound(
        "places of the servers",
        placement.capacity,
        f"{count:,} worker(s) with {each:,} places",
        f"--max-concurrent-envs {needed}, or more --nodes or --workers-per-node",
    )
    node, machine = _lowest(stage.servers, stage.machines, lambda machine: machine.descriptors)
    held = max(0, machine.descriptors - SPARE_DESCRIPTORS)
    needed = ceil(_target(count * held, sessions) / count) + SPARE_DESCRIPTORS
    yield Bound(
        "descriptors of the servers",
        count * held,
        f"{count:,} worker(s) with {machine.descriptors:,} (ulimit -Hn on {stage.at(node)}), 1 a session",
        f"have the hard limit there raised to {needed:,}, or use more --nodes or --workers-per-node",
    )


def _envoy(stage: Stage, node: str, sessions: int | None) -> Iterator[Bound]:
    machine, count = stage.machines[node], stage.placement.endpoints
    processes = len(stage.placement.envoys)
    held = envoy_sessions(machine.descriptors, processes)
    wanted = _target(held, sessions)
    raised = f"have the hard limit there raised to {envoy_descriptors(wanted, processes):,}"
    if envoy_sessions(machine.descriptors):
        raised = f"--envoy-processes {envoy_processes(wanted, machine.descriptors)}, or {raised}"
    yield Bound(
        "descriptors of Envoy",
        held,
        f"{processes:,} process(es) with {machine.descriptors:,} (ulimit -Hn on {stage.at(node)}), "
        f"{DESCRIPTORS_PER_SESSION} a session",
        raised,
    )
    yield Bound(
        "ports from Envoy to the servers",
        count * machine.ports,
        f"{machine.ports:,} ephemeral ports of {stage.at(node)} to each of {count:,} worker(s)",
        "more --nodes or --workers-per-node, or a wider net.ipv4.ip_local_port_range there",
    )
    yield _checks(stage, machine, sessions)


def _checks(stage: Stage, machine: Machine, sessions: int | None) -> Bound:
    """Every Envoy process checks every worker of a server, at one control port."""
    workers = max(len(server.worker_ports) for server in stage.placement.servers)
    most = max_checked(workers)
    held = envoy_sessions(machine.descriptors, most)
    needed = envoy_descriptors(_target(held, sessions), most)
    return Bound(
        "health checks of the servers",
        held,
        f"a server answers {MAX_CHECKS_A_SECOND:,} a second, so {workers:,} worker(s) of it may be checked "
        f"by {most:,} Envoy processes",
        f"fewer --workers-per-node, or have the hard limit (ulimit -Hn) of Envoy's node raised to "
        f"{needed:,}, for fewer Envoy processes",
    )


def _memory(stage: Stage) -> Iterator[Bound]:
    """A machine that all is on has one memory for all."""
    if stage.local:
        yield _memory_here(stage)
        return
    placement = stage.placement
    workers = max(len(server.worker_ports) for server in placement.servers)
    more = "more --mem or more --nodes"
    yield _fits(stage, "memory of the servers", stage.servers, SERVER, workers, more)
    if stage.load:
        most = max(stage.load.values())
        more = "more --mem or more --client-nodes"
        yield _fits(stage, "memory of the load workers", list(stage.load), LOAD, most, more)
    if node := placement.envoy_node:
        yield _fits(stage, "memory of Envoy", [node], ENVOY, len(placement.envoys), "more --mem")


def _memory_here(stage: Stage) -> Bound:
    here, placement = next(iter(stage.machines.values())), stage.placement
    parts = (
        (SERVER, placement.endpoints),
        (ENVOY, len(placement.envoys)),
        (LOAD, sum(stage.load.values())),
    )
    each = sum(cost.session for cost, processes in parts if processes)
    room = here.room - sum(cost.process * processes for cost, processes in parts)
    why = (
        f"{here.room / 2**30:.1f} GiB for {sum(count for _, count in parts):,} processes, "
        f"{each // 1000} KB a session"
    )
    held = max(0, room) // each
    return Bound("memory of this machine", held, why, "a machine with more memory")


def _fits(
    stage: Stage, limit: str, nodes: Sequence[str], cost: Cost, processes: int, change: str
) -> Bound:
    """Sessions are dealt out evenly: the node with the least room counts for all."""
    node, machine = _lowest(nodes, stage.machines, lambda machine: machine.room)
    each = max(0, machine.room - processes * cost.process) // cost.session
    why = (
        f"{machine.room / 2**30:.1f} GiB on {stage.at(node)} for {processes:,} process(es), "
        f"{cost.session // 1000} KB a session"
    )
    return Bound(limit, len(nodes) * each, why, change)


def _lowest(
    names: Sequence[str], machines: Mapping[str, Machine], what: Callable[[Machine], int]
) -> tuple[str, Machine]:
    name = min(names, key=lambda name: what(machines[name]))
    return name, machines[name]
