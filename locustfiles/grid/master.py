"""`python -m locustfiles.grid.master` runs Locust's master for a grid.

It reads orders from standard input and writes events to standard output, one JSON object per line.
A line that starts with "R " is a row.

orders   {"cell": {...}} · {"release": {...}} · {"lost": "load-2"}
events   {"workers": n} · {"progress": {...}} · {"held": n} · R <row> · {"cell_ended": {...}}
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, BinaryIO

import gevent
import orjson
from gevent.event import AsyncResult
from gevent.fileobject import FileObjectPosix
from gevent.queue import Queue
from locust import runners
from locust.env import Environment
from locust.log import setup_logging
from locust.rpc import Message

from analysis.rows.error_types import ErrorType
from analysis.rows.schema import unfinished
from locustfiles.grid.cell import Cell, WorkerReport
from locustfiles.grid.cell_share import iso
from locustfiles.grid.messages import CELL, CLOCK, HELLO, RELEASE, ROWS
from locustfiles.grid.user import SessionUser

# A busy load worker may miss heartbeats; the launcher reports one whose process has exited.
MISSED_HEARTBEATS = 30

SPAWN_SECONDS = 60.0
LATE_SECONDS = 15.0
TICK_SECONDS = 0.1
# The delay of a cell's start, so that the order reaches every load worker before it.
LEAD_SECONDS = 0.1
# How long to wait for the launcher to count the sessions that the servers hold.
COUNT_SECONDS = 10.0


class GridMaster:
    def __init__(self, runner: runners.MasterRunner, expected: int, events: BinaryIO) -> None:
        self._runner = runner
        self._expected = expected
        self._events = events
        self._names: dict[str, str] = {}
        self._clocks: dict[str, float] = {}
        self._dead: set[str] = set()
        self._cell: Cell | None = None
        self._cells = 0
        self._largest = 1
        self._counted: AsyncResult[dict[str, Any]] = AsyncResult()
        runner.register_message(CLOCK, self._on_clock)
        runner.register_message(HELLO, self._on_hello)
        runner.register_message(ROWS, self._on_rows)

    def run_cell(self, order: dict[str, Any]) -> None:
        """Spawns one user per session, starts the sessions and collects their rows. The users remain
        for the next cell."""
        self._cells += 1
        cell = Cell(self._cells, order)
        cell.assign(self._spawn(cell.batch))
        self._cell = cell
        self._counted = AsyncResult()
        start = time.time() + LEAD_SECONDS
        for worker, share in cell.shares(start):
            self._send(CELL, share, worker)
        self._write_off(cell, cell.unassigned, ErrorType.NOT_STARTED, "no load worker accepted it")
        held = self._hold(cell) if cell.holds else {}
        self._collect(cell, _deadline(cell), lambda: cell.done)
        self._write_off(cell, cell.missing(), ErrorType.ROW_MISSING, "the load worker sent no row")
        self._progress(cell)
        self._cell = None
        ended = {"begun": iso(start), "ended": iso(time.time()), **held}
        ended |= {"lost_workers": sorted(cell.lost_workers)}
        self._emit({"cell_ended": ended | {"workers": cell.fitness(self._clocks)}})

    def released(self, counted: dict[str, Any]) -> None:
        self._counted.set(counted)

    def lost(self, name: str) -> None:
        self._dead.add(name)
        for client_id, worker in self._names.items():
            if worker == name:
                self._runner.clients.pop(client_id, None)  # do not wait for its heartbeat

    def _spawn(self, batch: int) -> dict[str, int]:
        """Returns the number of users of each load worker."""
        self._wait_until(lambda: self._runner.worker_count == self._alive, SPAWN_SECONDS)
        # Locust also removes users at the spawn rate, so the rate never falls below the largest batch.
        self._largest = max(self._largest, batch)
        self._runner.start(batch, spawn_rate=self._largest)
        self._wait_until(lambda: self._spawned() == batch or self._dead, SPAWN_SECONDS)
        return {
            self._names[client_id]: sum(node.user_classes_count.values())
            for client_id, node in list(self._runner.clients.items())
        }

    def _hold(self, cell: Cell) -> dict[str, Any]:
        """Waits until every session is open or has failed, has the launcher count them, and releases
        them."""
        self._collect(cell, _deadline(cell), lambda: cell.held + len(cell.received) >= cell.batch)
        held = cell.held
        self._emit({"held": held})
        counted = self._counted.wait(COUNT_SECONDS) or {}
        open_at_once = {"open_clients": held, "open_servers": counted.get("open_servers")}
        for assignment in cell.assignments:
            if assignment.worker not in cell.lost_workers:
                self._send(RELEASE, {"cell": cell.number, **open_at_once}, assignment.worker)
        return open_at_once

    @property
    def _alive(self) -> int:
        return self._expected - len(self._dead)

    def _spawned(self) -> int:
        return sum(self._runner.reported_user_classes_count.values())

    def _send(self, message: str, data: dict[str, Any], worker: str) -> None:
        for client_id, name in self._names.items():
            if name == worker:
                self._runner.send_message(message, data, client_id)

    def _collect(self, cell: Cell, deadline: float, done: Callable[[], bool]) -> None:
        """Waits until `done()`, or until `deadline` on the monotonic clock, and writes off the sessions
        of lost load workers."""
        while not done() and time.monotonic() < deadline:
            for worker in self._lost_workers() - cell.lost_workers:
                cell.lost_workers.add(worker)
                reason = f"load worker {worker} was lost before the session ended"
                self._write_off(cell, cell.missing(worker), ErrorType.LOAD_WORKER_LOST, reason)
                cell.reports.pop(worker, None)
            self._progress(cell)
            gevent.sleep(TICK_SECONDS)

    def _lost_workers(self) -> set[str]:
        silent = {self._names.get(client.id, client.id) for client in self._runner.clients.missing}
        return self._dead | silent

    def _write_off(
        self, cell: Cell, request_ids: Sequence[int], error_type: ErrorType, message: str
    ) -> None:
        constant = cell.order["constant"]
        for number in request_ids:
            line = unfinished(constant, number, cell.owner(number), error_type, message)
            self._add_row(cell, number, False, line)

    def _add_row(self, cell: Cell, request_id: int, success: bool, line: bytes) -> None:
        if request_id not in cell.received:
            cell.received.add(request_id)
            cell.failed += not success
            self._events.write(b"R " + line + b"\n")

    def _on_clock(self, msg: Message, **_: Any) -> None:
        reply = {"sent": msg.data["sent"], "remote": time.time()}
        self._runner.send_message(CLOCK, reply, msg.node_id)

    def _on_hello(self, msg: Message, **_: Any) -> None:
        before = len(self._names)
        name = self._names[msg.node_id] = msg.data["name"]
        self._clocks[name] = msg.data["clock_offset"]
        if before < len(self._names) == self._expected:
            self._emit({"workers": self._expected})

    def _on_rows(self, msg: Message, **_: Any) -> None:
        cell, report = self._cell, msg.data
        if cell is None or report["cell"] != cell.number:
            return  # late rows of an earlier cell, which were written off
        name = self._names[msg.node_id]
        if name in cell.lost_workers:
            return
        cell.reports[name] = WorkerReport(report["open"], report["held"], report["fitness"])
        for request_id, success, line in report["rows"]:
            self._add_row(cell, request_id, success, line)
        self._events.flush()

    def _progress(self, cell: Cell) -> None:
        progress = {"open": cell.open, "done": len(cell.received), "failed": cell.failed}
        self._emit({"progress": progress})

    def _emit(self, event: dict[str, Any]) -> None:
        self._events.write(json.dumps(event).encode() + b"\n")
        self._events.flush()

    def _wait_until(self, condition: Callable[[], Any], seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not condition() and time.monotonic() < deadline:
            gevent.sleep(0.02)


def _deadline(cell: Cell) -> float:
    """When every session of the cell must have ended, or opened, on the monotonic clock."""
    timeout: float = cell.order["timeout"]
    return time.monotonic() + LEAD_SECONDS + cell.last_start() + timeout + LATE_SECONDS


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="locustfiles.grid.master")
    parser.add_argument("--host", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--workers", type=int, required=True)
    options = parser.parse_args(arguments)
    setup_logging("WARNING")
    runners.HEARTBEAT_LIVENESS = MISSED_HEARTBEATS
    environment = Environment(user_classes=[SessionUser], host="openenv")
    runner = environment.create_master_runner(options.host, options.port)
    master = GridMaster(runner, options.workers, sys.stdout.buffer)
    cells: Queue[dict[str, Any] | None] = Queue()

    def read_orders() -> None:
        for line in FileObjectPosix(sys.stdin.fileno(), "rb", close=False):
            order = orjson.loads(line)
            if "lost" in order:
                master.lost(order["lost"])
            elif "release" in order:
                master.released(order["release"])
            else:
                cells.put(order["cell"])
        cells.put(None)

    gevent.spawn(read_orders)
    while (order := cells.get()) is not None:
        master.run_cell(order)
    runner.quit()
    return 0


if __name__ == "__main__":
    sys.exit(main())
