"""`python -m launcher.lifecycle.detached FD`: holds a deployment without a terminal.

Reads the deployment as one line of JSON from standard input, whose end means, until the deployment
is ready, that nobody waits for it any more. Writes what happens until then to FD, one JSON object a
line.
"""

import json
import os
import sys
from typing import Any

from launcher.deployment.paths import RunDir
from launcher.deployment.placement import Placement
from launcher.deployment.spec import Deployment
from launcher.errors import LauncherError
from launcher.lifecycle.holder import Up


def main() -> int:
    descriptor: int | None = int(sys.argv[1])
    os.set_inheritable(int(sys.argv[1]), False)

    def tell(answer: dict[str, Any]) -> None:
        if descriptor is not None:
            os.write(descriptor, json.dumps(answer).encode() + b"\n")

    def ready(placement: Placement) -> None:
        nonlocal descriptor
        tell({"url": placement.url, "connection": placement.connection})
        log = os.open(rundir.launcher_log, os.O_WRONLY | os.O_APPEND)
        for stream in (1, 2):
            os.dup2(log, stream)
        os.close(log)
        assert descriptor is not None
        os.close(descriptor)
        descriptor = None

    try:
        deployment = Deployment.model_validate_json(sys.stdin.buffer.readline())
        rundir = RunDir(deployment.folder.absolute(), deployment.name)
        return Up(deployment, lambda event: tell({"event": event})).run(ready, lifeline=0)
    except LauncherError as failure:
        tell({"error": str(failure), "exit_code": failure.exit_code})
        print(f"error: {failure}", file=sys.stderr, flush=True)
        return failure.exit_code


if __name__ == "__main__":
    sys.exit(main())
