"""All the checks of a visit, and what binds first."""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import ceil

from launcher.checks import kernel, network, software
from launcher.checks.findings import Finding, Verdict
from launcher.checks.survey import listening, Visit, visit
from launcher.deployment.spec import Deployment
from launcher.planning.capacity import Bound, bounds, limits_of, Stage
from launcher.planning.sizing import load_machines, load_workers, MIN_LOAD_WORKERS
from launcher.system.machine import Machine, machine

SPARE_THREADS = 64


@dataclass(frozen=True)
class Diagnosis:
    """`bounds` has the tightest limit first; `room` is what they say of the sessions wanted."""

    visit: Visit
    findings: tuple[Finding, ...]
    bounds: tuple[Bound, ...]
    room: tuple[Finding, ...]

    @property
    def ok(self) -> bool:
        return all(finding.verdict is not Verdict.FAIL for finding in (*self.findings, *self.room))


def examine(
    deployment: Deployment, sessions: int | None, report: Callable[[str], None]
) -> Diagnosis:
    """Raises as `visit` does."""
    seen = visit(deployment, report)
    return diagnose(seen, machine(), sessions)


def diagnose(seen: Visit, here: Machine, sessions: int | None) -> Diagnosis:
    """`here` is the machine of the launcher."""
    limits = bounds(stage(seen, here), sessions)
    found = tuple(findings(seen, here, sessions))
    return Diagnosis(seen, found, tuple(limits), tuple(room(limits, sessions)))


def findings(seen: Visit, here: Machine, sessions: int | None) -> Iterator[Finding]:
    views, machines = seen.views, kernel.machines(seen.views)
    yield kernel.descriptors(machines)
    yield kernel.processes(machines, threads(seen))
    yield kernel.ports(machines, on_machines(seen))
    yield kernel.backlog(machines, at_once(seen, sessions))
    yield kernel.memory(machines)
    yield software.python(machines, here)
    yield from software.programs(views)
    if seen.placement.deployment.in_containers:
        yield software.apptainer(views)
        yield from software.images(views)
    yield software.folder(views, seen.placement.deployment.folder.absolute())
    yield network.taken(views)
    if not seen.placement.deployment.local:
        yield network.names(views)
        yield network.clocks(seen.skews)
    yield network.proxies(machines, [node.name for node in seen.nodes])


def threads(seen: Visit) -> int:
    """The most processes and threads that a node will run: a server's workers, Envoy's threads, or
    load workers."""
    placement = seen.placement
    workers = [len(server.worker_ports) for server in placement.servers]
    clients = [node.cores for node in placement.client_nodes]
    envoy = placement.envoy_threads * max(1, len(placement.envoys))
    most = max([envoy, *workers, *clients])
    if placement.deployment.local:
        most = envoy + sum(workers)
    return most + SPARE_THREADS


def at_once(seen: Visit, sessions: int | None) -> dict[str, int]:
    """How many connections of a burst come to one listening socket of each node: Envoy has one a
    thread, a server one a worker."""
    placement = seen.placement
    if sessions is None:
        return dict.fromkeys(seen.views, kernel.LOW_BACKLOG)
    each = {server.name: ceil(sessions / placement.endpoints) for server in placement.servers}
    if placement.envoy_node:
        sockets = placement.envoy_threads * len(placement.envoys)
        each[placement.envoy_node] = ceil(sessions / sockets)
    return each if not placement.deployment.local else dict.fromkeys(seen.views, max(each.values()))


def on_machines(seen: Visit) -> dict[str, list[int]]:
    """The ports that each machine listens on."""
    ports = listening(seen.placement)
    if not seen.placement.deployment.local:
        return ports
    return {next(iter(seen.views)): sorted({port for each in ports.values() for port in each})}


def stage(seen: Visit, here: Machine) -> Stage:
    placement, machines = seen.placement, kernel.machines(seen.views)
    if placement.deployment.local:
        machines = {node.name: here for node in seen.nodes}
    name = os.uname().nodename
    wanted, sources = placement.deployment.sessions or 0, 0
    load = {node.name: node.cores for node in placement.client_nodes}
    if not load or placement.deployment.local:
        load = {name: max(MIN_LOAD_WORKERS, len(os.sched_getaffinity(0)))}
    machines = {name: here} | machines
    limits = limits_of(machines[next(iter(load))])
    if wanted > sum(load.values()) * limits.sessions_per_worker:
        each = ceil(load_workers(wanted, load, limits) / len(load))
        load = dict.fromkeys(load, each)
    if placement.deployment.local:
        sources = load_machines(wanted, limits)
    return Stage(placement, machines, load, sources)


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
