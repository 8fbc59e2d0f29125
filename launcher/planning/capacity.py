"""How many sessions each limit allows, and which limit binds first. Pure."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
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
from launcher.system.machine import Machine, SPARE_DESCRIPTORS


class Limit(StrEnum):
    """The values are printed, also as JSON."""

    PLACES = "places of the servers"
    SERVER_DESCRIPTORS = "descriptors of the servers"
    SERVER_MEMORY = "memory of the servers"
    ENVOY_DESCRIPTORS = "descriptors of Envoy"
    ENVOY_PORTS = "ports from Envoy to the servers"
    ENVOY_MEMORY = "memory of Envoy"
    HEALTH_CHECKS = "health checks of the servers"
    LOAD_DESCRIPTORS = "descriptors of the load workers"
    LOAD_PORTS = "ports from the load to the URL"
    LOAD_MEMORY = "memory of the load workers"
    LOCAL_MEMORY = "memory of this machine"


@dataclass(frozen=True)
class Cost:
    """`session` is the memory of one session and `process` that of a process without any, in bytes;
    `cpu` is in seconds per session: connect, reset, one step, close."""

    session: int
    process: int
    cpu: float


# Rounded up from `make bench ONLY=1,3,4,5` with the environment of this package (deploy/PERFORMANCE.md);
# each socket adds 4 KB of kernel memory. Other environments may need far more.
SERVER = Cost(session=13_000, process=80_000_000, cpu=150e-6)
ENVOY = Cost(session=62_000, process=45_000_000, cpu=300e-6)
LOAD = Cost(session=9_000, process=90_000_000, cpu=150e-6)


@dataclass(frozen=True)
class Bound:
    limit: Limit
    sessions: int
    why: str
    change: str


@dataclass(frozen=True)
class Stage:
    """A placement and the machine of every node. `load` has the load workers of each machine that
    makes the load, and is empty when that is unknown; `sources` is the number of source addresses
    when there are more than machines."""

    placement: Placement
    machines: Mapping[str, Machine]
    load: Mapping[str, int]
    sources: int = 0

    @property
    def local(self) -> bool:
        return self.placement.deployment.local

    def label(self, node: str) -> str:
        return "this machine" if self.local else node

    @property
    def servers(self) -> list[str]:
        return [server.name for server in self.placement.servers]


def bounds(stage: Stage, sessions: int | None) -> list[Bound]:
    """Every limit, the tightest first; `sessions` is the requested number."""
    limits = [*hosting_bounds(stage, sessions), *_memory(stage)]
    if stage.load:
        limits += load_bounds(stage.load, stage.machines, sessions, stage.sources)
    return sorted(limits, key=lambda bound: bound.sessions)


def hosting_bounds(stage: Stage, sessions: int | None) -> Iterator[Bound]:
    """The limits of servers and Envoy other than memory."""
    yield from _servers(stage, sessions)
    if stage.placement.envoy_node:
        yield from _envoy(stage, stage.placement.envoy_node, sessions)


def check_placement(placement: Placement, sessions: int | None, machine: Machine) -> None:
    """Raises `UsageError` when nodes like `machine` cannot hold the sessions in this placement."""
    names = [server.name for server in placement.servers]
    machines = dict.fromkeys([*names, *filter(None, [placement.envoy_node])], machine)
    limits = hosting_bounds(Stage(placement, machines, {}), sessions)
    check(sorted(limits, key=lambda bound: bound.sessions), sessions)


def check(bounds: Sequence[Bound], sessions: int | None) -> None:
    """Raises `UsageError` when a limit is below the requested sessions; `bounds` has the tightest
    first."""
    first = bounds[0]
    if sessions is not None and first.sessions < sessions:
        raise UsageError(
            f"{sessions:,} sessions cannot be held: the {first.limit} allow {first.sessions:,} "
            f"({first.why}); {first.change}"
        )


def load_bounds(
    load: Mapping[str, int],
    machines: Mapping[str, Machine],
    sessions: int | None,
    sources: int = 0,
) -> Iterator[Bound]:
    workers, addresses = sum(load.values()), max(len(load), sources)
    node, machine = _lowest(list(load), machines, lambda machine: machine.descriptors)
    each = max(0, machine.limits.sessions_per_worker)
    needed = ceil(_target(workers * each, sessions) / max(1, each))
    yield Bound(
        Limit.LOAD_DESCRIPTORS,
        workers * each,
        f"{workers:,} load worker(s) with {machine.descriptors:,} (ulimit -Hn on {node}), 1 a session",
        f"launcher grid --load-workers {needed}",
    )
    ports = min(machines[node].ports for node in load)
    needed = ceil(_target(addresses * ports, sessions) / max(1, ports))
    yield Bound(
        Limit.LOAD_PORTS,
        addresses * ports,
        f"{ports:,} ephemeral ports of each of {addresses} address(es)",
        f"--client-nodes {needed}, or without client nodes {needed} addresses of this machine "
        "(launcher grid --source-addresses)",
    )


def _target(allowed: int, sessions: int | None) -> int:
    """The number of sessions that a change should allow: the requested number, or twice the present
    limit when that is enough already."""
    return sessions if sessions is not None and sessions > allowed else 2 * allowed


def _servers(stage: Stage, sessions: int | None) -> Iterator[Bound]:
    placement, workers = stage.placement, stage.placement.endpoints
    yield _places(placement, sessions)
    node, machine = _lowest(stage.servers, stage.machines, lambda machine: machine.descriptors)
    allowed = workers * max(0, machine.limits.sessions_per_worker)
    needed = ceil(_target(allowed, sessions) / workers) + SPARE_DESCRIPTORS
    yield Bound(
        Limit.SERVER_DESCRIPTORS,
        allowed,
        f"{workers:,} worker(s) with {machine.descriptors:,} (ulimit -Hn on {stage.label(node)}), "
        "1 a session",
        f"raise the hard limit there to {needed:,}, or use more --nodes or --workers-per-node",
    )


def _places(placement: Placement, sessions: int | None) -> Bound:
    places, workers = placement.places, placement.endpoints
    target = _target(placement.capacity, sessions)
    why = f"{workers:,} worker(s) with {places:,} place(s)"
    if places < placement.deployment.max_concurrent_envs:
        each = ceil(target / places / len(placement.servers))
        why = f"{why}, as many as the app allows"
        change = f"--workers-per-node {each}, or more --nodes"
    else:
        each = ceil(target / workers)
        change = f"--max-concurrent-envs {each}, or more --nodes or --workers-per-node"
    return Bound(Limit.PLACES, placement.capacity, why, change)


def _envoy(stage: Stage, node: str, sessions: int | None) -> Iterator[Bound]:
    machine, workers = stage.machines[node], stage.placement.endpoints
    processes, label = len(stage.placement.envoys), stage.label(node)
    allowed = envoy_sessions(machine.descriptors, processes)
    target = _target(allowed, sessions)
    change = f"raise the hard limit there to {envoy_descriptors(target, processes):,}"
    if envoy_sessions(machine.descriptors):
        change = f"--envoy-processes {envoy_processes(target, machine.descriptors)}, or {change}"
    yield Bound(
        Limit.ENVOY_DESCRIPTORS,
        allowed,
        f"{processes:,} process(es) with {machine.descriptors:,} (ulimit -Hn on {label}), "
        f"{DESCRIPTORS_PER_SESSION} a session",
        change,
    )
    yield Bound(
        Limit.ENVOY_PORTS,
        workers * machine.ports,
        f"{machine.ports:,} ephemeral ports of {label} to each of {workers:,} worker(s)",
        "more --nodes or --workers-per-node, or a wider net.ipv4.ip_local_port_range there",
    )
    yield _health_checks(stage, machine, sessions)


def _health_checks(stage: Stage, machine: Machine, sessions: int | None) -> Bound:
    # Every Envoy process checks every worker of a server at the server's one control port.
    workers = max(len(server.worker_ports) for server in stage.placement.servers)
    processes = max_checked(workers)
    allowed = envoy_sessions(machine.descriptors, processes)
    needed = envoy_descriptors(_target(allowed, sessions), processes)
    return Bound(
        Limit.HEALTH_CHECKS,
        allowed,
        f"a server answers {MAX_CHECKS_A_SECOND:,} a second, so {processes:,} Envoy processes may check "
        f"its {workers:,} worker(s)",
        f"fewer --workers-per-node, or raise the hard limit (ulimit -Hn) of Envoy's node to {needed:,}, "
        "for fewer Envoy processes",
    )


def _memory(stage: Stage) -> Iterator[Bound]:
    if stage.local:
        yield _local_memory(stage)
        return
    placement = stage.placement
    workers = max(len(server.worker_ports) for server in placement.servers)
    change = "more --mem or more --nodes"
    yield _node_memory(stage, Limit.SERVER_MEMORY, stage.servers, SERVER, workers, change)
    if stage.load:
        workers = max(stage.load.values())
        change = "more --mem or more --client-nodes"
        yield _node_memory(stage, Limit.LOAD_MEMORY, list(stage.load), LOAD, workers, change)
    if node := placement.envoy_node:
        processes = len(placement.envoys)
        yield _node_memory(stage, Limit.ENVOY_MEMORY, [node], ENVOY, processes, "more --mem")


def _local_memory(stage: Stage) -> Bound:
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
    return Bound(Limit.LOCAL_MEMORY, max(0, room) // each, why, "a machine with more memory")


def _node_memory(
    stage: Stage, limit: Limit, nodes: Sequence[str], cost: Cost, processes: int, change: str
) -> Bound:
    """Sessions are distributed evenly, so the node with the least memory limits all nodes."""
    node, machine = _lowest(nodes, stage.machines, lambda machine: machine.room)
    each = max(0, machine.room - processes * cost.process) // cost.session
    why = (
        f"{machine.room / 2**30:.1f} GiB on {stage.label(node)} for {processes:,} process(es), "
        f"{cost.session // 1000} KB a session"
    )
    return Bound(limit, len(nodes) * each, why, change)


def _lowest(
    names: Sequence[str], machines: Mapping[str, Machine], value: Callable[[Machine], int]
) -> tuple[str, Machine]:
    name = min(names, key=lambda name: value(machines[name]))
    return name, machines[name]
