"""`python -m launcher.lifecycle.batch_holder REQUEST` holds a deployment from within its Slurm job."""

import json
import os
import sys
from pathlib import Path

from launcher.deployment.paths import RunDir
from launcher.deployment.spec import Deployment
from launcher.deployment.state import DeploymentState, DeploymentStatus
from launcher.errors import LauncherError
from launcher.slurm.allocation import JOB_ID


def main() -> int:
    from launcher.lifecycle.holder import Up

    wanted = json.loads(Path(sys.argv[1]).read_text())
    deployment = Deployment.model_validate_json(json.dumps(wanted["deployment"]))
    try:
        held = Up(deployment, _say, own_job=True, attached=wanted["attached"])
        return held.run(lambda placement: print(f"ready: {placement.url}", flush=True))
    except LauncherError as failure:
        print(f"error: {failure}", file=sys.stderr, flush=True)
        _leave_word(deployment, str(failure))
        return failure.exit_code


def _say(event: str) -> None:
    print(event, flush=True)


def _leave_word(deployment: Deployment, error: str) -> None:
    """For whoever waits for the deployment, when it failed before it had anything to write."""
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
