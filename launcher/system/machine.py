"""The limits that the kernel and the environment of this machine set."""

import os
import platform
import resource
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from launcher import __version__

PROXIES = ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
SYSCTL = Path("/proc/sys/net")
CGROUPS = Path("/sys/fs/cgroup")
# Descriptors that a process needs for everything other than sessions.
SPARE_DESCRIPTORS = 100


@dataclass(frozen=True)
class Limits:
    """The hard limit on descriptors per process, and the number of ephemeral ports."""

    descriptors: int
    ports: int

    @property
    def sessions_per_worker(self) -> int:
        return self.descriptors - SPARE_DESCRIPTORS

    def obstacle(self, batch: int, workers: int, sources: int) -> str | None:
        """Why load workers cannot open `batch` sessions at once; None if they can."""
        if self.sessions_per_worker < 1:
            return (
                f"the descriptor limit {self.descriptors} leaves no sessions for a load worker, which "
                f"needs {SPARE_DESCRIPTORS} for itself; raise it (ulimit -n)"
            )
        if batch > workers * self.sessions_per_worker:
            needed = -(-batch // self.sessions_per_worker)
            return (
                f"batch {batch} is more than {workers} load worker(s) can open: the descriptor limit "
                f"{self.descriptors} (ulimit -n) allows {self.sessions_per_worker} sessions each; "
                f"use --load-workers {needed}"
            )
        if batch > max(1, sources) * self.ports:
            needed = -(-batch // self.ports)
            return (
                f"batch {batch} is more than {max(1, sources)} source address(es) can open to one "
                f"URL: each has {self.ports} ephemeral ports; use --source-addresses with {needed} "
                "addresses of this machine"
            )
        return None


@dataclass(frozen=True)
class Machine:
    """`descriptors` and `processes` are hard limits; `processes` and `memory_limit` (of the control
    group) are None without a limit. Memory is in bytes. `proxies` has the names of variables only:
    their values may contain passwords."""

    descriptors: int
    descriptors_soft: int
    processes: int | None
    first_port: int
    last_port: int
    somaxconn: int
    syn_backlog: int
    syncookies: bool
    memory: int
    memory_available: int
    memory_limit: int | None
    python: str
    launcher: str
    proxies: Sequence[str] = ()
    no_proxy: str = ""

    @property
    def ports(self) -> int:
        return self.last_port - self.first_port + 1

    @property
    def limits(self) -> Limits:
        return Limits(self.descriptors, self.ports)

    @property
    def room(self) -> int:
        """Bytes of memory that new processes may use."""
        return min(self.memory_available, self.memory_limit or self.memory_available)

    @property
    def backlog(self) -> int:
        """How many connections may wait for one listening socket.

        With SYN cookies the kernel needs no queue of half-open connections; without, it uses three
        quarters of that queue (tcp(7), tcp_max_syn_backlog).
        """
        half_open = self.somaxconn if self.syncookies else self.syn_backlog * 3 // 4
        return min(self.somaxconn, half_open)


def machine(environment: Mapping[str, str] = os.environ) -> Machine:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    processes = resource.getrlimit(resource.RLIMIT_NPROC)[1]
    low, high = map(int, (SYSCTL / "ipv4/ip_local_port_range").read_text().split())
    memory = parse_meminfo(Path("/proc/meminfo").read_text())
    return Machine(
        descriptors=hard,
        descriptors_soft=soft,
        processes=None if processes == resource.RLIM_INFINITY else processes,
        first_port=low,
        last_port=high,
        somaxconn=int((SYSCTL / "core/somaxconn").read_text()),
        syn_backlog=int((SYSCTL / "ipv4/tcp_max_syn_backlog").read_text()),
        syncookies=int((SYSCTL / "ipv4/tcp_syncookies").read_text()) > 0,
        memory=memory["MemTotal"],
        memory_available=memory["MemAvailable"],
        memory_limit=memory_limit(Path("/proc/self/cgroup").read_text(), memory["MemTotal"]),
        python=platform.python_version(),
        launcher=__version__,
        proxies=[name for name in PROXIES if environment.get(name)],
        no_proxy=environment.get("no_proxy") or environment.get("NO_PROXY", ""),
    )


def limits() -> Limits:
    return machine().limits


def parse_meminfo(text: str) -> dict[str, int]:
    pairs = (line.split(":", 1) for line in text.splitlines() if line.endswith(" kB"))
    return {name: int(value.split()[0]) * 1024 for name, value in pairs}


def memory_limit(memberships: str, total: int, root: Path = CGROUPS) -> int | None:
    """The lowest memory limit in bytes of a process's control groups, of either version; None if it
    does not limit a machine with `total` bytes. `memberships` is the text of /proc/PID/cgroup."""
    limits = []
    for line in memberships.splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            limits += _limits(root, path, "memory.max")
        elif "memory" in controllers.split(","):
            limits += _limits(root / "memory", path, "memory.limit_in_bytes")
    lowest = min(limits, default=total)
    return lowest if lowest < total else None


def _limits(root: Path, path: str, name: str) -> list[int]:
    """The limits of a control group and of its ancestors, as far as this namespace shows them."""
    group = root / path.strip("/")
    limits = []
    for folder in (group, *group.parents):
        if not folder.is_relative_to(root):
            break
        try:
            text = (folder / name).read_text().strip()
        except OSError:
            continue
        if text.isdecimal():
            limits.append(int(text))
    return limits
