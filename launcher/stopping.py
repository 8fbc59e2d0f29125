"""Stops a deployment from another shell."""

import os
import select
import signal
import socket

from launcher import registry
from launcher.errors import DeploymentFailed
from launcher.registry import Known

EXTRA_SECONDS = 10.0


def stop(found: Known) -> str:
    """Asks the launcher that holds the deployment to stop it and waits until it has; what was done.

    Raises `DeploymentFailed` when that launcher does not end.
    """
    name = found.rundir.name
    if not found.alive:
        host = found.entry.get("host")
        if host != socket.gethostname():
            raise DeploymentFailed(f"{name!r} is held on {host}; run `launcher down {name}` there")
        registry.forget(found)
        return f"{name} was {found.status} already; removed what it had left"
    pid = int(found.entry["pid"])
    patience = float(found.entry["drain"]) + EXTRA_SECONDS
    pidfd = os.pidfd_open(pid)
    try:
        os.kill(pid, signal.SIGTERM)
        if not select.select([pidfd], [], [], patience)[0]:
            raise DeploymentFailed(
                f"the launcher of {name!r} (pid {pid}) has not ended {patience:.0f} s after SIGTERM; "
                f"see {found.rundir.launcher_log}"
            )
    finally:
        os.close(pidfd)
    return f"{name} is down"
