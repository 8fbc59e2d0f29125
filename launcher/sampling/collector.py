"""Samples the processes, the machine and the pages of this node."""

import concurrent.futures
import itertools
import time
from collections.abc import Callable, Mapping
from datetime import datetime, UTC
from functools import partial

import psutil

from launcher.sampling import proc
from launcher.sampling.pages import envoy_counters, PlacesPage
from launcher.sampling.sample import Sample, SampleKind, Source
from launcher.sampling.targets import LOAD_MASTER, Targets

PAGE_SECONDS = 0.8
# Samples of processes over less time than this say nothing.
MIN_SECONDS = 0.05
MAX_CONCURRENT_PAGES = 8


class Collector:
    """Its samples omit whatever does not exist or does not answer in time."""

    def __init__(self, machine: str | None, interval: float) -> None:
        """`machine` is the name of this node; None to sample no node."""
        self._name, self._machine = machine, proc.MachineUsage()
        self._page_timeout = min(PAGE_SECONDS, interval * 0.8)
        self._pids: dict[Source, int] = {}
        self._readings: dict[Source, proc.Reading] = {}
        self._pages: dict[Source, Callable[[], Sample]] = {}
        self._pending: dict[Source, concurrent.futures.Future[Sample]] = {}
        self._pool = concurrent.futures.ThreadPoolExecutor(MAX_CONCURRENT_PAGES, "samples")
        self._last = time.monotonic()
        self.cell: int | None = None

    def set_targets(self, targets: Targets) -> None:
        pids: dict[Source, int] = {}
        pages: dict[Source, Callable[[], Sample]] = {}
        for node, target in targets.items():
            processes = target.get("processes", {})
            for name, known in processes.items():
                pid = known if known is not None else _load_master(processes)
                if pid is not None:
                    pids[node, SampleKind.PROCESS, name] = pid
            for name, url in target.get("places", {}).items():
                key = node, SampleKind.PLACES, name
                pages[key] = self._pages.get(key) or PlacesPage(url, self._page_timeout)
            if "envoy" in target:
                key = node, SampleKind.ENVOY, ""
                pages[key] = partial(envoy_counters, target["envoy"], self._page_timeout)
        self._pids, self._pages = pids, pages
        self._readings = {key: reading for key, reading in self._readings.items() if key in pids}

    def start_cell(self, cell: int) -> None:
        """The next samples of processes and the machine cover the time from now on."""
        self.cell = cell
        self._last = time.monotonic()
        self._machine.reset()
        for key, pid in self._pids.items():
            if reading := proc.read(pid):
                self._readings[key] = reading

    def end_cell(self) -> list[Sample]:
        samples = self.collect()
        self.cell = None
        return samples

    def collect(self) -> list[Sample]:
        """Takes no longer than the timeout of a page. A page that is late counts for the next call."""
        for key, page in self._pages.items():
            if key not in self._pending:
                self._pending[key] = self._pool.submit(page)
        samples = []
        if time.monotonic() - self._last >= MIN_SECONDS:
            self._last = time.monotonic()
            samples = self._sample_processes()
            if self._name is not None:
                node = self._name, SampleKind.NODE, ""
                samples.append(self._sample(node, self._machine.sample()))
        concurrent.futures.wait(self._pending.values(), self._page_timeout)
        return samples + self._finished_pages()

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _sample_processes(self) -> list[Sample]:
        samples = []
        for key, pid in self._pids.items():
            before, now = self._readings.pop(key, None), proc.read(pid)
            if now is None:
                continue
            self._readings[key] = now
            if before is not None and before.pid == pid:
                samples.append(self._sample(key, {"pid": pid} | proc.sample(before, now)))
        return samples

    def _finished_pages(self) -> list[Sample]:
        samples = []
        for key in [key for key, pending in self._pending.items() if pending.done()]:
            finished = self._pending.pop(key)
            if finished.exception() is None and key in self._pages:
                samples.append(self._sample(key, finished.result()))
        return samples

    def _sample(self, source: Source, content: Sample) -> Sample:
        node, kind, name = source
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        head = {"time": now, "node": node, "cell": self.cell, "kind": kind}
        return head | ({"name": name} if name else {}) | content


def _load_master(processes: Mapping[str, int | None]) -> int | None:
    """The pid of the load master on this node, found by the port that the load workers connect to."""
    ports = {
        value
        for name, pid in processes.items()
        if name != LOAD_MASTER and pid is not None
        for child in proc.tree(pid)
        for option, value in itertools.pairwise(proc.arguments(child))
        if option == "--master-port"
    }
    for pid in psutil.pids() if ports else []:
        argv = proc.arguments(pid)
        own_ports = {value for option, value in itertools.pairwise(argv) if option == "--port"}
        if "locustfiles.grid.master" in argv and argv[0] != "srun" and ports & own_ports:
            return pid
    return None
