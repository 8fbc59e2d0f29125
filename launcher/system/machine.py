"""What this machine allows, as its kernel and its environment say. Plain values; only the standard
library."""

import os
import platform
import resource
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from launcher import __version__

PROXIES = ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
SYSCTL = Path("/proc/sys/net")
CGROUPS = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class Machine:
    """`descriptors` and `processes` are the hard limits, None without one; memory is in bytes, and
    `memory_limit` that of the control group, None without one. Of proxies, only the names of the
    variables that are set: their values may hold passwords."""

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
    proxies: tuple[str, ...] = ()
    no_proxy: str = ""

    @property
    def ports(self) -> int:
        return self.last_port - self.first_port + 1

    @property
    def room(self) -> int:
        """Bytes that processes of ours may still use."""
        return min(self.memory_available, self.memory_limit or self.memory_available)

    @property
    def backlog(self) -> int:
        """How many connections may wait for one listening socket. Cookies do without a queue of
        those that are not complete; the kernel uses three quarters of that queue."""
        half_open = self.somaxconn if self.syncookies else self.syn_backlog * 3 // 4
        return min(self.somaxconn, half_open)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Machine":
        return cls(**{**values, "proxies": tuple(values["proxies"])})


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
        proxies=tuple(name for name in PROXIES if environment.get(name)),
        no_proxy=environment.get("no_proxy") or environment.get("NO_PROXY", ""),
    )


def parse_meminfo(text: str) -> dict[str, int]:
    """In bytes."""
    pairs = (line.split(":", 1) for line in text.splitlines() if line.endswith(" kB"))
    return {name: int(value.split()[0]) * 1024 for name, value in pairs}


def memory_limit(memberships: str, total: int, root: Path = CGROUPS) -> int | None:
    """The lowest limit of the control groups of a process, of either version; `memberships` is its
    /proc/PID/cgroup. None where it is no limit for a machine with `total` bytes."""
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
    """Of a control group and all that it is in. One of another namespace may not be there."""
    group = root / path.strip("/")
    found = []
    for folder in (group, *group.parents):
        if not folder.is_relative_to(root):
            break
        try:
            text = (folder / name).read_text().strip()
        except OSError:
            continue
        if text.isdecimal():
            found.append(int(text))
    return found
