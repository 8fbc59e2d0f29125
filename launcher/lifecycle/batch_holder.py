"""`python -m launcher.lifecycle.batch_holder REQUEST` holds a deployment inside its Slurm job."""

import json
import os
import sys
from pathlib import Path

from launcher.deployment.paths import RunDir
from launcher.deployment.spec import Deployment
from launcher.deployment.state import DeploymentState, DeploymentStatus
from launcher.errors import LauncherError
from launcher.lifecycle.holder import HeldDeployment
from launcher.slurm.allocation import JOB_ID


def main() -> int:
    request = json.loads(Path(sys.argv[1]).read_text())
    deployment = Deployment.model_validate_json(json.dumps(request["deployment"]))
    try:
        held = HeldDeployment(deployment, _report, own_job=True, attached=request["attached"])
        return held.run(lambda placement: print(f"ready: {placement.url}", flush=True))
    except LauncherError as failure:
        print(f"error: {failure}", file=sys.stderr, flush=True)
        _record_failure(deployment, str(failure))
        return failure.exit_code


def _report(event: str) -> None:
    print(event, flush=True)


def _record_failure(deployment: Deployment, error: str) -> None:
    """For the submitting side, when the deployment failed before it wrote its state."""
    rundir = RunDir(deployment.folder.absolute(), deployment.name)
    job = os.environ.get(JOB_ID)
    state = DeploymentState.load(rundir.state)
    if state is None or state.job != job:
        failed = DeploymentState(
            name=deployment.name,
            job=job,
            status=DeploymentStatus.FAILED,
            error=error,
            folder=rundir.folder,
            deployment=deployment,
        )
        failed.save(rundir.state)


if __name__ == "__main__":
    sys.exit(main())
