"""One server: its listening sockets, its uvicorn workers and its control port.

Each worker listens on the shared port, for direct clients, and on a port of its own, for the load
balancer, which thus knows the load of every worker.
"""

import contextlib
import os
import selectors
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from benchmark.server.gpus import worker_gpus
from benchmark.server.places import Board
from benchmark.server.process import adopt_orphans, kill_descendants, raise_descriptor_limit
from benchmark.server.settings import Ports, Serving, Settings
from benchmark.server.workers import keeper
from benchmark.server.workers.control import ControlServer
from benchmark.server.workers.exits import describe_exit, describe_loss, describe_running, oom_kills
from benchmark.server.workers.restarts import ExitHistory, WINDOW_SECONDS
from benchmark.server.workers.sockets import listen_all, PortTaken, ServerSockets

START_SECONDS = 60.0
CLOSE_SECONDS = 2.0


class ServerFailed(Exception):
    """The server cannot continue; the message names the worker that exited and its exit status."""


@dataclass
class _Worker:
    process: subprocess.Popen[bytes]
    pidfd: int
    exits: ExitHistory


class Server:
    def __init__(
        self, settings: Settings, serving: Serving, host: str, ports: Ports, gpus: int = 0
    ) -> None:
        """`gpus` are divided among the workers, if it is not 0."""
        self._gpus = gpus
        self._settings, self._serving, self._host, self._ports = settings, serving, host, ports
        self._board = Board.create(settings.workers, settings.max_concurrent_envs)
        self._workers: dict[int, _Worker] = {}
        self._signals: deque[int] = deque()
        self._selector = selectors.DefaultSelector()
        self._oom_kills = oom_kills()
        self._sockets: ServerSockets

    def run(self, drain_seconds: float) -> None:
        """Serves until SIGTERM or SIGINT, then waits up to `drain_seconds` for open sessions.

        Raises `PortTaken` and `ServerFailed`.
        """
        raise_descriptor_limit()
        adopt_orphans()
        with self._catch_signals(), contextlib.ExitStack() as stack:
            workers = self._settings.workers
            self._sockets = listen_all(self._host, self._ports, workers, stack)
            control = self._control_server()
            self._board.activity = f"its workers import {self._serving.app}"
            control.start()
            try:
                for index in range(workers):
                    self._start(index)
                self._print_address()
                self._watch()
                self._drain(drain_seconds)
            finally:
                self._stop_workers()

    def _control_server(self) -> ControlServer:
        try:
            return ControlServer(self._host, self._ports.control, self._board)
        except OSError as failure:
            raise PortTaken(self._host, self._ports.control, failure) from None

    @contextlib.contextmanager
    def _catch_signals(self) -> Iterator[None]:
        reading, writing = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        previous = signal.set_wakeup_fd(writing)
        self._selector.register(reading, selectors.EVENT_READ, None)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda number, _frame: self._signals.append(number))
        try:
            yield
        finally:
            signal.set_wakeup_fd(previous)

    def _start(self, index: int) -> None:
        self._board.clear(index)
        fds = self._sockets.of(index).fds
        argv = [*keeper.boot_argv(keeper.MODULE), str(os.getpid())]
        argv += [*self._serving.arguments(), "--index", str(index)]
        argv += ["--workers", str(self._settings.workers)]
        argv += ["--board-fd", str(self._board.fd), "--fds", *map(str, fds)]
        environment = os.environ | worker_gpus(
            index, self._settings.workers, self._gpus, os.environ
        )
        process = subprocess.Popen(
            argv, env=environment, pass_fds=(self._board.fd, *fds), start_new_session=True
        )
        exits = self._workers[index].exits if index in self._workers else ExitHistory()
        self._workers[index] = _Worker(process, os.pidfd_open(process.pid), exits)
        self._selector.register(self._workers[index].pidfd, selectors.EVENT_READ, index)

    def _print_address(self) -> None:
        settings = self._settings
        print(
            f"Node: {settings.node_name}\n"
            f"Serving {self._serving.app} on http://{self._host}:{self._ports.shared} with "
            f"{settings.workers} worker(s)",
            flush=True,
        )

    def _watch(self) -> None:
        while not self._signals:
            for key, _ in self._selector.select():
                if key.data is None:
                    _discard(key.fd)
                else:
                    self._restart(key.data)

    def _restart(self, index: int) -> None:
        worker = self._workers[index]
        was_ready = self._board.read(index).pid
        report = self._report_exit(index, was_ready != 0)
        worker.exits.add()
        if not was_ready:
            raise ServerFailed(self._board.failure or report)
        if worker.exits.too_many:
            exits = f"{len(worker.exits)} exits in {WINDOW_SECONDS:.0f} s"
            raise ServerFailed(f"{report}; {exits}, not restarting it again")
        _log(f"{report}; restarting it")
        self._start(index)

    def _report_exit(self, index: int, was_ready: bool) -> str:
        """Waits for a worker that has exited, and clears its part of the board."""
        worker = self._workers[index]
        self._selector.unregister(worker.pidfd)
        os.close(worker.pidfd)
        before, self._oom_kills = self._oom_kills, oom_kills()
        exit_ = describe_exit(worker.process.wait(), self._oom_kills > before)
        slot, running = self._board.read(index), self._board.running(index)
        self._board.clear(index)
        # A keeper that was killed leaves orphans.
        kill_descendants({other.process.pid for other in self._workers.values()})
        name = f"worker {index} (pid {slot.pid or worker.process.pid})"
        if not was_ready:
            return f"{name} {exit_} before it was ready{describe_running(running)}"
        return f"{name} {exit_}; {describe_loss(slot.used)}{describe_running(running)}"

    def _drain(self, seconds: float) -> None:
        self._board.draining = True
        self._signals.clear()
        deadline = time.monotonic() + seconds
        while any(slot.used for slot in self._board) and not self._signals:
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                break
            for key, _ in self._selector.select(min(remaining, 0.05)):
                if key.data is None:
                    _discard(key.fd)
                else:
                    _log(self._report_exit(key.data, was_ready=True))
                    del self._workers[key.data]

    def _stop_workers(self) -> None:
        for worker in self._workers.values():
            worker.process.terminate()
        deadline = time.monotonic() + CLOSE_SECONDS
        for worker in self._workers.values():
            try:
                worker.process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                worker.process.kill()
                worker.process.wait()
        kill_descendants()


def _log(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


def _discard(fd: int) -> None:
    with contextlib.suppress(BlockingIOError):
        os.read(fd, 4096)
