"""`python -m launcher.lifecycle.batch_holder REQUEST` holds a deployment from within its Slurm job."""

import json
import os
import sys
from pathlib import Path

from launcher.deployment.paths import RunDir
from launcher.deployment.spec import Deployment
from launcher.errors import LauncherError
from launcher.slurm.allocation import JOB_ID
from launcher.system.files import read_json, write_atomically


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
    if (read_json(rundir.state) or {}).get("job") != job:
        state = {"name": deployment.name, "job": job, "status": "failed", "error": error}
        write_atomically(rundir.state, json.dumps(state))


if __name__ == "__main__":
    sys.exit(main())
