"""The Slurm steps that sample the nodes of a job: one for each component of it."""

import sys
from collections.abc import Sequence

from launcher.slurm.allocation import Allocation
from launcher.slurm.srun import StepChannel

STEP = "openenv-samples"


def start_sampling(allocated: Allocation, interval: float, nodes: Sequence[str]) -> StepChannel:
    command = (sys.executable, "-P", "-m", "launcher.sampling.node", f"{interval:g}")
    return StepChannel(allocated, nodes, STEP, command)


def complaint(channel: StepChannel) -> str:
    return channel.errors[-1].strip() if channel.errors else "Slurm printed nothing"
