"""Looks at the nodes that a deployment would get: from nodes to plain values."""

import contextlib
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from launcher.checks.findings import Views
from launcher.checks.network import Skew
from launcher.deployment.paths import RunDir
from launcher.deployment.placement import Node, place, Placement, Process
from launcher.deployment.programs import programs
from launcher.deployment.spec import Deployment
from launcher.planning.sizing import sized
from launcher.runtimes.local import local_nodes
from launcher.runtimes.node_checks import same_together
from launcher.runtimes.probe import look
from launcher.runtimes.slurm import SlurmRuntime
from launcher.slurm.allocation import Allocation, allocation, chosen, describe
from launcher.slurm.salloc import momentary
from launcher.system.files import check_writable
from launcher.system.limits import limits
from launcher.system.ports import first_taken

CLOCK_LOOKS = 3


@dataclass(frozen=True)
class Visit:
    """What was seen of the machines that a placement is on; `skews` is empty for this one alone."""

    placement: Placement
    nodes: Sequence[Node]
    views: Views
    skews: Mapping[str, Skew]
    job: str | None = None


def visit(deployment: Deployment, report: Callable[[str], None]) -> Visit:
    """Raises `UsageError`, and `SlurmFailed` or `StartFailed` for nodes that cannot be had."""
    if deployment.local:
        return _visit_here(deployment)
    allocated = allocation()
    if allocated is not None:
        return _visit_nodes(deployment, allocated)
    with momentary(deployment, report) as allocated:
        return _visit_nodes(deployment, allocated, own_job=True)


def _visit_here(deployment: Deployment) -> Visit:
    nodes = local_nodes(deployment)
    placement = _placement(deployment, nodes)
    here = os.uname().nodename
    wanted = _wanted(placement)
    view = look(wanted, here) | {"shared": True, "names": {}}
    view |= look(_trial(wanted), here) | {"taken": _first_taken(placement.processes)}
    return Visit(placement, nodes, {here: view}, {})


def _first_taken(processes: Sequence[Process]) -> str | None:
    found = (first_taken(process.node, process.ports) for process in processes)
    return next((taken for taken in found if taken), None)


def _visit_nodes(deployment: Deployment, allocated: Allocation, *, own_job: bool = False) -> Visit:
    names = _chosen(allocated, deployment)
    nodes = describe(allocated, names)
    servers = len(names) - deployment.client_nodes
    placement = _placement(deployment.model_copy(update={"nodes": servers}), nodes)
    wanted = _wanted(placement)
    silence = deployment.silence_timeout
    runtime = SlurmRuntime(allocated, names, "openenv-doctor", silence, own_job=own_job)
    with agents(runtime):
        with token(deployment.folder) as held:
            views = runtime.look(wanted | held | {"ports": same_together(listening(placement))})
        # one by one: a node that says nothing for long counts as lost
        views = merged(views, runtime.look({"names": names}))
        views = merged(views, runtime.look(_trial(wanted)))
        skews = clock_skews(runtime.look)
    return Visit(placement, nodes, in_order(views, names), skews, allocated.job_id)


@contextlib.contextmanager
def agents(runtime: SlurmRuntime) -> Iterator[None]:
    """Has agents on the runtime's nodes."""
    try:
        runtime.prepare((), (), None)
        yield
    finally:
        runtime.close()


def clock_skews(
    look: Callable[[Mapping[str, Any]], Views], now: Callable[[], float] = time.time
) -> dict[str, Skew]:
    """Each answer bounds a node's clock by when it was asked for and when it had come."""
    found: dict[str, Skew] = {}
    for _ in range(CLOCK_LOOKS):
        asked = now()
        views = look({})
        answered = now()
        for node, view in views.items():
            skew = Skew(view["time"] - answered, view["time"] - asked)
            found[node] = found[node].narrowed(skew) if node in found else skew
    return found


def listening(placement: Placement) -> dict[str, list[int]]:
    ports: dict[str, list[int]] = {}
    for process in placement.processes:
        ports.setdefault(process.node, []).extend(process.ports)
    return ports


def merged(one: Views, other: Views) -> dict[str, dict[str, Any]]:
    return {node: {**one[node], **other[node]} for node in one}


def in_order(views: Views, names: Sequence[str]) -> dict[str, Mapping[str, Any]]:
    return {name: views[name] for name in names}


def _chosen(allocated: Allocation, deployment: Deployment) -> Sequence[str]:
    """As `up` chooses; a single node can be looked at too."""
    alone = len(allocated.nodes) == 1 and not deployment.client_nodes
    asked = "nodes" in deployment.model_fields_set
    return allocated.nodes if alone and not asked else chosen(allocated, deployment)


def _placement(deployment: Deployment, nodes: Sequence[Node]) -> Placement:
    rundir = RunDir(deployment.folder.absolute(), deployment.name)
    chosen = sized(deployment, nodes, limits())
    return place(chosen, nodes, rundir, programs(deployment))


def _wanted(placement: Placement) -> dict[str, Any]:
    tools = programs(placement.deployment)
    files = [str(file) for file in tools.files]
    own = [tools.envoy] if placement.envoy_node and not files else []
    return {"machine": True, "files": files, "programs": own}


def _trial(wanted: Mapping[str, Any]) -> dict[str, Any]:
    """Of Apptainer, with the image of the servers."""
    return {"apptainer": wanted["files"][0]} if wanted["files"] else {}


@contextlib.contextmanager
def token(folder: Path) -> Iterator[dict[str, Any]]:
    """A file by which agents tell whether they see the folder, or the nearest above it."""
    folder = folder.absolute()
    there = next(above for above in (folder, *folder.parents) if above.is_dir())
    check_writable(there)
    with tempfile.NamedTemporaryFile("w", dir=there, prefix=".openenv-doctor-") as file:
        text = f"{os.uname().nodename} {time.time_ns()}"
        file.write(text)
        file.flush()
        yield {"token": [file.name, text]}
