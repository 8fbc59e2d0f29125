"""`launcher grid`, alone or beside a deployment, watched from outside: what each kind of process used
during each cell."""

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
from tests.perf.processes import cpu, NotMeasured, python, running, tree, trees, Used
from tests.perf.run import Run

POLL_SECONDS = 0.02
SLOW_SECONDS = 0.25
LAUNCHER = ("-P", "-m", "launcher")


@dataclass
class Watched:
    """What was seen of a grid. CPU of each cell, by its repetition as they differ in nothing else, and of
    the load workers' whole lives; bytes of memory that were available at the least, before and while it
    ran."""

    output: Path
    last: dict[int, dict[str, Used]] = field(default_factory=dict)
    life: Used = field(default_factory=Used)
    seconds: float = 0.0
    available_before: int = 0
    available_least: int = 0

    @property
    def cells(self) -> list[dict[str, Used]]:
        """In order; of a cell that was run again, the last attempt, as in the summary."""
        return [self.last[repetition] for repetition in sorted(self.last)]

    @property
    def lines(self) -> list[dict[str, str]]:
        with (self.output / "summary.csv").open() as file:
            return list(csv.DictReader(file))

    @property
    def rows(self) -> Iterator[dict[str, Any]]:
        """Of the last attempt of each cell, as the summary counts them."""
        cells = json.loads((self.output / "run.json").read_text())["cells"]
        last = {cell["repetition"]: cell["attempt"] for cell in cells}
        with (self.output / "raw.jsonl").open() as file:
            for row in map(json.loads, file):
                if row["attempt"] == last.get(row["repetition"]):
                    yield row

    def told(self, cell: int) -> dict[str, Any]:
        """Of a cell (from 0), as a load says it of its sessions."""
        line = self.lines[cell]
        errors = dict(pair.rsplit(":", 1) for pair in (line.get("errors") or "").split())
        return {
            "sessions": int(line["batch_size"]),
            "failed": int(line["batch_size"]) - int(line["successful"] or 0),
            "errors": {name: int(count) for name, count in errors.items()},
        }

    def per_worker(self, repetition: int) -> Counter[tuple[str, int]]:
        """Sessions of each worker that answered one."""
        return Counter(
            (row["host_url"], row["pid"])
            for row in self.rows
            if row["repetition"] == repetition and row["pid"] is not None
        )

    def opening_seconds(self) -> float:
        """From the start of the first session until the last was open and reset."""
        begun, opened = [], []
        for row in self.rows:
            at = datetime.fromisoformat(row["timestamp"]).timestamp()
            begun.append(at)
            if row["reset_latency"] is not None:
                opened.append(at + row["connect_latency"] + row["reset_latency"])
        return max(opened) - min(begun) if opened else 0.0


def launcher(*words: str) -> list[str]:
    return [python()[0], *LAUNCHER, *words]


def grid_words(output: Path, *options: str) -> tuple[str, ...]:
    return ("grid", "--output-dir", str(output), *options)


def up_words(run: Run, name: str, nodes: int, *options: str) -> tuple[str, ...]:
    """Beside a deployment of its own; the folder of the same name holds its state."""
    where = ("--local-address", run.new_address(nodes), "--dir", str(run.folder / name))
    return ("up", "--local", "--name", f"bench-{name}", "--nodes", str(nodes), *where, *options)


def watch(
    run: Run, output: Path, words: tuple[str, ...], state: Path | None, seconds: float
) -> Watched:
    """Runs the launcher with these words to its end. Raises `NotMeasured`."""
    watched = Watched(output, available_before=memory_available())
    watched.available_least = watched.available_before
    log = run.log(output.name)
    argv = launcher(*words)
    begun = time.monotonic()
    with running(argv, log) as process:
        watcher = _Watcher(watched, process, state)
        while process.poll() is None:
            watcher.look()
            time.sleep(POLL_SECONDS)
            if time.monotonic() - begun > seconds:
                raise NotMeasured(f"not within {seconds:.0f} s; see {log}")
    watched.seconds = time.monotonic() - begun
    if process.returncode:
        said = [line for line in log.read_text().splitlines() if line.strip()]
        errors = [line for line in said if line.startswith("error: ")] or said[-1:]
        raise NotMeasured(
            f"exit code {process.returncode}: {(errors or [str(log)])[0].removeprefix('error: ')}"
        )
    return watched


class _Watcher:
    """Looks at files and processes a few times a second, and at each cell's begin and end."""

    def __init__(
        self, watched: Watched, process: subprocess.Popen[str], state: Path | None
    ) -> None:
        self._watched, self._process, self._state = watched, process, state
        self._file, self._text = watched.output / "run.json", b""
        self._begun = self._ended = 0
        self._before: dict[str, dict[int, Used]] = {}
        self._load: dict[str, int] = {}
        self._seen: dict[int, Used] = {}
        self._next = 0.0

    def look(self) -> None:
        if time.monotonic() > self._next:
            self._next = time.monotonic() + SLOW_SECONDS
            watched = self._watched
            watched.available_least = min(watched.available_least, memory_available())
        self._live()
        try:
            text = (
                self._file.read_bytes()
            )  # its time of change is too coarse to tell two writes apart
        except OSError:
            return
        if text != self._text:
            self._text = text
            self._changed(json.loads(text))

    def _live(self) -> None:
        self._watched.life = sum(self._used(self._workers).values(), Used())

    def _used(self, pids: list[int]) -> dict[int, Used]:
        """Processes that have ended count what they were last seen to have used."""
        for pid in pids:
            now = cpu([pid])
            if now.total >= self._seen.get(pid, Used()).total:
                self._seen[pid] = now
        return {pid: self._seen[pid] for pid in pids}

    def _changed(self, run: dict[str, Any]) -> None:
        self._load = run["placement"].get("load") or self._load
        now, ended = self._by_role(), len(run["cells"])
        if (
            ended > self._ended
        ):  # before another begins, which may have happened since the last look
            if ended > self._begun:
                raise NotMeasured("a cell began and ended between two looks at it")
            cell = {role: _spent(self._before[role], now[role]) for role in now}
            self._watched.last[run["cells"][-1]["repetition"]] = cell
            self._ended = ended
        if run["begun"] > self._begun:
            self._begun, self._before = run["begun"], now

    @property
    def _workers(self) -> list[int]:
        return [pid for name, pid in self._load.items() if name != "load-master"]

    def _by_role(self) -> dict[str, dict[int, Used]]:
        roles: dict[str, list[int]] = {"load workers": self._workers, "server": [], "envoy": []}
        for process in json.loads(self._state.read_text())["processes"] if self._state else ():
            roles[process["role"]] += trees([process["pid"]])
        known = {pid for pids in roles.values() for pid in pids}
        roles["launcher and master"] = [p for p in tree(self._process.pid) if p not in known]
        return {role: self._used(pids) for role, pids in roles.items()}


def _spent(before: dict[int, Used], after: dict[int, Used]) -> Used:
    """By processes that are there at the end; those that began in between count whole."""
    return sum((used - before.get(pid, Used()) for pid, used in after.items()), Used())
