"""The constants that launchers and their agents share; see `launcher.runtimes.agent`."""

import signal
from enum import StrEnum

# Set for agents of a job that serves only their deployment.
OWN_JOB = "OPENENV_OWN_JOB"
# Asks an agent to have its deployment stopped. Slurm signals all processes of a step, also servers and
# Envoy, which ignore this signal: the launcher stops them in their order.
STOP_REQUEST = signal.SIGWINCH


class LeaveReason(StrEnum):
    """Why an agent exits."""

    QUIT = "quit"
    INPUT_CLOSED = "input_closed"
    SILENCE = "silence"
    SIGNAL = "signal"


LEAVE_TEXTS = {
    LeaveReason.QUIT: "it was ordered to quit",
    LeaveReason.INPUT_CLOSED: "its launcher closed the connection",
    LeaveReason.SILENCE: "its launcher was silent for too long",
    LeaveReason.SIGNAL: "it received {}",
}
