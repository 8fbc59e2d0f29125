"""The launcher's errors, named by cause. Each message states what happened, where, and what to do.
The command line prints it as one `error: …` line and exits with `exit_code`.

LauncherError
├── UsageError                exit code 2: an option, a file, a URL or a variable is wrong
│   ├── CannotConvert         (images.dockerfile) an instruction has no counterpart in Apptainer
│   └── NotAnImage            (images.sif) a file is not a complete Apptainer image
├── PortTaken                 another process holds a port
├── StartFailed               a process exited, or did not become healthy in time, during the start
├── DeploymentFailed          a process kept failing after the deployment was ready
├── DeploymentEnded           Slurm ended the deployment: time limit, scancel, preemption
├── NodeLost                  a node is down, or its processes cannot be reached
├── DeploymentNotFound        there is no deployment of that name, or its launcher is gone
├── CommandFailed             (system.command) a command failed; it has its argv and output
│   └── SlurmFailed           (slurm.commands) a Slurm command failed or did not answer
├── BuildFailed               (images.apptainer) an image could not be built
├── PreflightFailed           a check before an experiment failed
├── LoadFailed                the load could not be generated: a load worker lost, a limit reached
├── ResultInvalid             cells do not show what they were meant to measure
└── RecordingFailed           a row or a result file could not be written
"""

# Exit codes. A launcher that signal N interrupts exits with SIGNAL_BASE + N.
FAILED = 1
WRONG_USAGE = 2
SIGNAL_BASE = 128
INTERRUPTED = SIGNAL_BASE + 2  # SIGINT
BROKEN_PIPE = SIGNAL_BASE + 13  # SIGPIPE


class LauncherError(Exception):
    exit_code = FAILED


class UsageError(LauncherError):
    exit_code = WRONG_USAGE


class PortTaken(LauncherError): ...


class StartFailed(LauncherError): ...


class DeploymentFailed(LauncherError): ...


class DeploymentEnded(LauncherError): ...


class NodeLost(LauncherError): ...


class DeploymentNotFound(LauncherError): ...


class PreflightFailed(LauncherError): ...


class LoadFailed(LauncherError): ...


class ResultInvalid(LauncherError): ...


class RecordingFailed(LauncherError): ...
