"""Stops a deployment from another shell."""

import contextlib
import os
import select
import signal
import socket
import time

from launcher.errors import DeploymentFailed
from launcher.lifecycle import registry
from launcher.lifecycle.batch_client import end
from launcher.lifecycle.registry import Known
from launcher.runtimes.protocol import STOP_REQUEST
from launcher.slurm import commands

EXTRA_SECONDS = 10.0
POLL_SECONDS = 0.5


def stop(found: Known) -> str:
    """Asks the launcher that holds the deployment to stop it and waits until it has; what was done.

    Raises `DeploymentFailed` when that launcher does not end.
    """
    name = found.rundir.name
    if not found.alive:
        host = found.entry.host
        if host != socket.gethostname() and found.job is None:
            raise DeploymentFailed(f"{name!r} is held on {host}; run `launcher down {name}` there")
        status = found.status
        registry.forget(found)
        return f"{name} was {status} already; removed what it had left"
    if found.entry.host != socket.gethostname():
        return _stop_elsewhere(found)
    pid = found.entry.pid
    assert pid is not None
    patience = found.entry.drain + EXTRA_SECONDS
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:  # just now
        return f"{name} is down"
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


def _stop_elsewhere(found: Known) -> str:
    """By Slurm: the launcher hears it from the deployment's Slurm step, on whichever machine it is;
    a job that has not begun is cancelled."""
    name, job, drain = found.rundir.name, str(found.job), found.entry.drain
    step = registry.step_of(found.entry)
    if found.own_job or step is None:
        end(job, drain)
    else:
        _end_step(found, step, drain)
    registry.forget(found)
    return f"{name} is down"


def _end_step(found: Known, step: str, drain: float) -> None:
    with contextlib.suppress(commands.SlurmFailed):  # of its nodes, one may have died
        commands.signal_step(step, str(int(STOP_REQUEST)))
    deadline = time.monotonic() + drain + EXTRA_SECONDS
    while registry.step_alive(found.entry):
        if time.monotonic() > deadline:
            raise DeploymentFailed(
                f"{found.rundir.name!r} has not ended {drain + EXTRA_SECONDS:.0f} s after it was asked "
                f"to; cancel its Slurm step with: scancel {step}"
            )
        time.sleep(POLL_SECONDS)
