"""Locust's master and load workers as processes, and what they tell while a cell runs."""

import contextlib
import json
import os
import selectors
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from launcher.deployment.placement import Process
from launcher.errors import LoadFailed
from launcher.experiment.load_placement import load_process, LoadPlace
from launcher.runtimes.base import Handle
from launcher.system.signals import Signals

START_SECONDS = 60.0
END_SECONDS = 5.0


@dataclass
class Progress:
    """A cell under way: sessions open, done (failed among them) and failed."""

    open: int = 0
    done: int = 0
    failed: int = 0


@dataclass
class Held:
    """All sessions that will open are open, so many as the clients count them; they step once
    `Load.release` is called."""

    open: int


@dataclass
class CellEnded:
    """`facts` are the load's own, by the names that run.json has for them."""

    facts: dict[str, Any] = field(default_factory=dict)


class Load:
    """A master and its load workers, from `with` to its end. Signals end every wait as
    `Interrupted`."""

    def __init__(self, place: LoadPlace, logs: Path, batch: int, sources: int = 0) -> None:
        """`batch` is the most sessions at once, from so many source addresses."""
        self._place, self._logs, self._batch, self._sources = place, logs, batch, sources
        self._selector = selectors.DefaultSelector()
        self._signals = Signals(self._selector)
        self._runtime = place.runtime()
        self._runtime.check = self._signals.check
        self._workers: dict[str, Handle] = {}
        self._master: Handle | None = None
        self._buffer = b""
        self._dead: dict[str, str] = {}

    def __enter__(self) -> "Load":
        self._signals.__enter__()
        try:
            self._begin()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _begin(self) -> None:
        place = self._place
        self._runtime.prepare((), place.programs().files, None)
        self._check_limits()
        port = str(self._runtime.free_port(place.nodes[0] if not place.here else place.master_bind))
        bind = ("--host", place.master_bind, "--port", port, "--workers", str(len(place.nodes)))
        master = self._process("load-master", place.nodes[0], "locustfiles.grid.master", bind)
        self._master = self._runtime.start(master, pipes=True)
        assert self._master.stdout is not None
        self._output = self._master.stdout.fileno()
        os.set_blocking(self._output, False)
        self._selector.register(self._output, selectors.EVENT_READ, "master")
        join = ("--master-host", place.master_address, "--master-port", port)
        for number, node in enumerate(place.nodes, 1):
            name = f"load-{number}"
            worker = self._process(name, node, "locustfiles.grid.worker", ("--name", name, *join))
            self._workers[name] = handle = self._runtime.start(worker)
            descriptor = handle.fileno()
            if descriptor is not None:
                self._selector.register(descriptor, selectors.EVENT_READ, name)
        self._wait_for_workers()

    def _check_limits(self) -> None:
        """Raises `LoadFailed` when the machines cannot open that many sessions."""
        sources = self._sources or len(self._place.machines)
        workers = len(self._place.nodes)
        obstacle = self._runtime.limits().obstacle(self._batch, workers, sources)
        if obstacle:
            raise LoadFailed(obstacle)

    def __exit__(self, *_: object) -> None:
        self._runtime.stopping()
        handles = [*self._workers.values(), *([self._master] if self._master else [])]
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
        assert self._master is not None
        return {"load-master": self._master.pid} | {
            name: handle.pid for name, handle in self._workers.items()
        }

    def run(self, cell: dict[str, Any]) -> Iterator[bytes | Progress | Held | CellEnded]:
        """Runs one cell: its rows as they come, and how far it is; last a `CellEnded`.

        Raises `LoadFailed` when the master ends.
        """
        self._order({"cell": cell})
        for answer in self._answers(None):
            if isinstance(answer, bytes):
                yield answer
            elif "progress" in answer:
                yield Progress(**answer["progress"])
            elif "held" in answer:
                yield Held(answer["held"])
            elif "cell_ended" in answer:
                facts = answer["cell_ended"]
                facts["lost_workers"] = [self._story(name) for name in facts["lost_workers"]]
                yield CellEnded(facts)
                return

    def release(self, open_servers: int | None) -> None:
        """Lets sessions that are held step; the servers count so many of them."""
        self._order({"release": {"open_servers": open_servers}})

    def _story(self, worker: str) -> str:
        return self._dead.get(worker, f"load worker {worker} stopped answering")

    def _process(self, name: str, node: str, module: str, argv: tuple[str, ...]) -> Process:
        return load_process(self._place, name, node, ("-P", "-m", module, *argv), self._logs)

    def _order(self, order: dict[str, Any]) -> None:
        assert self._master is not None
        assert self._master.stdin is not None
        try:
            self._master.stdin.write(json.dumps(order).encode() + b"\n")
            self._master.stdin.flush()
        except BrokenPipeError:
            raise self._master_ended() from None

    def _wait_for_workers(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        for answer in self._answers(deadline):
            if not isinstance(answer, bytes) and "workers" in answer:
                return
            for name, how in self._dead.items():
                raise LoadFailed(f"{how} before the load began:\n{self._workers[name].tail()}")

    def _answers(self, deadline: float | None) -> Iterator[bytes | dict[str, Any]]:
        """Lines of the master as they come; an empty answer when a load worker has died."""
        while True:
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                raise LoadFailed(
                    f"the load workers were not ready within {START_SECONDS:.0f} s; see {self._logs}"
                )
            ready = self._ready(left)
            self._signals.check()
            self._runtime.pump()
            if any(key.data == "master" for key in ready):
                yield from self._lines()
            for name in self._ended():
                self._bury(name)
                yield {}

    def _ready(self, seconds: float | None) -> list[selectors.SelectorKey]:
        events = self._runtime.events()
        for descriptor in events:
            self._selector.register(descriptor, selectors.EVENT_READ, "runtime")
        try:
            waits = [wait for wait in (seconds, self._runtime.patience) if wait is not None]
            return [key for key, _ in self._selector.select(min(waits, default=None))]
        finally:
            for descriptor in events:
                self._selector.unregister(descriptor)

    def _ended(self) -> list[str]:
        return [
            name
            for name, handle in self._workers.items()
            if name not in self._dead and handle.poll() is not None
        ]

    def _lines(self) -> Iterator[bytes | dict[str, Any]]:
        chunk = os.read(self._output, 1 << 20)
        if not chunk:
            raise self._master_ended()
        *lines, self._buffer = (self._buffer + chunk).split(b"\n")
        for line in lines:
            yield line[2:] if line.startswith(b"R ") else json.loads(line)

    def _bury(self, name: str) -> None:
        handle = self._workers[name]
        descriptor = handle.fileno()
        if descriptor is not None:
            self._selector.unregister(descriptor)
        where = "" if self._place.here else f" on {self._place.nodes[int(name.split('-')[1]) - 1]}"
        self._dead[name] = f"load worker {name} (pid {handle.pid}){where} {handle.ending()}"
        self._order({"lost": name})

    def _master_ended(self) -> LoadFailed:
        assert self._master is not None
        log = self._logs / "load-master.log"
        return LoadFailed(
            f"the load master {self._master.ending()}; the end of {log}:\n{self._master.tail()}"
        )
