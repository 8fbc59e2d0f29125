import logging
from collections.abc import Sequence

from launcher.deployment.placement import Node
from launcher.deployment.spec import Deployment
from launcher.errors import UsageError
from launcher.runtimes.agents import START_SECONDS
from launcher.runtimes.base import Runtime
from launcher.runtimes.local import local_nodes, LocalRuntime
from launcher.runtimes.slurm import SlurmRuntime
from launcher.slurm.allocation import Allocation, choose_nodes, describe

logger = logging.getLogger(__name__)


def nodes_for(deployment: Deployment, allocated: Allocation | None) -> list[Node]:
    """Raises `UsageError`, and `SlurmFailed` when Slurm does not answer."""
    if deployment.local:
        return local_nodes(deployment)
    if allocated is None:
        raise UsageError("not in a Slurm allocation; use salloc or sbatch, or --local")
    return describe(allocated, choose_nodes(allocated, deployment))


def runtime_for(
    deployment: Deployment,
    allocated: Allocation | None,
    nodes: Sequence[Node],
    *,
    own_job: bool = False,
) -> Runtime:
    if deployment.local or allocated is None:
        logger.debug("runtime: processes on this machine")
        return LocalRuntime()
    logger.debug("runtime: Slurm steps in job %s", allocated.job_id)
    return SlurmRuntime(
        allocated,
        [node.name for node in nodes],
        f"openenv-{deployment.name}",
        deployment.silence_timeout,
        own_job=own_job,
        start_seconds=max(START_SECONDS, deployment.ready_timeout),
    )
