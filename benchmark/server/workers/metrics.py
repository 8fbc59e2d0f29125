"""What a server's control port tells Prometheus, in its text format: a series for each worker that
lives, by its number."""

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
    "openenv_places_limit": ("Sessions that it may hold.", GaugeMetricFamily),
    "openenv_places_refused": ("Sessions that it refused since it began.", CounterMetricFamily),
    "openenv_worker_alive_age_seconds": ("Since its event loop last turned.", GaugeMetricFamily),
}
PROCESS = {
    "openenv_worker_cpu_seconds": ("User and system time since it began.", CounterMetricFamily),
    "openenv_worker_resident_memory_bytes": ("Memory that it has resident.", GaugeMetricFamily),
    "openenv_worker_open_fds": ("Descriptors that it has open.", GaugeMetricFamily),
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
        yield GaugeMetricFamily("openenv_draining", "1: it takes no new sessions.", draining)


def _places(slot: Slot) -> dict[str, float]:
    age = max(0.0, time.monotonic() - slot.alive_at)
    return dict(zip(PLACES, (slot.used, slot.limit, slot.refused, age), strict=True))


def _process(pid: int) -> dict[str, float]:
    """Nothing of one that has just ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        folder = Path(f"/proc/{pid}/fd")
        open_fds = folder.stat().st_size or len(list(folder.iterdir()))  # a size from Linux 6.2 on
    except OSError:
        return {}
    cpu = (int(fields[11]) + int(fields[12])) * TICK
    return dict(zip(PROCESS, (cpu, int(fields[21]) * PAGE, open_fds), strict=True))
