"""`python -m locustfiles.master`: Locust's master for a grid.

Takes orders on standard input and tells what happens on standard output, one JSON object a line;
a row is a line that begins with "R" and a space.

orders   {"cell": {...}} · {"lost": "load-2"}
answers  {"workers": n} · {"progress": {...}} · R <row> · {"cell_ended": {...}}
"""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, BinaryIO

import gevent
import orjson
from gevent.fileobject import FileObjectPosix
from gevent.queue import Queue
from locust import runners
from locust.env import Environment
from locust.log import setup_logging
from locust.rpc import Message

from analysis.rows import unfinished
from locustfiles.messages import CELL, HELLO, ROWS
from locustfiles.users import now, SessionUser

HEARTBEATS_MISSED = 30
"""A load worker in the middle of a burst may be silent for a while; one that died is reported by
the launcher, which sees its process end."""

SPAWN_SECONDS = 60.0
LATE_SECONDS = 15.0
TICK_SECONDS = 0.1


@dataclass
class Assignment:
    """The sessions [first, first + count) of a cell that one load worker runs."""

    worker: str
    first: int
    count: int

    def __contains__(self, request_id: int) -> bool:
        return self.first <= request_id < self.first + self.count


@dataclass
class Cell:
    number: int
    order: dict[str, Any]
    assignments: list[Assignment]
    received: set[int] = field(default_factory=set)
    open: dict[str, int] = field(default_factory=dict)
    failed: int = 0
    lost_workers: set[str] = field(default_factory=set)

    @property
    def batch(self) -> int:
        return int(self.order["constant"]["batch_size"])

    def missing_of(self, worker: str) -> list[int]:
        return [
            request_id
            for assignment in self.assignments
            if assignment.worker == worker
            for request_id in range(assignment.first, assignment.first + assignment.count)
            if request_id not in self.received
        ]


class GridMaster:
    def __init__(self, runner: runners.MasterRunner, expected: int, answers: BinaryIO) -> None:
        self._runner = runner
        self._expected = expected
        self._answers = answers
        self._names: dict[str, str] = {}
        self._dead: set[str] = set()
        self._cell: Cell | None = None
        self._cells = 0
        self._largest = 1
        runner.register_message(HELLO, self._on_hello)
        runner.register_message(ROWS, self._on_rows)

    def run_cell(self, order: dict[str, Any]) -> None:
        """Has one user a session, starts them together, and collects their rows. Users stay for the
        next cell."""
        batch = int(order["constant"]["batch_size"])
        self._wait_until(lambda: self._runner.worker_count == self._alive, SPAWN_SECONDS)
        # Locust takes users away as slowly as it adds them: never slower than the largest batch.
        self._largest = max(self._largest, batch)
        self._runner.start(batch, spawn_rate=self._largest)
        self._wait_until(lambda: self._spawned() == batch or self._dead, SPAWN_SECONDS)
        self._cells += 1
        cell = self._cell = Cell(self._cells, order, [])
        first = 0
        for client_id, node in list(self._runner.clients.items()):
            count = min(sum(node.user_classes_count.values()), batch - first)
            cell.assignments.append(Assignment(self._names[client_id], first, count))
            first += count
        begun = now()
        for client_id, name in self._names.items():
            for assignment in cell.assignments:
                if assignment.worker == name and assignment.count:
                    share = order | {"cell": cell.number, "first": assignment.first}
                    share |= {"count": assignment.count}
                    self._runner.send_message(CELL, share, client_id)
        if first < batch:
            self._write_off(
                cell, range(first, batch), "NOT_STARTED", "no load worker took the session"
            )
        self._collect(cell, time.monotonic() + order["timeout"] + LATE_SECONDS)
        self._cell = None
        self._say(
            {
                "cell_ended": {
                    "begun": begun,
                    "ended": now(),
                    "lost_workers": sorted(cell.lost_workers),
                    "assignments": {a.worker: a.count for a in cell.assignments},
                }
            }
        )

    def lost(self, name: str) -> None:
        self._dead.add(name)
        for client_id, known in self._names.items():
            if known == name:
                self._runner.clients.pop(client_id, None)  # Locust need not wait for its heartbeat

    @property
    def _alive(self) -> int:
        return self._expected - len(self._dead)

    def _spawned(self) -> int:
        return sum(self._runner.reported_user_classes_count.values())

    def _collect(self, cell: Cell, deadline: float) -> None:
        while len(cell.received) < cell.batch:
            for worker in self._gone() - cell.lost_workers:
                cell.lost_workers.add(worker)
                reason = f"load worker {worker} was lost before the session ended"
                self._write_off(cell, cell.missing_of(worker), "LOAD_WORKER_LOST", reason)
                cell.open.pop(worker, None)
            if time.monotonic() > deadline:
                missing = [i for i in range(cell.batch) if i not in cell.received]
                self._write_off(cell, missing, "ROW_MISSING", "the load worker sent no row in time")
                break
            self._progress(cell)
            gevent.sleep(TICK_SECONDS)
        self._progress(cell)

    def _gone(self) -> set[str]:
        silent = {self._names.get(client.id, client.id) for client in self._runner.clients.missing}
        return self._dead | silent

    def _write_off(
        self, cell: Cell, request_ids: Sequence[int], error_type: str, message: str
    ) -> None:
        for request_id in request_ids:
            owner = next((a.worker for a in cell.assignments if request_id in a), None)
            constant = cell.order["constant"]
            self._take(
                cell, request_id, unfinished(constant, request_id, owner, error_type, message)
            )

    def _take(self, cell: Cell, request_id: int, line: bytes) -> None:
        if request_id not in cell.received:
            cell.received.add(request_id)
            cell.failed += b'"success":false' in line
            self._answers.write(b"R " + line + b"\n")

    def _on_hello(self, msg: Message, **_: Any) -> None:
        self._names[msg.node_id] = msg.data["name"]
        if len(self._names) == self._expected:
            self._say({"workers": self._expected})

    def _on_rows(self, msg: Message, **_: Any) -> None:
        cell = self._cell
        if cell is None or msg.data["cell"] != cell.number:
            return  # late rows of a cell that has ended: they were written off
        name = self._names[msg.node_id]
        if name in cell.lost_workers:
            return
        cell.open[name] = msg.data["open"]
        for request_id, line in msg.data["rows"]:
            self._take(cell, request_id, line)
        self._answers.flush()

    def _progress(self, cell: Cell) -> None:
        done = len(cell.received)
        self._say(
            {"progress": {"open": sum(cell.open.values()), "done": done, "failed": cell.failed}}
        )

    def _say(self, answer: dict[str, Any]) -> None:
        self._answers.write(json.dumps(answer).encode() + b"\n")
        self._answers.flush()

    def _wait_until(self, holds: Any, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not holds() and time.monotonic() < deadline:
            gevent.sleep(0.02)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="locustfiles.master")
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
