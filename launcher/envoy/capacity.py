"""How many sessions Envoy processes can hold, limited by their descriptors."""

from math import ceil, sqrt

from launcher.system.machine import SPARE_DESCRIPTORS

# One connection to the client and one to the server.
DESCRIPTORS_PER_SESSION = 2
# The kernel distributes connections over the processes that share a port by a hash, so the number of
# sessions per process is binomial. Room for the fullest process is planned this many standard
# deviations above the mean, which it exceeds once in a billion bursts.
SIGMAS = 6.0


def envoy_sessions(descriptors: int, processes: int = 1) -> int:
    """The sessions that Envoy processes can hold together, each with this many descriptors."""
    held = max(0, descriptors // DESCRIPTORS_PER_SESSION - SPARE_DESCRIPTORS)
    spread = SIGMAS * sqrt(1 - 1 / processes)
    mean = ((sqrt(spread**2 + 4 * held) - spread) / 2) ** 2
    return int(processes * mean + 1e-6)


def envoy_descriptors(sessions: int, processes: int = 1) -> int:
    """The descriptors that each Envoy process needs for all to hold the sessions together."""
    mean = sessions / processes
    fullest = mean + SIGMAS * sqrt(mean * (1 - 1 / processes))
    return DESCRIPTORS_PER_SESSION * (ceil(fullest) + SPARE_DESCRIPTORS)


def envoy_processes(sessions: int, descriptors: int) -> int:
    """The smallest number of Envoy processes that hold the sessions. Raises ValueError if a process
    cannot hold any."""
    if envoy_sessions(descriptors) < 1:
        raise ValueError(f"{descriptors} descriptors are too few for Envoy")
    count = max(1, sessions // envoy_sessions(descriptors))
    while envoy_sessions(descriptors, count) < sessions:
        count += 1
    return count
