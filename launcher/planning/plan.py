"""From a deployment and the nodes it got to a plan: which process runs where."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from launcher.deployment.paths import (
    RunDir,
)
from launcher.deployment.placement import Node, place, Placement
from launcher.deployment.programs import Programs, programs
from launcher.deployment.spec import Deployment
from launcher.envoy.config import configurations
from launcher.errors import UsageError
from launcher.planning.sizing import sized
from launcher.runtimes.base import Runtime
from launcher.runtimes.local import local_nodes, LocalRuntime
from launcher.runtimes.slurm import SlurmRuntime, START_SECONDS
from launcher.slurm.allocation import Allocation, allocation, chosen, describe
from launcher.system.machine import Limits, limits


@dataclass(frozen=True)
class Plan:
    """What `up` starts: where, by what, and with which configuration of each Envoy process."""

    placement: Placement
    programs: Programs
    envoy_configs: Mapping[Path, str]
    runtime: Runtime


def plan(
    deployment: Deployment,
    allocated: Allocation | None = None,
    *,
    own_job: bool = False,
    each: Limits | None = None,
) -> Plan:
    """Starts nothing. `each` is what every node is taken for, by default like this machine. Raises
    `UsageError`, and `SlurmFailed` when Slurm does not answer."""
    rundir = RunDir(deployment.folder.absolute(), deployment.name)
    nodes, runtime = _nodes(deployment, allocated or allocation(), own_job=own_job)
    tools = programs(deployment)
    placement = place(sized(deployment, nodes, each or limits()), nodes, rundir, tools)
    return Plan(placement, tools, configurations(placement), runtime)


def _nodes(
    deployment: Deployment, allocated: Allocation | None, *, own_job: bool
) -> tuple[list[Node], Runtime]:
    if deployment.local:
        return local_nodes(deployment), LocalRuntime()
    if allocated is None:
        raise UsageError("not in a Slurm allocation")
    names = chosen(allocated, deployment)
    step = f"openenv-{deployment.name}"
    silence = deployment.silence_timeout
    start = max(START_SECONDS, deployment.ready_timeout)
    runtime = SlurmRuntime(allocated, names, step, silence, own_job=own_job, start_seconds=start)
    return describe(allocated, names), runtime
