"""How many sessions this machine lets load workers open."""

import resource
from dataclasses import asdict, dataclass
from math import ceil, sqrt
from pathlib import Path

SPARE_DESCRIPTORS = 100
DESCRIPTORS_PER_SESSION = 2
"""Of Envoy: one to the client, one to the server."""

SIGMAS = 6.0
PORT_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")


@dataclass(frozen=True)
class Limits:
    descriptors: int
    ports: int

    @property
    def sessions_per_worker(self) -> int:
        return self.descriptors - SPARE_DESCRIPTORS

    def obstacle(self, batch: int, workers: int, sources: int) -> str | None:
        """Why `batch` sessions cannot be open at once, and what would do; None when they can."""
        if self.sessions_per_worker < 1:
            return (
                f"a load worker may hold {self.descriptors} descriptors, of which it needs "
                f"{SPARE_DESCRIPTORS} for itself; raise the limit (ulimit -n)"
            )
        if batch > workers * self.sessions_per_worker:
            needed = -(-batch // self.sessions_per_worker)
            return (
                f"batch {batch} is more than {workers} load worker(s) can open: each may hold "
                f"{self.descriptors} descriptors (ulimit -n), {self.sessions_per_worker} sessions; "
                f"use --load-workers {needed}"
            )
        if batch > max(1, sources) * self.ports:
            needed = -(-batch // self.ports)
            return (
                f"batch {batch} is more than {max(1, sources)} source address(es) can open to one "
                f"URL: each has {self.ports} ephemeral ports; use --source-addresses with {needed} "
                f"addresses of this machine"
            )
        return None

    def as_dict(self) -> dict[str, int]:
        return asdict(self)


def envoy_sessions(descriptors: int, processes: int = 1) -> int:
    """How many sessions Envoy processes can hold together, each with so many descriptors.

    The kernel deals out connections to them by a hash, as dice would: the fullest of them is to have
    room six standard deviations above the mean, which it exceeds once in a billion bursts.
    """
    held = max(0, descriptors // DESCRIPTORS_PER_SESSION - SPARE_DESCRIPTORS)
    spread = SIGMAS * sqrt(1 - 1 / processes)
    mean = ((sqrt(spread**2 + 4 * held) - spread) / 2) ** 2
    return int(processes * mean + 1e-6)


def envoy_descriptors(sessions: int, processes: int = 1) -> int:
    """How many each Envoy process must be allowed, so that all hold so many sessions together."""
    mean = sessions / processes
    most = mean + SIGMAS * sqrt(mean * (1 - 1 / processes))
    return DESCRIPTORS_PER_SESSION * (ceil(most) + SPARE_DESCRIPTORS)


def envoy_processes(sessions: int, descriptors: int) -> int:
    """The fewest Envoy processes that hold so many sessions. Raises ValueError when none do."""
    if envoy_sessions(descriptors) < 1:
        raise ValueError(f"{descriptors} descriptors are too few for Envoy")
    count = max(1, sessions // envoy_sessions(descriptors))
    while envoy_sessions(descriptors, count) < sessions:
        count += 1
    return count


def limits() -> Limits:
    low, high = map(int, PORT_RANGE.read_text().split())
    return Limits(resource.getrlimit(resource.RLIMIT_NOFILE)[1], high - low + 1)
