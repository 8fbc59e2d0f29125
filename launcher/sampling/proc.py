"""The use of CPU, memory and descriptors by process trees and this machine, from proc(5)."""

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from launcher.system.machine import parse_meminfo

PROC = "/proc"
PORT_RANGE = "/proc/sys/net/ipv4/ip_local_port_range"
TICK = 1 / os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")
NANO = 1e-9

# Kernels without CONFIG_PROC_CHILDREN lack this file.
_has_children_file = Path("/proc/self/task").joinpath(str(os.getpid()), "children").exists()


@dataclass(frozen=True)
class Reading:
    """A process tree at one point in time. `cpu`, `wait` and `threads` count from the start of each
    process, in seconds; `threads` has the time that each (process, thread) ran or waited for a CPU.
    `fds` and `fd_limit` are those of the process with the most open descriptors."""

    pid: int
    time: float
    cpu: float
    wait: float
    rss: int
    fds: int
    fd_limit: int
    processes: int
    threads: dict[tuple[int, int], float]


def read(pid: int) -> Reading | None:
    """The process and all its descendants; None if it does not exist."""
    now, cpu, wait, rss = time.monotonic(), 0.0, 0.0, 0
    threads: dict[tuple[int, int], float] = {}
    descriptors: dict[int, int] = {}
    for each in tree(pid):
        try:
            fields = _stat(each)
            descriptors[each] = open_descriptors(each)
        except OSError:
            continue  # it has exited
        cpu += (int(fields[11]) + int(fields[12])) * TICK
        rss += int(fields[21]) * PAGE
        for thread, (ran, waited) in _threads(each):
            threads[each, thread] = ran + waited
            wait += waited
    if pid not in descriptors:
        return None
    fullest = max(descriptors, key=lambda each: descriptors[each])
    limit, count = descriptor_limit(fullest), len(descriptors)
    return Reading(pid, now, cpu, wait, rss, descriptors[fullest], limit, count, threads)


def sample(before: Reading, now: Reading) -> dict[str, Any]:
    """The content of a sample, from two readings of one tree. `busiest` is the largest share of the
    time between them that one thread ran or waited for a CPU, including the time that its control
    group was throttled; `cpus` is CPU seconds per second."""
    seconds = max(now.time - before.time, 1e-6)
    both = before.threads.keys() & now.threads.keys()
    grown = max((now.threads[each] - before.threads[each] for each in both), default=0.0)
    return {
        "seconds": round(seconds, 3),
        "cpu": round(now.cpu, 3),
        "wait": round(now.wait, 3),
        "busiest": round(min(1.0, max(0.0, grown) / seconds), 3),
        "cpus": round(max(0.0, now.cpu - before.cpu) / seconds, 3),
        "rss": now.rss,
        "fds": now.fds,
        "fd_limit": now.fd_limit,
        "processes": now.processes,
    }


def tree(pid: int) -> list[int]:
    pids = [pid]
    children = None if _has_children_file else _all_children()
    for each in pids:
        pids += _children(each) if children is None else children.get(each, [])
    return pids


def _children(pid: int) -> list[int]:
    threads = [f"{PROC}/{pid}/task/{thread}" for thread in _listed(f"{PROC}/{pid}/task")]
    return [int(child) for each in threads for child in _text_if_any(f"{each}/children").split()]


def _all_children() -> dict[int, list[int]]:
    children: dict[int, list[int]] = {}
    for pid in psutil.pids():
        try:
            parent = int(_stat(pid)[1])
        except OSError:
            continue
        children.setdefault(parent, []).append(pid)
    return children


def arguments(pid: int) -> list[str]:
    """The command line of a process; [""] if it does not exist."""
    return _text_if_any(f"{PROC}/{pid}/cmdline").rstrip("\0").split("\0")


def open_descriptors(pid: int) -> int:
    """The number of open descriptors; 0 if it cannot be read. Since Linux 6.2 it is the size of the
    folder."""
    try:
        return Path(f"{PROC}/{pid}/fd").stat().st_size or len(_listed(f"{PROC}/{pid}/fd"))
    except OSError:
        return 0


