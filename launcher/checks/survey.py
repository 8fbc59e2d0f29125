import contextlib
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmark.server.describe import Description
from launcher.checks.app import describe as describe_app
from launcher.checks.network import Skew
from launcher.deployment.placement import Node, Placement
from launcher.deployment.programs import programs
from launcher.deployment.spec import Deployment
from launcher.planning.plan import place_sized
from launcher.runtimes.findings import Views
from launcher.runtimes.local import local_nodes
from launcher.runtimes.node_checks import requested_ports
from launcher.runtimes.probe import probe
from launcher.runtimes.slurm import folder_token, SlurmRuntime
from launcher.runtimes.surroundings import surroundings_request
from launcher.slurm.allocation import Allocation, allocation, choose_nodes, describe
from launcher.slurm.salloc import temporary_allocation
from launcher.system.machine import limits
from launcher.system.ports import first_taken

CLOCK_PROBES = 3


@dataclass(frozen=True)
class Survey:
    """The answers of the machines of a placement; `skews` is empty if this machine is the only one."""

    placement: Placement
    nodes: Sequence[Node]
    views: Views
    skews: Mapping[str, Skew]
    app: Description
    job: str | None = None

    @property
    def files(self) -> Sequence[Path]:
        return [Path(file) for file in next(iter(self.views.values()))["files"]]


def survey(deployment: Deployment, report: Callable[[str], None]) -> Survey:
    """Raises `UsageError`, and `SlurmFailed` or `StartFailed` when the nodes cannot be allocated."""
    app = describe_app(deployment)
    if deployment.local:
        return _survey_here(deployment, app)
    if allocated := allocation():
        return _survey_nodes(deployment, allocated, app)
    with temporary_allocation(deployment, report) as allocated:
        return _survey_nodes(deployment, allocated, app, own_job=True)


def _survey_here(deployment: Deployment, app: Description) -> Survey:
    nodes = local_nodes(deployment)
    placement = place_sized(deployment, nodes, limits(), app.sessions)
    here = os.uname().nodename
    request = _request(placement)
    view = probe(request, here) | {"shared": True, "names": {}}
    taken = (first_taken(process.node, process.ports) for process in placement.processes)
    view |= probe(_apptainer_trial(request), here) | {"taken": next(filter(None, taken), None)}
    return Survey(placement, nodes, {here: view}, {}, app)


def _survey_nodes(
    deployment: Deployment, allocated: Allocation, app: Description, *, own_job: bool = False
) -> Survey:
    names = _chosen(allocated, deployment)
    nodes = describe(allocated, names)
    servers = len(names) - deployment.client_nodes
    deployment = deployment.model_copy(update={"nodes": servers})
    placement = place_sized(deployment, nodes, limits(), app.sessions)
    request = _request(placement)
    silence = deployment.silence_timeout
    runtime = SlurmRuntime(allocated, names, "openenv-doctor", silence, own_job=own_job)
    with agents(runtime):
        ports = requested_ports(placement.processes)
        with folder_token(_nearest_existing(deployment.folder)) as token:
            views = runtime.probe(request | token | {"ports": ports})
        # One request at a time: a node that is silent for too long counts as lost.
        for each in ({"names": names}, _apptainer_trial(request)):
            answers = runtime.probe(each)
            views = {node: {**view, **answers[node]} for node, view in views.items()}
        skews = clock_skews(runtime.probe)
    return Survey(placement, nodes, {n: views[n] for n in names}, skews, app, allocated.job_id)


@contextlib.contextmanager
def agents(runtime: SlurmRuntime) -> Iterator[None]:
    try:
        runtime.prepare((), (), None)
        yield
    finally:
        runtime.close()


def clock_skews(
    probe: Callable[[Mapping[str, Any]], Views], now: Callable[[], float] = time.time
) -> dict[str, Skew]:
    """Each answer bounds a node's clock by the times of the request and of the answer."""
    skews: dict[str, Skew] = {}
    for _ in range(CLOCK_PROBES):
        requested = now()
        views = probe({})
        answered = now()
        for node, view in views.items():
            skew = Skew(view["time"] - answered, view["time"] - requested)
            skews[node] = skews[node].narrowed(skew) if node in skews else skew
    return skews


def _chosen(allocated: Allocation, deployment: Deployment) -> Sequence[str]:
    """The nodes that `up` would choose; unlike `up`, this accepts an allocation of a single node."""
    alone = len(allocated.nodes) == 1 and not deployment.client_nodes
    requested = "nodes" in deployment.model_fields_set
    return allocated.nodes if alone and not requested else choose_nodes(allocated, deployment)


def _request(placement: Placement) -> dict[str, Any]:
    tools = programs(placement.deployment)
    files = [str(file) for file in tools.files]
    envoy = [tools.envoy] if placement.envoy_node and not files else []
    request = {"machine": True, "files": files, "programs": envoy}
    return request | surroundings_request(placement.processes)


def _apptainer_trial(request: Mapping[str, Any]) -> dict[str, Any]:
    return {"apptainer": request["files"][0]} if request["files"] else {}


def _nearest_existing(folder: Path) -> Path:
    folder = folder.absolute()
    return next(above for above in (folder, *folder.parents) if above.is_dir())
