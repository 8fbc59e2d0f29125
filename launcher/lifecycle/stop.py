"""Stops a deployment from another shell."""

import contextlib
import os
import select
import signal
import socket
import time

from launcher.errors import DeploymentFailed
from launcher.lifecycle import registry
from launcher.lifecycle.batch_job import stop_job
from launcher.lifecycle.registry import Known
from launcher.runtimes.agent import STOP_REQUEST
from launcher.slurm import commands

EXTRA_SECONDS = 10.0
POLL_SECONDS = 0.5


def stop(listed: Known) -> str:
    """Stops the deployment, waits until its launcher has exited, and returns a message for the user.
    Raises `DeploymentFailed` when the launcher does not exit."""
    name, entry = listed.rundir.name, listed.entry
    is_here = entry.host == socket.gethostname()
    if listed.alive:
        if is_here:
            _stop_here(listed)
        else:
            _stop_elsewhere(listed)
        return f"{name} is down"
    if not is_here and entry.job is None:
        raise DeploymentFailed(
            f"{name!r} is held on {entry.host}; run `launcher down {name}` there"
        )
    status = listed.status
    registry.forget(listed)
    return f"{name} was already {status}; removed its remaining files"


def _stop_here(listed: Known) -> None:
    pid, timeout = listed.entry.pid, listed.entry.drain + EXTRA_SECONDS
    assert pid is not None
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:  # it has exited since
        return
    try:
        os.kill(pid, signal.SIGTERM)
        if not select.select([pidfd], [], [], timeout)[0]:
            raise DeploymentFailed(
                f"the launcher of {listed.rundir.name!r} (pid {pid}) has not exited {timeout:.0f} s after "
                f"SIGTERM; see {listed.rundir.launcher_log}"
            )
    finally:
        os.close(pidfd)


def _stop_elsewhere(listed: Known) -> None:
    """Stops it through Slurm: the agents of the Slurm step ask the launcher to stop, wherever it runs."""
    step = registry.step_of(listed.entry)
    if listed.entry.own_job or step is None:
        stop_job(str(listed.entry.job), listed.entry.drain)
    else:
        _stop_step(listed, step)
    registry.forget(listed)


def _stop_step(listed: Known, step: str) -> None:
    with contextlib.suppress(commands.SlurmFailed):  # one of its nodes may have failed
        commands.signal_step(step, str(int(STOP_REQUEST)))
    timeout = listed.entry.drain + EXTRA_SECONDS
    deadline = time.monotonic() + timeout
    while registry.step_alive(listed.entry):
        if time.monotonic() > deadline:
            raise DeploymentFailed(
                f"{listed.rundir.name!r} has not stopped within {timeout:.0f} s; cancel its Slurm step "
                f"with: scancel {step}"
            )
        time.sleep(POLL_SECONDS)
