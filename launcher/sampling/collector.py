"""Looks at the processes, the machine and the pages that one process of ours samples."""

import concurrent.futures
import itertools
import time
from collections.abc import Callable, Mapping
from datetime import datetime, UTC
from pathlib import Path
from typing import Any

import orjson

from launcher.envoy import admin
from launcher.sampling import proc
from launcher.sampling.targets import LOAD_MASTER, Targets
from launcher.system import http

LINE_BYTES = 900
"""srun tears lines of more than 1,024 bytes."""

PAGE_SECONDS = 0.8
SHORTEST_SECONDS = 0.05
PAGES_AT_ONCE = 8

Sample = dict[str, Any]
Source = tuple[str, str, str]
"""Node, kind and name: what has samples of its own."""


def source(sample: Mapping[str, Any]) -> Source:
    return sample["node"], sample["kind"], sample.get("name", "")


def line(sample: Mapping[str, Any]) -> bytes:
    """As in samples.jsonl: a list of workers that is too long is left out."""
    text = orjson.dumps(sample)
    if len(text) >= LINE_BYTES:
        text = orjson.dumps({key: sample[key] for key in sample if key != "workers"})
    return text


class Looker:
    """What is not there, or does not answer in time, is not in what it takes."""

    def __init__(self, machine: str | None, interval: float) -> None:
        """`machine` is the name of this one; without it there are no samples of it."""
        self._name, self._machine = machine, proc.Machine()
        self._patience = min(PAGE_SECONDS, interval * 0.8)
        self._pids: dict[Source, int] = {}
        self._readings: dict[Source, proc.Reading] = {}
        self._pages: dict[Source, Callable[[], Sample]] = {}
        self._asked: dict[Source, concurrent.futures.Future[Sample]] = {}
        self._pool = concurrent.futures.ThreadPoolExecutor(PAGES_AT_ONCE, "samples")
        self._moment = time.monotonic()
        self._masters: list[str] = []
        self.cell: int | None = None

    def watch(self, targets: Targets) -> None:
        """From now on these and no others."""
        pids: dict[Source, int] = {}
        pages: dict[Source, Callable[[], Sample]] = {}
        for node, target in targets.items():
            for name, pid in target.get("processes", {}).items():
                found = pid if pid is not None else _load_master(target["processes"])
                if found is not None:
                    pids[node, "process", name] = found
            for name, url in target.get("places", {}).items():
                key = node, "places", name
                pages[key] = self._pages.get(key) or PlacesPage(url, self._patience)
            if "envoy" in target:
                pages[node, "envoy", ""] = EnvoyPage(target["envoy"], self._patience)
        self._pids, self._pages = pids, pages
        self._readings = {each: reading for each, reading in self._readings.items() if each in pids}

    def begin(self, cell: int) -> None:
        """What is taken next of processes is of the time from now on."""
        self.cell = cell
        self._moment = time.monotonic()
        self._machine.prime()
        for each, pid in self._pids.items():
            if reading := proc.read(pid):
                self._readings[each] = reading

    def end(self) -> list[Sample]:
        """The last samples of the cell."""
        samples = self.take()
        self.cell = None
        return samples

    def take(self) -> list[Sample]:
        """Takes at most as long as pages may take to answer."""
        for each, page in self._pages.items():
            if each not in self._asked:
                self._asked[each] = self._pool.submit(page)
        samples = []
        if time.monotonic() - self._moment >= SHORTEST_SECONDS:
            self._moment = time.monotonic()
            samples = self._of_processes() + self._of_machine()
        concurrent.futures.wait(self._asked.values(), self._patience)
        return samples + self._of_pages()

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _of_processes(self) -> list[Sample]:
        samples = []
        for each, pid in self._pids.items():
            before, now = self._readings.pop(each, None), proc.read(pid)
            if now is None:
                continue
            self._readings[each] = now
            if before is not None and before.pid == pid:
                samples.append(self._sample(each, {"pid": pid} | proc.sample(before, now)))
        return samples

    def _of_machine(self) -> list[Sample]:
        if self._name is None:
            return []
        return [self._sample((self._name, "node", ""), self._machine.sample())]

    def _of_pages(self) -> list[Sample]:
        samples = []
        for each in [each for each, asked in self._asked.items() if asked.done()]:
            asked = self._asked.pop(each)
            if asked.exception() is None and each in self._pages:
                samples.append(self._sample(each, asked.result()))
        return samples

    def _sample(self, each: Source, content: Sample) -> Sample:
        node, kind, name = each
        head = {"time": now_text(), "node": node, "cell": self.cell, "kind": kind}
        return head | ({"name": name} if name else {}) | content


class EnvoyPage:
    """Of all Envoy processes of a node."""

    def __init__(self, target: Mapping[str, Any], patience: float) -> None:
        self._target, self._patience = target, patience

    def __call__(self) -> Sample:
        pages = {url: Path(socket) for url, socket in self._target["pages"].items()}
        return admin.counters(pages, self._target["port"], self._patience)


class PlacesPage:
    """A server's places; counts how often one of its workers was another than before."""

    def __init__(self, url: str, patience: float) -> None:
        self._url, self._patience = url, patience
        self._pids: list[int] = []
        self._replaced = 0

    def __call__(self) -> Sample:
        page = http.get_json(self._url, self._patience)
        workers = page["workers"]
        pids = [worker["pid"] for worker in workers]
        pairs = zip(self._pids, pids, strict=False)
        self._replaced += sum(before != now for before, now in pairs)
        self._pids = pids
        used = [worker["used"] for worker in workers]
        return {
            "used": page["used"],
            "free": page["free"],
            "limit": page["max_sessions"],
            "refused": page["refused"],
            "count": len(used),
            "most": max(used, default=0),
            "replaced": self._replaced,
            "workers": used,
        }


def now_text() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _load_master(processes: Mapping[str, int | None]) -> int | None:
    """The load master on this node, by the port at which the load workers here call it."""
    ports = {
        after
        for name, pid in processes.items()
        if name != LOAD_MASTER and pid is not None
        for below in proc.tree(pid)
        for word, after in itertools.pairwise(proc.arguments(below))
        if word == "--master-port"
    }
    for pid in proc.pids() if ports else []:
        words = proc.arguments(pid)
        own_ports = {after for word, after in itertools.pairwise(words) if word == "--port"}
        if "locustfiles.grid.master" in words and words[0] != "srun" and ports & own_ports:
            return pid
    return None