def descriptor_limit(pid: int) -> int:
    """The soft limit; 0 if it cannot be read."""
    words = _text_if_any(f"{PROC}/{pid}/limits").partition("Max open files")[2].split()
    return int(words[0]) if words and words[0].isdecimal() else 0


def _stat(pid: int) -> list[str]:
    """The fields from the third on; the second is a name that may contain spaces and parentheses."""
    return _text(f"{PROC}/{pid}/stat").rpartition(")")[2].split()


def _threads(pid: int) -> Iterator[tuple[int, tuple[float, float]]]:
    """Each thread with the seconds that it ran and that it waited for a CPU."""
    for thread in _listed(f"{PROC}/{pid}/task"):
        try:
            ran, waited, _ = _text(f"{PROC}/{pid}/task/{thread}/schedstat").split()
        except (OSError, ValueError):
            continue
        yield int(thread), (int(ran) * NANO, int(waited) * NANO)


class MachineUsage:
    """The use of this machine; its CPUs are those that this process may run on."""

    def __init__(self) -> None:
        self._cpus = {f"cpu{number}" for number in os.sched_getaffinity(0)}
        self.reset()

    def reset(self) -> None:
        """The next sample covers the time from now on."""
        self._before = self._times()

    def sample(self) -> dict[str, Any]:
        busy, total = self._times()
        before, self._before = self._before, (busy, total)
        memory = parse_meminfo(_text_if_any(f"{PROC}/meminfo"))
        sockets, sockets6 = _sockets("sockstat", "TCP:"), _sockets("sockstat6", "TCP6:")
        listening = _tcp_counters(_text_if_any(f"{PROC}/net/netstat"))
        ports = [int(port) for port in _text_if_any(PORT_RANGE).split()] or [1, 0]
        return {
            "cores": len(self._cpus),
            "cpu_busy": round(min(1.0, (busy - before[0]) / max(total - before[1], 1)), 3),
            "memory_available": memory.get("MemAvailable", 0),
            "memory_total": memory.get("MemTotal", 0),
            "tcp_inuse": sockets.get("inuse", 0) + sockets6.get("inuse", 0),
            "tcp_tw": sockets.get("tw", 0),
            "listen_overflows": listening.get("ListenOverflows", 0),
            "listen_drops": listening.get("ListenDrops", 0),
            "ports": ports[1] - ports[0] + 1,
        }

    def _times(self) -> tuple[int, int]:
        """The busy ticks and all ticks of the CPUs; stolen time counts as busy."""
        busy = total = 0
        for line in _text_if_any(f"{PROC}/stat").splitlines():
            name, *ticks = line.split()
            if name in self._cpus:
                user, nice, system, idle, iowait, *interrupts = map(int, ticks[:8])
                worked = user + nice + system + sum(interrupts)
                busy, total = busy + worked, total + worked + idle + iowait
        return busy, total


def _sockets(file: str, protocol: str) -> dict[str, int]:
    lines = _text_if_any(f"{PROC}/net/{file}").splitlines()
    words = next((line.split()[1:] for line in lines if line.startswith(protocol)), [])
    return dict(zip(words[::2], map(int, words[1::2]), strict=True))


def _tcp_counters(netstat: str) -> dict[str, int]:
    # The file has a line of names and a line of numbers for each protocol.
    lines = [line.split() for line in netstat.splitlines() if line.startswith("TcpExt:")]
    names, numbers = lines[:2] if len(lines) > 1 else ([], [])
    return dict(zip(names[1:], map(int, numbers[1:]), strict=True))


def _listed(folder: str) -> list[str]:
    try:
        return os.listdir(folder)  # noqa: PTH208 - names alone
    except OSError:
        return []


def _text_if_any(path: str) -> str:
    """Empty for a file that this kernel or container does not have."""
    try:
        return _text(path)
    except OSError:
        return ""


def _text(path: str) -> str:
    # These files are read every second; `open` costs several times as much.
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        pieces = list(iter(lambda: os.read(descriptor, 1 << 16), b""))
    finally:
        os.close(descriptor)
    return b"".join(pieces).decode(errors="replace")
