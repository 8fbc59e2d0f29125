"""Errors of the launcher. Each says what happened, where, and what to do; the command line prints
it on one line and exits with `exit_code`.

LauncherError
├── UsageError             what was asked cannot be done: an option, a file, a URL
├── PortTaken              a port is held by another process
├── StartFailed            a process ended, or was not healthy in time, before the deployment stood
├── DeploymentFailed       a process kept dying after the deployment stood
├── DeploymentEnded        Slurm has ended it: time limit, scancel, preemption
├── NodeLost               a node is down, or its processes cannot be reached
├── DeploymentNotFound     no deployment of that name, or it is gone
├── PreflightFailed        the checks before an experiment do not hold
├── LoadFailed             the load could not be made: a load worker lost, a limit in the way
├── ResultInvalid          cells that say nothing about what they meant to measure
└── RecordingFailed        a row could not be written
"""


class LauncherError(Exception):
    exit_code = 1


class UsageError(LauncherError):
    exit_code = 2


class PortTaken(LauncherError):
    pass


class StartFailed(LauncherError):
    pass


class DeploymentFailed(LauncherError):
    pass


class DeploymentEnded(LauncherError):
    pass


class NodeLost(LauncherError):
    pass


class DeploymentNotFound(LauncherError):
    pass


class PreflightFailed(LauncherError):
    pass


class LoadFailed(LauncherError):
    pass


class ResultInvalid(LauncherError):
    pass


class RecordingFailed(LauncherError):
    pass
