"""Holds a deployment in a process of its own, without a terminal.

The parent runs `python -m launcher.lifecycle.detached FD`, and writes the deployment, with the values of its
variables, to its standard input as one line of JSON. Until the deployment is ready, the child stops when its
standard input ends, and writes its progress to FD, one JSON object per line: {"event"}, then {"connection"}
or {"error", "exit_code"}.
"""

import json
import os
import subprocess
import sys
import tempfile
from typing import Any

from launcher.deployment.placement import Placement
from launcher.deployment.spec import Deployment
from launcher.errors import LauncherError
from launcher.lifecycle.holder import HeldDeployment
from launcher.lifecycle.supervisor import Report
from launcher.system.debug_log import log_command
from launcher.system.signals import Interrupted


def detach(deployment: Deployment, report: Report) -> dict[str, str]:
    """Returns the connection of the deployment when it is ready.

    Raises a `LauncherError` with the message and exit code of what `HeldDeployment.run` raised.
    """
    reading, writing = os.pipe()
    argv = (sys.executable, "-P", "-m", "launcher.lifecycle.detached", str(writing))
    log_command(__name__, argv)
    with tempfile.TemporaryFile() as output:
        holder = subprocess.Popen(
            argv,
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
            pass_fds=(writing,),
            start_new_session=True,
        )
        os.close(writing)
        assert holder.stdin is not None
        holder.stdin.write(deployment.with_secrets().encode() + b"\n")
        holder.stdin.flush()
        try:
            with os.fdopen(reading) as messages:
                for line in messages:
                    message = json.loads(line)
                    if "event" in message:
                        report(message["event"])
                    elif "error" in message:
                        holder.wait()
                        failure = LauncherError(message["error"])
                        failure.exit_code = message["exit_code"]
                        raise failure
                    else:
                        return dict(message["connection"])
        except (KeyboardInterrupt, Interrupted):
            holder.terminate()
            holder.wait()
            raise
        holder.wait()
        output.seek(0)
        printed = output.read().decode(errors="replace")
    raise LauncherError(
        f"the launcher of {deployment.name!r} exited before the deployment was ready; see "
        f"{deployment.rundir.folder}\n{printed}"
    )


def main() -> int:
    descriptor: int | None = int(sys.argv[1])
    os.set_inheritable(int(sys.argv[1]), False)

    def send(message: dict[str, Any]) -> None:
        if descriptor is not None:
            os.write(descriptor, json.dumps(message).encode() + b"\n")

    def ready(placement: Placement) -> None:
        nonlocal descriptor
        send({"connection": placement.connection})
        log = os.open(deployment.rundir.launcher_log, os.O_WRONLY | os.O_APPEND)
        for stream in (1, 2):
            os.dup2(log, stream)
        os.close(log)
        assert descriptor is not None
        os.close(descriptor)
        descriptor = None

    try:
        deployment = Deployment.from_secrets(sys.stdin.readline())
        held = HeldDeployment(deployment, lambda event: send({"event": event}))
        return held.run(ready, lifeline=0)
    except LauncherError as failure:
        send({"error": str(failure), "exit_code": failure.exit_code})
        print(f"error: {failure}", file=sys.stderr, flush=True)
        return failure.exit_code


if __name__ == "__main__":
    sys.exit(main())
