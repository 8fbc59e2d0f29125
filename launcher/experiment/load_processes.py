"""Locust's master and load workers as processes, and the messages of the master."""

import contextlib
import json
import os
import selectors
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from launcher.deployment.placement import Process
from launcher.errors import LoadFailed
from launcher.experiment.load_placement import LoadPlacement
from launcher.runtimes.base import Handle
from launcher.system.lines import LineSplitter
from launcher.system.signals import Signals

START_SECONDS = 60.0
END_SECONDS = 5.0
MASTER = "load-master"


@dataclass
class Progress:
    """How many sessions of a running cell are open, done (including failed) and failed."""

    open: int = 0
    done: int = 0
    failed: int = 0


@dataclass
class AllSessionsOpen:
    """Every session is open or has failed; the load workers count `open`. Sessions step once
    `LoadProcesses.release` is called."""

    open: int


@dataclass
class CellEnded:
    """The report of the load about a cell, for run.json. `begun` and `ended` are in ISO 8601;
    `open_clients` and `open_servers` count the sessions that were open together."""

    begun: str
    ended: str
    workers: dict[str, dict[str, Any]]
    lost_workers: list[str]
    open_clients: int | None = None
    open_servers: int | None = None


class LoadProcesses:
    """A master and its load workers, which run within the `with` block. A signal ends every wait as
    `Interrupted`."""

    def __init__(
        self, placement: LoadPlacement, logs: Path, max_sessions: int, sources: int = 0
    ) -> None:
        """`sources` is the number of source addresses."""
        self._placement, self._logs = placement, logs
        self._max_sessions, self._sources = max_sessions, sources
        self._selector = selectors.DefaultSelector()
        self._signals = Signals(self._selector)
        self._runtime = placement.runtime()
        self._runtime.check = self._signals.check
        self._handles: dict[str, Handle] = {}  # the master's first
        self._splitter = LineSplitter()
        self._lost: dict[str, str] = {}

    def __enter__(self) -> "LoadProcesses":
        self._signals.__enter__()
        try:
            self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _start(self) -> None:
        placement = self._placement
        self._runtime.prepare((), placement.programs().files, None)
        workers, sources = len(placement.nodes), self._sources or len(placement.machines)
        obstacle = self._runtime.limits().obstacle(self._max_sessions, workers, sources)
        if obstacle:
            raise LoadFailed(obstacle)
        port = str(self._runtime.free_port(placement.nodes[0]))
        bind = ("--host", placement.master_bind, "--port", port, "--workers", str(workers))
        master = self._process(MASTER, placement.nodes[0], "locustfiles.grid.master", bind)
        self._handles[MASTER] = handle = self._runtime.start(master, pipes=True)
        assert handle.stdin is not None
        assert handle.stdout is not None
        self._input, self._output = handle.stdin, handle.stdout.fileno()
        os.set_blocking(self._output, False)
        self._selector.register(self._output, selectors.EVENT_READ, MASTER)
        join = ("--master-host", placement.master_address, "--master-port", port)
        for number, node in enumerate(placement.nodes, 1):
            name = f"load-{number}"
            worker = self._process(name, node, "locustfiles.grid.worker", ("--name", name, *join))
            self._handles[name] = handle = self._runtime.start(worker)
            descriptor = handle.fileno()
            if descriptor is not None:
                self._selector.register(descriptor, selectors.EVENT_READ, name)
        self._wait_for_workers()

    def __exit__(self, *_: object) -> None:
        self._runtime.expect_exits()
        handles = [*reversed(self._handles.values())]  # the master last
        for handle in handles:
            handle.kill()
        for handle in handles:
            with contextlib.suppress(subprocess.TimeoutExpired):
                handle.wait(END_SECONDS)
            for stream in (handle.stdin, handle.stdout):
                if stream is not None:
                    with contextlib.suppress(BrokenPipeError):
                        stream.close()
            handle.close()
        self._runtime.close()
        self._signals.__exit__()
        self._selector.close()

    @property
    def pids(self) -> dict[str, int | None]:
        return {name: handle.pid for name, handle in self._handles.items()}

    def run(self, cell: dict[str, Any]) -> Iterator[bytes | Progress | AllSessionsOpen | CellEnded]:
        """Runs one cell: yields its rows and progress as they come, and a `CellEnded` at the end.

        Raises `LoadFailed` when the master exits.
        """
        self._send({"cell": cell})
        for answer in self._messages(None):
            if isinstance(answer, bytes):
                yield answer
            elif "progress" in answer:
                yield Progress(**answer["progress"])
            elif "held" in answer:
                yield AllSessionsOpen(answer["held"])
            elif "cell_ended" in answer:
                report = CellEnded(**answer["cell_ended"])
                report.lost_workers = [
                    self._lost.get(name, f"load worker {name} stopped answering")
                    for name in report.lost_workers
                ]
                yield report
                return

    def release(self, open_servers: int | None) -> None:
        """Lets the open sessions step; the servers count `open_servers` of them."""
        self._send({"release": {"open_servers": open_servers}})

    def _process(self, name: str, node: str, module: str, argv: tuple[str, ...]) -> Process:
        return self._placement.process(name, node, ("-P", "-m", module, *argv), self._logs)

    def _send(self, order: dict[str, Any]) -> None:
        try:
            self._input.write(json.dumps(order).encode() + b"\n")
            self._input.flush()
        except BrokenPipeError:
            raise self._master_failure() from None

    def _wait_for_workers(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        for answer in self._messages(deadline):
            if not isinstance(answer, bytes) and "workers" in answer:
                return
            for name, reason in self._lost.items():
                raise LoadFailed(f"{reason} before the load started:\n{self._handles[name].tail()}")

    def _messages(self, deadline: float | None) -> Iterator[bytes | dict[str, Any]]:
        """Messages and rows of the master as they come; an empty message when a load worker died."""
        while True:
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                raise LoadFailed(
                    f"the load workers were not ready within {START_SECONDS:.0f} s; see {self._logs}"
                )
            ready = self._ready(left)
            self._signals.check()
            self._runtime.pump()
            if any(key.data == MASTER for key in ready):
                yield from self._lines()
            for name, handle in self._handles.items():
                if name not in (MASTER, *self._lost) and handle.poll() is not None:
                    self._reap(name, handle)
                    yield {}

    def _ready(self, seconds: float | None) -> list[selectors.SelectorKey]:
        events = self._runtime.events()
        for descriptor in events:
            self._selector.register(descriptor, selectors.EVENT_READ, "runtime")
        try:
            waits = [wait for wait in (seconds, self._runtime.poll_seconds) if wait is not None]
            return [key for key, _ in self._selector.select(min(waits, default=None))]
        finally:
            for descriptor in events:
                self._selector.unregister(descriptor)

    def _lines(self) -> Iterator[bytes | dict[str, Any]]:
        chunk = os.read(self._output, 1 << 20)
        if not chunk:
            raise self._master_failure()
        for line in self._splitter.feed(chunk):
            yield line[2:] if line.startswith(b"R ") else json.loads(line)

    def _reap(self, name: str, handle: Handle) -> None:
        descriptor = handle.fileno()
        if descriptor is not None:
            self._selector.unregister(descriptor)
        node = self._placement.nodes[int(name.split("-")[1]) - 1]
        where = "" if self._placement.is_local else f" on {node}"
        self._lost[name] = f"load worker {name} (pid {handle.pid}){where} {handle.describe_exit()}"
        self._send({"lost": name})

    def _master_failure(self) -> LoadFailed:
        log, master = self._logs / f"{MASTER}.log", self._handles[MASTER]
        return LoadFailed(
            f"the load master {master.describe_exit()}; the end of {log}:\n{master.tail()}"
        )
