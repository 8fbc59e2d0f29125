"""`python -m launcher.lifecycle.batch_holder REQUEST` holds a deployment inside its Slurm job."""

import json
import os
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

from launcher.deployment.spec import Deployment
from launcher.deployment.state import DeploymentState, DeploymentStatus
from launcher.errors import LauncherError
from launcher.lifecycle.holder import HeldDeployment
from launcher.slurm.allocation import JOB_ID
from launcher.system.files import read_json, remove


def main() -> int:
    request = json.loads(Path(sys.argv[1]).read_text())
    deployment = Deployment.model_validate_json(json.dumps(request["deployment"]))
    try:
        deployment = _with_variables(deployment)
        report = partial(print, flush=True)
        held = HeldDeployment(deployment, report, own_job=True, attached=request["attached"])
        return held.run(lambda placement: report(f"ready: {placement.url}"))
    except LauncherError as failure:
        print(f"error: {failure}", file=sys.stderr, flush=True)
        _record_failure(deployment, str(failure))
        return failure.exit_code


def _with_variables(deployment: Deployment) -> Deployment:
    """Removes the file with the values, which this process keeps."""
    file = deployment.rundir.variables
    if variables := read_json(file):
        deployment = deployment.with_variables(variables)
    remove([file])
    return deployment


def _record_failure(deployment: Deployment, error: str) -> None:
    """Records the failure for the submitting side if the deployment failed before it wrote its state."""
    rundir = deployment.rundir
    job = os.environ.get(JOB_ID)
    state = DeploymentState.load(rundir.state)
    if state is None or state.job != job:
        state = DeploymentState(name=deployment.name, job=job, folder=rundir.folder)
        failed = replace(state, status=DeploymentStatus.FAILED, error=error, deployment=deployment)
        failed.save(rundir.state)


if __name__ == "__main__":
    sys.exit(main())
