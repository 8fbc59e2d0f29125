"""Observes `launcher grid`, alone or with a deployment, from outside: the CPU time that each kind of process
used in each cell."""

import csv
import json
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from tests.perf.machine import memory_available
from tests.perf.processes import cpu, CpuTime, NotMeasured, python, running, tree, trees
from tests.perf.run import Run

POLL_SECONDS = 0.02
SLOW_SECONDS = 0.25
LAUNCHER = ("-P", "-m", "launcher")


@dataclass
class WatchedGrid:
    """The observations of one grid: the CPU time of each cell, by repetition and role (cells differ in
    nothing else), the CPU time of the load workers' whole `life`, and the available memory in bytes before
    the grid and at its lowest."""

    output: Path
    last: dict[int, dict[str, CpuTime]] = field(default_factory=dict)
    life: CpuTime = field(default_factory=CpuTime)
    seconds: float = 0.0
    available_before: int = 0
    min_available: int = 0

    @property
    def cells(self) -> list[dict[str, CpuTime]]:
        """The cells in order; a cell that was repeated has its last attempt, as in the summary."""
        return [self.last[repetition] for repetition in sorted(self.last)]

    @property
    def lines(self) -> list[dict[str, str]]:
        with (self.output / "summary.csv").open() as file:
            return list(csv.DictReader(file))

    @property
    def rows(self) -> Iterator[dict[str, Any]]:
        """The rows of the last attempt of each cell, as the summary counts them."""
        cells = json.loads((self.output / "run.json").read_text())["cells"]
        last = {cell["repetition"]: cell["attempt"] for cell in cells}
        with (self.output / "raw.jsonl").open() as file:
            for row in map(json.loads, file):
                if row["attempt"] == last.get(row["repetition"]):
                    yield row

    def outcome(self, cell: int) -> dict[str, Any]:
        """The outcome of a cell (from 0), in the format of the peers' clients."""
        line = self.lines[cell]
        errors = dict(pair.rsplit(":", 1) for pair in (line.get("errors") or "").split())
        return {
            "sessions": int(line["batch_size"]),
            "failed": int(line["batch_size"]) - int(line["successful"] or 0),
            "errors": {name: int(count) for name, count in errors.items()},
        }

    def per_worker(self, repetition: int) -> Counter[tuple[str, int]]:
        """The number of sessions of each worker that answered at least one."""
        return Counter(
            (row["host_url"], row["pid"])
            for row in self.rows
            if row["repetition"] == repetition and row["pid"] is not None
        )

    def opening_seconds(self) -> float:
        """Seconds from the start of the first session until the last one was open and reset."""
        started, opened = [], []
        for row in self.rows:
            at = datetime.fromisoformat(row["timestamp"]).timestamp()
            started.append(at)
            if row["reset_latency"] is not None:
                opened.append(at + row["connect_latency"] + row["reset_latency"])
        return max(opened) - min(started) if opened else 0.0


def launcher(*arguments: str) -> list[str]:
    return [python()[0], *LAUNCHER, *arguments]


def grid_arguments(output: Path, *options: str) -> tuple[str, ...]:
    return ("grid", "--output-dir", str(output), *options)


def up_arguments(run: Run, name: str, nodes: int, *options: str) -> tuple[str, ...]:
    """The arguments for a new local deployment; the folder of the same name holds its state."""
    where = ("--local-address", run.new_address(nodes), "--dir", str(run.folder / name))
    return ("up", "--local", "--name", f"bench-{name}", "--nodes", str(nodes), *where, *options)


def watch(
    run: Run, output: Path, arguments: tuple[str, ...], state: Path | None, seconds: float
) -> WatchedGrid:
    """Runs the launcher with these arguments until it exits. Raises `NotMeasured`."""
    watched = WatchedGrid(output, available_before=memory_available())
    watched.min_available = watched.available_before
    log = run.log(output.name)
    argv = launcher(*arguments)
    started = time.monotonic()
    with running(argv, log) as process:
        watcher = _Watcher(watched, process, state)
        while process.poll() is None:
            watcher.poll()
            time.sleep(POLL_SECONDS)
            if time.monotonic() - started > seconds:
                raise NotMeasured(f"not within {seconds:.0f} s; see {log}")
    watched.seconds = time.monotonic() - started
    if process.returncode:
        output_lines = [line for line in log.read_text().splitlines() if line.strip()]
        errors = [line for line in output_lines if line.startswith("error: ")] or output_lines[-1:]
        raise NotMeasured(
            f"exit code {process.returncode}: {(errors or [str(log)])[0].removeprefix('error: ')}"
        )
    return watched


class _Watcher:
    """Polls files and processes a few times a second, and at the start and end of each cell."""

    def __init__(
        self, watched: WatchedGrid, process: subprocess.Popen[str], state: Path | None
    ) -> None:
        self._watched, self._process, self._state = watched, process, state
        self._file, self._text = watched.output / "run.json", b""
        self._started = self._ended = 0
        self._before: dict[str, dict[int, CpuTime]] = {}
        self._load: dict[str, int] = {}
        self._last_usage: dict[int, CpuTime] = {}
        self._next = 0.0

    def poll(self) -> None:
        if time.monotonic() > self._next:
            self._next = time.monotonic() + SLOW_SECONDS
            watched = self._watched
            watched.min_available = min(watched.min_available, memory_available())
        self._live()
        try:
            text = self._file.read_bytes()  # its mtime is too coarse to distinguish two writes
        except OSError:
            return
        if text != self._text:
            self._text = text
            self._changed(json.loads(text))

    def _live(self) -> None:
        self._watched.life = sum(self._used(self._workers).values(), CpuTime())

    def _used(self, pids: list[int]) -> dict[int, CpuTime]:
        """The CPU time of each process; for a process that has exited, its last reading."""
        for pid in pids:
            now = cpu([pid])
            if now.total >= self._last_usage.get(pid, CpuTime()).total:
                self._last_usage[pid] = now
        return {pid: self._last_usage[pid] for pid in pids}

    def _changed(self, run: dict[str, Any]) -> None:
        self._load = run["placement"].get("load") or self._load
        now, ended = self._by_role(), len(run["cells"])
        if (
            ended > self._ended
        ):  # before the next start, which may have happened since the last poll
            if ended > self._started:
                raise NotMeasured("a cell started and ended between two polls")
            cell = {role: _difference(self._before[role], now[role]) for role in now}
            self._watched.last[run["cells"][-1]["repetition"]] = cell
            self._ended = ended
        if run["begun"] > self._started:
            self._started, self._before = run["begun"], now

    @property
    def _workers(self) -> list[int]:
        return [pid for name, pid in self._load.items() if name != "load-master"]

    def _by_role(self) -> dict[str, dict[int, CpuTime]]:
        roles: dict[str, list[int]] = {"load workers": self._workers, "server": [], "envoy": []}
        for process in json.loads(self._state.read_text())["processes"] if self._state else ():
            roles[process["role"]] += trees([process["pid"]])
        known = {pid for pids in roles.values() for pid in pids}
        roles["launcher and master"] = [p for p in tree(self._process.pid) if p not in known]
        return {role: self._used(pids) for role, pids in roles.items()}


def _difference(before: dict[int, CpuTime], after: dict[int, CpuTime]) -> CpuTime:
    """The CPU time used between two readings; processes that started in between count in full."""
    return sum((used - before.get(pid, CpuTime()) for pid, used in after.items()), CpuTime())
