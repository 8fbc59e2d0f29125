"""What a number of sessions needs on the nodes of a deployment, one row per role. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil

from launcher.deployment.placement import Placement
from launcher.envoy.capacity import envoy_descriptors
from launcher.planning.capacity import Bound, bounds, Cost, ENVOY, LOAD, SERVER, Stage
from launcher.planning.sizing import load_by_machine, load_machines, MIN_LOAD_WORKERS
from launcher.system.machine import Machine, SPARE_DESCRIPTORS

LOAD_HERE = "here"


@dataclass(frozen=True)
class Assumed:
    cores: int
    machine: Machine


@dataclass(frozen=True)
class Row:
    """One node of a role. `memory` and `room` (what the node has) are in bytes; `cpu` is in seconds
    on one core for all its sessions. Each process needs `descriptors` of at most `limit`."""

    role: str
    nodes: int
    processes: int
    threads: int
    ports: str
    sessions: int
    descriptors: int
    limit: int
    memory: int
    room: int
    cpu: float


@dataclass(frozen=True)
class Needs:
    """`clients` is how many client nodes the load needs when the deployment has none; `bounds` has the
    tightest limit first."""

    sessions: int
    rows: tuple[Row, ...]
    bounds: tuple[Bound, ...]
    clients: int


def needs(placement: Placement, nodes: Assumed, sessions: int) -> Needs:
    load, clients = _load(placement, nodes, sessions)
    local = placement.deployment.local
    sources = load_machines(sessions, nodes.machine.limits) if local else 0
    names = [LOAD_HERE, *(process.node for process in placement.processes), *load]
    stage = Stage(placement, dict.fromkeys(names, nodes.machine), load, sources)
    rows = (
        *_hosting(placement, nodes.machine, sessions),
        _loading(nodes, load, sessions, clients or sources),
    )
    return Needs(sessions, rows, tuple(bounds(stage, sessions)), clients)


def _load(placement: Placement, nodes: Assumed, sessions: int) -> tuple[dict[str, int], int]:
    """The load workers of each machine that makes the load. Without client nodes there are none, and
    the second value is how many client nodes the load would need."""
    if placement.deployment.local:
        cores = {LOAD_HERE: max(MIN_LOAD_WORKERS, nodes.cores)}
    else:
        cores = {node.name: nodes.cores for node in placement.client_nodes}
    if cores:
        return load_by_machine(sessions, cores, nodes.machine.limits), 0
    room = nodes.machine.room - nodes.cores * LOAD.process
    by_memory = ceil(sessions * LOAD.session / max(1, room))
    return {}, max(load_machines(sessions, nodes.machine.limits), by_memory)


def _hosting(placement: Placement, machine: Machine, sessions: int) -> Iterator[Row]:
    deployment, servers = placement.deployment, placement.servers
    if placement.envoys:
        count = len(placement.envoys)
        ports = [deployment.envoy_port, *(envoy.admin_port for envoy in placement.envoys)]
        yield replace(
            _row("Envoy", 1, count, ENVOY, machine, sessions),
            threads=placement.envoy_threads,
            ports=ranges(ports),
            descriptors=envoy_descriptors(sessions, count),
        )
    workers = max(len(server.worker_ports) for server in servers)
    row = _row("server", len(servers), workers, SERVER, machine, sessions)
    yield replace(row, ports=ranges(placement.ports.all(workers)))


def _loading(nodes: Assumed, load: Mapping[str, int], sessions: int, addresses: int) -> Row:
    if LOAD_HERE in load:
        row = _row("load", 1, load[LOAD_HERE], LOAD, nodes.machine, sessions)
        return replace(row, ports=f"from {addresses} address(es)")
    if load:
        return _row("load", len(load), max(load.values()), LOAD, nodes.machine, sessions)
    cores = {str(number): nodes.cores for number in range(addresses)}
    workers = load_by_machine(sessions, cores, nodes.machine.limits)["0"]
    return _row("load (wanted)", addresses, workers, LOAD, nodes.machine, sessions)


def _row(role: str, nodes: int, processes: int, cost: Cost, machine: Machine, sessions: int) -> Row:
    per_node = ceil(sessions / nodes)
    needed = ceil(per_node / processes) + SPARE_DESCRIPTORS
    memory = per_node * cost.session + processes * cost.process
    limit, room, cpu = machine.descriptors, machine.room, per_node * cost.cpu
    return Row(role, nodes, processes, 1, "", per_node, needed, limit, memory, room, cpu)


def ranges(ports: Sequence[int]) -> str:
    """Ports in short notation: 8000-8003,9901."""
    runs: list[list[int]] = []
    for port in sorted(ports):
        if runs and port == runs[-1][-1] + 1:
            runs[-1].append(port)
        else:
            runs.append([port])
    return ",".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)
