"""`python -m locustfiles.grid.master`: Locust's master for a grid.

Takes orders on standard input and tells what happens on standard output, one JSON object a line;
a row is a line that begins with "R" and a space.

orders   {"cell": {...}} · {"release": {...}} · {"lost": "load-2"}
answers  {"workers": n} · {"progress": {...}} · {"held": n} · R <row> · {"cell_ended": {...}}
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
from locustfiles.grid.cell import Cell, Told
from locustfiles.grid.cell_share import iso
from locustfiles.grid.messages import CELL, CLOCK, HELLO, RELEASE, ROWS
from locustfiles.grid.user import SessionUser

HEARTBEATS_MISSED = 30
"""A load worker in the middle of a burst may be silent for a while; one that died is reported by
the launcher, which sees its process end."""

SPAWN_SECONDS = 60.0
LATE_SECONDS = 15.0
TICK_SECONDS = 0.1
LEAD_SECONDS = 0.1
"""From the order to the start of a cell, so that it has reached every load worker before."""

COUNT_SECONDS = 10.0
"""For the launcher to count what the servers hold."""


class GridMaster:
    def __init__(self, runner: runners.MasterRunner, expected: int, answers: BinaryIO) -> None:
        self._runner = runner
        self._expected = expected
        self._answers = answers
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
        """Has one user a session, starts them, and collects their rows. Users stay for the next
        cell."""
        self._cells += 1
        cell = Cell(self._cells, order)
        cell.assign(self._spawn(cell.batch))
        self._cell = cell
        self._counted = AsyncResult()
        begun = time.time() + LEAD_SECONDS
        for worker, share in cell.shares(begun):
            self._send(CELL, share, worker)
        self._write_off(
            cell, cell.unassigned, ErrorType.NOT_STARTED, "no load worker took the session"
        )
        held = self._hold(cell) if cell.holds else {}
        latest = LEAD_SECONDS + cell.last_begun() + order["timeout"] + LATE_SECONDS
        self._collect(cell, time.monotonic() + latest, lambda: cell.done)
        self._write_off(
            cell, cell.missing(), ErrorType.ROW_MISSING, "the load worker sent no row in time"
        )
        self._progress(cell)
        self._cell = None
        ended = {"begun": iso(begun), "ended": iso(time.time()), **held}
        ended |= {"lost_workers": sorted(cell.lost_workers)}
        self._say({"cell_ended": ended | {"workers": cell.fitness(self._clocks)}})

    def released(self, counted: dict[str, Any]) -> None:
        self._counted.set(counted)

    def lost(self, name: str) -> None:
        self._dead.add(name)
        for client_id, known in self._names.items():
            if known == name:
                self._runner.clients.pop(client_id, None)  # Locust need not wait for its heartbeat

    def _spawn(self, batch: int) -> dict[str, int]:
        """How many users each load worker has then."""
        self._wait_until(lambda: self._runner.worker_count == self._alive, SPAWN_SECONDS)
        # Locust takes users away as slowly as it adds them: never slower than the largest batch.
        self._largest = max(self._largest, batch)
        self._runner.start(batch, spawn_rate=self._largest)
        self._wait_until(lambda: self._spawned() == batch or self._dead, SPAWN_SECONDS)
        return {
            self._names[client_id]: sum(node.user_classes_count.values())
            for client_id, node in list(self._runner.clients.items())
        }

    def _hold(self, cell: Cell) -> dict[str, Any]:
        """Waits until every session is open or has failed, has them counted, and lets them step."""
        latest = LEAD_SECONDS + cell.last_begun() + cell.order["timeout"] + LATE_SECONDS
        opened = time.monotonic() + latest
        self._collect(cell, opened, lambda: cell.held + len(cell.received) >= cell.batch)
        held = cell.held
        self._say({"held": held})
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

    def _collect(self, cell: Cell, deadline: float, enough: Callable[[], bool]) -> None:
        """Takes in rows until there are enough or the deadline (monotonic) passes."""
        while not enough() and time.monotonic() < deadline:
            for worker in self._gone() - cell.lost_workers:
                cell.lost_workers.add(worker)
                reason = f"load worker {worker} was lost before the session ended"
                self._write_off(cell, cell.missing(worker), ErrorType.LOAD_WORKER_LOST, reason)
                cell.told.pop(worker, None)
            self._progress(cell)
            gevent.sleep(TICK_SECONDS)

    def _gone(self) -> set[str]:
        silent = {self._names.get(client.id, client.id) for client in self._runner.clients.missing}
        return self._dead | silent

    def _write_off(
        self, cell: Cell, request_ids: Sequence[int], error_type: ErrorType, message: str
    ) -> None:
        constant = cell.order["constant"]
        for number in request_ids:
            line = unfinished(constant, number, cell.owner(number), error_type, message)
            self._take(cell, number, line)

    def _take(self, cell: Cell, request_id: int, line: bytes) -> None:
        if request_id not in cell.received:
            cell.received.add(request_id)
            cell.failed += b'"success":false' in line
            self._answers.write(b"R " + line + b"\n")

    def _on_clock(self, msg: Message, **_: Any) -> None:
        answer = {"sent": msg.data["sent"], "there": time.time()}
        self._runner.send_message(CLOCK, answer, msg.node_id)

    def _on_hello(self, msg: Message, **_: Any) -> None:
        known = len(self._names)
        name = self._names[msg.node_id] = msg.data["name"]
        self._clocks[name] = msg.data["clock_offset"]
        if known < len(self._names) == self._expected:
            self._say({"workers": self._expected})

    def _on_rows(self, msg: Message, **_: Any) -> None:
        cell, told = self._cell, msg.data
        if cell is None or told["cell"] != cell.number:
            return  # late rows of a cell that has ended: they were written off
        name = self._names[msg.node_id]
        if name in cell.lost_workers:
            return
        cell.told[name] = Told(told["open"], told["held"], told["fitness"])
        for request_id, line in told["rows"]:
            self._take(cell, request_id, line)
        self._answers.flush()

    def _progress(self, cell: Cell) -> None:
        progress = {"open": cell.open, "done": len(cell.received), "failed": cell.failed}
        self._say({"progress": progress})

    def _say(self, answer: dict[str, Any]) -> None:
        self._answers.write(json.dumps(answer).encode() + b"\n")
        self._answers.flush()

    def _wait_until(self, holds: Any, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not holds() and time.monotonic() < deadline:
            gevent.sleep(0.02)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="locustfiles.grid.master")
    parser.add_argument("--host", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--workers", type=int, required=True)
    options = parser.parse_args(arguments)
    setup_logging("WARNING")
    runners.HEARTBEAT_LIVENESS = HEARTBEATS_MISSED
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
