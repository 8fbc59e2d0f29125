"""Locust's master and load workers as processes, and what they tell while a cell runs."""

import contextlib
import json
import os
import selectors
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from launcher.errors import LoadFailed
from launcher.runtimes.local import spawn
from launcher.signals import Signals
from launcher.supervisor import ending, tail

START_SECONDS = 60.0


@dataclass(frozen=True)
class LoadPlan:
    """How load is made: how many load workers, from which source addresses, with logs where."""

    workers: int
    sources: tuple[str, ...]
    logs: Path
    host: str = "127.0.0.1"


@dataclass
class Progress:
    """A cell under way: sessions open, done (failed among them) and failed."""

    open: int = 0
    done: int = 0
    failed: int = 0


@dataclass
class CellEnded:
    lost_workers: list[str]
    details: dict[str, Any] = field(default_factory=dict)


class Load:
    """A master and its load workers, from `with` to its end. Signals end every wait as
    `Interrupted`."""

    def __init__(self, plan: LoadPlan) -> None:
        self._plan = plan
        self._selector = selectors.DefaultSelector()
        self._signals = Signals(self._selector)
        self._workers: dict[str, subprocess.Popen[bytes]] = {}
        self._pidfds: list[int] = []
        self._buffer = b""
        self._dead: dict[str, str] = {}

    def __enter__(self) -> "Load":
        self._signals.__enter__()
        port = free_port(self._plan.host)
        argv = [
            "--host",
            self._plan.host,
            "--port",
            str(port),
            "--workers",
            str(self._plan.workers),
        ]
        self._master = self._spawn(
            "locustfiles.master",
            argv,
            self._log("master"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._master.stdout is not None
        self._output = self._master.stdout.fileno()
        os.set_blocking(self._output, False)
        self._selector.register(self._output, selectors.EVENT_READ, "master")
        for number in range(1, self._plan.workers + 1):
            name = f"load-{number}"
            argv = ["--name", name, "--master-host", self._plan.host, "--master-port", str(port)]
            self._workers[name] = self._spawn("locustfiles.worker", argv, self._log(name))
            pidfd = os.pidfd_open(self._workers[name].pid)
            self._pidfds.append(pidfd)
            self._selector.register(pidfd, selectors.EVENT_READ, name)
        try:
            self._wait_for_workers()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for process in [*self._workers.values(), self._master]:
            if process.poll() is None:
                process.kill()
            process.wait()
        for stream in (self._master.stdin, self._master.stdout):
            if stream is not None:
                with contextlib.suppress(BrokenPipeError):
                    stream.close()
        for pidfd in self._pidfds:
            os.close(pidfd)
        self._signals.__exit__()
        self._selector.close()

    @property
    def pids(self) -> dict[str, int]:
        return {"load-master": self._master.pid} | {
            name: process.pid for name, process in self._workers.items()
        }

    def run(self, cell: dict[str, Any]) -> Iterator[bytes | Progress | CellEnded]:
        """Runs one cell: its rows as they come, and how far it is; last a `CellEnded`.

        Raises `LoadFailed` when the master ends.
        """
        self._order({"cell": cell})
        for answer in self._answers(None):
            if isinstance(answer, bytes):
                yield answer
            elif "progress" in answer:
                yield Progress(**answer["progress"])
            elif "cell_ended" in answer:
                ended = answer["cell_ended"]
                yield CellEnded(
                    [
                        self._dead.get(name, f"load worker {name} stopped answering")
                        for name in ended["lost_workers"]
                    ],
                    ended,
                )
                return

    def _spawn(
        self, module: str, argv: list[str], log: Path, **pipes: Any
    ) -> subprocess.Popen[bytes]:
        return spawn((sys.executable, "-P", "-m", module, *argv), {}, log, **pipes)

    def _log(self, name: str) -> Path:
        return self._plan.logs / f"{name}.log"

    def _order(self, order: dict[str, Any]) -> None:
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
                raise LoadFailed(f"{how} before the load began:\n{tail(self._log(name))}")

    def _answers(self, deadline: float | None) -> Iterator[bytes | dict[str, Any]]:
        """Lines of the master as they come; an empty answer when a load worker has died."""
        while True:
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                raise LoadFailed(
                    f"the load workers were not ready within {START_SECONDS:.0f} s; see {self._plan.logs}"
                )
            ready = [key for key, _ in self._selector.select(left)]
            self._signals.check()
            for key in ready:
                if key.data == "master":
                    yield from self._lines()
                else:
                    self._bury(key)
                    yield {}

    def _lines(self) -> Iterator[bytes | dict[str, Any]]:
        chunk = os.read(self._output, 1 << 20)
        if not chunk:
            raise self._master_ended()
        *lines, self._buffer = (self._buffer + chunk).split(b"\n")
        for line in lines:
            yield line[2:] if line.startswith(b"R ") else json.loads(line)

    def _bury(self, key: selectors.SelectorKey) -> None:
        self._selector.unregister(key.fd)
        name = key.data
        process = self._workers[name]
        self._dead[name] = f"load worker {name} (pid {process.pid}) {ending(process)}"
        self._order({"lost": name})

    def _master_ended(self) -> LoadFailed:
        log = self._log("master")
        return LoadFailed(f"the load master {ending(self._master)}; the end of {log}:\n{tail(log)}")


def free_port(host: str) -> int:
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])
