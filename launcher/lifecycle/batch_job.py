"""The Slurm batch job that holds a deployment: its script, its submission and its end."""

import json
import shlex
import sys
import time
from pathlib import Path

from launcher.deployment.paths import RunDir
from launcher.deployment.spec import Deployment
from launcher.errors import DeploymentFailed
from launcher.slurm import commands
from launcher.slurm.sbatch import sbatch_argv

STOP_SECONDS = 20.0
POLL_SECONDS = 0.5


def submission(deployment: Deployment) -> tuple[tuple[str, ...], Path, str]:
    """The argv of sbatch, and the path and the text of the batch script."""
    rundir = deployment.rundir
    return sbatch_argv(deployment, rundir), rundir.job_script, script(rundir)


def script(rundir: RunDir) -> str:
    # `exec`, so that signals sent to the batch script reach the launcher.
    launcher = (sys.executable, "-P", "-m", "launcher.lifecycle.batch_holder", str(rundir.request))
    return f"#!/bin/sh\nexec {shlex.join(launcher)}\n"


def request(deployment: Deployment, *, attached: bool) -> str:
    return json.dumps({"deployment": json.loads(deployment.as_given()), "attached": attached})


def stop_job(job_id: str, drain: float) -> None:
    """Interrupts the launcher of a running job, and cancels a job that is queued or does not end in
    time. Raises `DeploymentFailed` when the job does not end even then."""
    if commands.job(job_id).state == "RUNNING":
        commands.signal_batch(job_id, "INT")
        # A job that is COMPLETING needs no scancel; Slurm may take a minute to end it when its
        # controller was away.
        if wait_ended(job_id, STOP_SECONDS + drain) or not commands.job(job_id).active:
            return
    commands.cancel(job_id)
    if not wait_ended(job_id, STOP_SECONDS) and commands.job(job_id).active:
        raise DeploymentFailed(
            f"Slurm job {job_id} has not ended after scancel; see: squeue -j {job_id}"
        )


def wait_ended(job_id: str, seconds: float = STOP_SECONDS) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if commands.job(job_id).ended:
            return True
        time.sleep(POLL_SECONDS)
    return False
