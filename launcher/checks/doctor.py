import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import ceil

from launcher.checks import app, kernel, network, software
from launcher.checks.survey import Survey
from launcher.planning.capacity import Bound, bounds, Stage
from launcher.planning.sizing import load_by_machine, load_machines, MIN_LOAD_WORKERS
from launcher.runtimes import node_checks
from launcher.runtimes.findings import Check, fail, Finding, Verdict
from launcher.system.machine import Machine

SPARE_THREADS = 64


@dataclass(frozen=True)
class Diagnosis:
    """`bounds` has the tightest limit first; `fit` compares them with the requested sessions."""

    survey: Survey
    findings: tuple[Finding, ...]
    bounds: tuple[Bound, ...]
    fit: tuple[Finding, ...]

    @property
    def ok(self) -> bool:
        return all(finding.passed for finding in (*self.findings, *self.fit))


def diagnose(surveyed: Survey, here: Machine, sessions: int | None) -> Diagnosis:
    """`here` is the launcher's machine."""
    limits = tuple(bounds(stage(surveyed, here), sessions))
    results = tuple(findings(surveyed, here, sessions))
    return Diagnosis(surveyed, results, limits, tuple(fit(limits, sessions)))


def findings(surveyed: Survey, here: Machine, sessions: int | None) -> Iterator[Finding]:
    placement, views = surveyed.placement, surveyed.views
    machines = kernel.machines_of(views)
    yield kernel.descriptors(machines)
    yield kernel.processes(machines, max_threads(surveyed))
    yield kernel.ports(machines, ports_by_machine(surveyed))
    yield kernel.backlog(machines, burst_per_socket(surveyed, sessions))
    yield kernel.memory(machines)
    yield software.python(machines, here)
    yield app.finding(surveyed.app, placement.deployment)
    if placement.deployment.in_containers:
        yield software.apptainer(views)
    folder = placement.deployment.folder.absolute()
    files = surveyed.files if placement.deployment.in_containers else ()
    yield from node_checks.start_checks(views, placement.processes, files, folder)
    if not placement.deployment.local:
        yield network.names(views)
        yield network.clocks(surveyed.skews)
    yield network.proxies(machines, [node.name for node in surveyed.nodes])


def max_threads(surveyed: Survey) -> int:
    """The most processes and threads that one node will run: the workers of a server, the threads of
    Envoy, or load workers."""
    placement = surveyed.placement
    workers = [len(server.worker_ports) for server in placement.servers]
    clients = [node.cores for node in placement.client_nodes]
    envoy = placement.envoy_threads * max(1, len(placement.envoys))
    if placement.deployment.local:
        return envoy + sum(workers) + SPARE_THREADS
    return max([envoy, *workers, *clients]) + SPARE_THREADS


def burst_per_socket(surveyed: Survey, sessions: int | None) -> dict[str, int]:
    """How many connections of a burst reach one listening socket of each node: Envoy has one socket
    per thread, a server one per worker."""
    placement = surveyed.placement
    if sessions is None:
        return dict.fromkeys(surveyed.views, kernel.LOW_BACKLOG)
    each = {server.name: ceil(sessions / placement.endpoints) for server in placement.servers}
    if placement.envoy_node:
        sockets = placement.envoy_threads * len(placement.envoys)
        each[placement.envoy_node] = ceil(sessions / sockets)
    if placement.deployment.local:
        return dict.fromkeys(surveyed.views, max(each.values()))
    return each


def ports_by_machine(surveyed: Survey) -> dict[str, list[int]]:
    ports = node_checks.listening_ports(surveyed.placement.processes)
    if not surveyed.placement.deployment.local:
        return ports
    return {next(iter(surveyed.views)): sorted({port for each in ports.values() for port in each})}


def stage(surveyed: Survey, here: Machine) -> Stage:
    placement, local = surveyed.placement, surveyed.placement.deployment.local
    name, sessions = os.uname().nodename, placement.deployment.sessions or 0
    machines = {name: here} | kernel.machines_of(surveyed.views)
    cores = {node.name: node.cores for node in placement.client_nodes}
    if local:
        machines |= {node.name: here for node in surveyed.nodes}
    if local or not cores:
        cores = {name: max(MIN_LOAD_WORKERS, len(os.sched_getaffinity(0)))}
    limits = machines[next(iter(cores))].limits
    sources = load_machines(sessions, limits) if local else 0
    return Stage(placement, machines, load_by_machine(sessions, cores, limits), sources)


def fit(bounds: Sequence[Bound], sessions: int | None) -> Iterator[Finding]:
    """One failure for each limit below the requested sessions, or one finding when all suffice.
    `bounds` has the tightest first."""
    first = bounds[0]
    if sessions is None or first.sessions >= sessions:
        requested = "" if sessions is None else f"{sessions:,} fit; "
        detail = f"{requested}the {first.limit} bind first, at {first.sessions:,}"
        yield Finding(Check.SESSIONS, Verdict.OK, (), detail, f"for more: {first.change}")
        return
    for bound in bounds:
        if bound.sessions < sessions:
            detail = f"the {bound.limit} allow {bound.sessions:,} of {sessions:,}"
            yield fail(Check.SESSIONS, (), detail, bound.change)
