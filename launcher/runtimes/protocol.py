"""The constants that launchers and their agents share; see `launcher.runtimes.agent`."""

import signal
from enum import Enum

# Set for agents of a job that serves only their deployment.
OWN_JOB = "OPENENV_OWN_JOB"
# Asks an agent to have its deployment stopped. Slurm signals all processes of a step, also servers and
# Envoy, which ignore this signal: the launcher stops them in their order.
STOP_REQUEST = signal.SIGWINCH


class LeaveReason(Enum):
    """Why an agent exits. The values are sent and printed."""

    QUIT = "it was ordered to quit"
    INPUT_CLOSED = "its launcher closed the connection"
    SILENCE = "its launcher was silent for too long"
    SIGNAL = "it received a signal"
