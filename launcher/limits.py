"""How many sessions this machine lets load workers open."""

import resource
from dataclasses import asdict, dataclass
from pathlib import Path

SPARE_DESCRIPTORS = 100
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


def limits() -> Limits:
    low, high = map(int, PORT_RANGE.read_text().split())
    return Limits(resource.getrlimit(resource.RLIMIT_NOFILE)[1], high - low + 1)
