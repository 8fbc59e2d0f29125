"""How many sessions each limit allows, and which binds first. Pure."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import ceil

from launcher.doctor.findings import Finding, Verdict
from launcher.limits import (
    DESCRIPTORS_PER_SESSION,
    envoy_descriptors,
    envoy_processes,
    envoy_sessions,
    SPARE_DESCRIPTORS,
)
from launcher.machine import Machine
from launcher.placement import Placement

ENVOY_BYTES, SERVER_BYTES, LOAD_BYTES = 55_000, 35_000, 25_000
"""Memory that a session takes of each, rounded up. Measured with the environment that comes with this
package: what `launcher grid -n 8000 --wait 15` added to the memory of Envoy, of a server with two
workers and of two load workers (USS, against -n 10) was 52, 34 and 20 KB a session. An environment of
your own may need far more."""


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
    load workers of those."""

    placement: Placement
    machines: Mapping[str, Machine]
    load: Mapping[str, int]

    @property
    def local(self) -> bool:
        return self.placement.deployment.local

    def at(self, node: str) -> str:
        return "this machine" if self.local else node

    @property
    def servers(self) -> list[str]:
        return [server.name for server in self.placement.servers]


def bounds(stage: Stage, sessions: int | None) -> list[Bound]:
    """The tightest first; `sessions` is how many are wanted."""
    load = load_bounds(stage.load, stage.machines, sessions)
    found = [*_servers(stage, sessions), *load, *_memory(stage)]
    if stage.placement.envoy_node:
        found += _envoy(stage, stage.placement.envoy_node, sessions)
    return sorted(found, key=lambda bound: bound.sessions)


def load_bounds(
    load: Mapping[str, int], machines: Mapping[str, Machine], sessions: int | None
) -> Iterator[Bound]:
    """`load` has the load workers of each machine that makes the load."""
    workers, sources = sum(load.values()), len(load)
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
        f"{fewest:,} ephemeral ports of each of {sources} machine(s)",
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


def _memory(stage: Stage) -> Iterator[Bound]:
    """A machine that all is on has one memory for all."""
    if stage.local:
        envoy = ENVOY_BYTES if stage.placement.envoy_node else 0
        everything = (SERVER_BYTES + envoy + LOAD_BYTES, "a machine with more memory")
        yield _fits(stage, "memory of this machine", list(stage.load), *everything)
        return
    more = "more --mem or more --nodes"
    yield _fits(stage, "memory of the servers", stage.servers, SERVER_BYTES, more)
    more = "more --mem or more --client-nodes"
    yield _fits(stage, "memory of the load workers", list(stage.load), LOAD_BYTES, more)
    if node := stage.placement.envoy_node:
        yield _fits(stage, "memory of Envoy", [node], ENVOY_BYTES, "more --mem")


def _fits(stage: Stage, limit: str, nodes: Sequence[str], each: int, change: str) -> Bound:
    """Sessions are dealt out evenly: the node with the least room counts for all."""
    node, machine = _lowest(nodes, stage.machines, lambda machine: machine.room)
    why = f"{machine.room / 2**30:.1f} GiB on {stage.at(node)}, {each // 1000} KB a session"
    return Bound(limit, len(nodes) * (machine.room // each), why, change)


def _lowest(
    names: Sequence[str], machines: Mapping[str, Machine], what: Callable[[Machine], int]
) -> tuple[str, Machine]:
    name = min(names, key=lambda name: what(machines[name]))
    return name, machines[name]


def room(found: Sequence[Bound], sessions: int | None) -> Iterator[Finding]:
    """Whether the sessions that are wanted fit: a finding for each limit that is in the way.
    `found` has the tightest first."""
    first = found[0]
    if sessions is None or first.sessions >= sessions:
        wanted = "" if sessions is None else f"{sessions:,} fit; "
        told = f"{wanted}the {first.limit} bind first, at {first.sessions:,}"
        yield Finding("sessions", Verdict.OK, (), told, f"for more: {first.change}")
        return
    for bound in found:
        if bound.sessions < sessions:
            told = f"the {bound.limit} allow {bound.sessions:,} of {sessions:,}"
            yield Finding("sessions", Verdict.FAIL, (), told, bound.change)
