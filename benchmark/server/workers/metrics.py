"""Prometheus metrics of a server: a series for each running worker, labelled with its number."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

from prometheus_client import CollectorRegistry, CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from benchmark.server.places import Board, Slot

CONTENT_TYPE = CONTENT_TYPE_LATEST
TICK = 1 / os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")

PLACES = {
    "openenv_places_used": ("Sessions that the worker holds.", GaugeMetricFamily),
    "openenv_places_limit": ("Maximum number of sessions of the worker.", GaugeMetricFamily),
    "openenv_places_refused": (
        "Sessions that the worker has refused.",
        CounterMetricFamily,
    ),
    "openenv_worker_alive_age_seconds": (
        "Seconds since the worker's event loop ran.",
        GaugeMetricFamily,
    ),
}
PROCESS = {
    "openenv_worker_cpu_seconds": ("User and system CPU time of the worker.", CounterMetricFamily),
    "openenv_worker_resident_memory_bytes": ("Resident memory of the worker.", GaugeMetricFamily),
    "openenv_worker_open_fds": ("Open file descriptors of the worker.", GaugeMetricFamily),
}


def metrics(board: Board) -> bytes:
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Board(board))
    return generate_latest(registry)


class _Board(Collector):
    def __init__(self, board: Board) -> None:
        self._board = board

    def collect(self) -> Iterator[Metric]:
        families = {
            name: kind(name, text, labels=["worker"])
            for name, (text, kind) in (PLACES | PROCESS).items()
        }
        for index, slot in enumerate(self._board):
            if slot.pid:
                for name, value in (_places(slot) | _process(slot.pid)).items():
                    families[name].add_metric([str(index)], value)
        yield from families.values()
        draining = float(self._board.draining)
        yield GaugeMetricFamily("openenv_draining", "1 while the server drains.", draining)


def _places(slot: Slot) -> dict[str, float]:
    age = max(0.0, time.monotonic() - slot.alive_at)
    return dict(zip(PLACES, (slot.used, slot.limit, slot.refused, age), strict=True))


def _process(pid: int) -> dict[str, float]:
    """Empty when the process has just exited."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        folder = Path(f"/proc/{pid}/fd")
        open_fds = folder.stat().st_size or len(list(folder.iterdir()))  # since Linux 6.2, the size
    except OSError:
        return {}
    cpu = (int(fields[11]) + int(fields[12])) * TICK
    return dict(zip(PROCESS, (cpu, int(fields[21]) * PAGE, open_fds), strict=True))
