"""A load worker on a node with a wrong clock."""

import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime, UTC
from pathlib import Path
from typing import Any

import pytest

from analysis.cells.reasons import Caution
from analysis.cells.summary import cell as summary_of
from analysis.rows.parser import table
from launcher.experiment.cell_runner import constants, order
from launcher.experiment.grid import Grid
from launcher.system.ports import free_port
from tests.helpers.local import new_address, Server

AHEAD = 90.0  # seconds
WRONG_CLOCK = f"""
import runpy, sys, time
right = time.time
time.time = lambda: right() + {AHEAD}
sys.argv[0] = "worker"
runpy.run_module("locustfiles.grid.worker", run_name="__main__")
"""


class Pair:
    """A load master, and one load worker whose clock is ahead."""

    def __init__(self) -> None:
        address = new_address()
        port = str(free_port(address))
        here = ["--host", address, "--port", port, "--workers", "1"]
        self.master = subprocess.Popen(
            [sys.executable, "-P", "-m", "locustfiles.grid.master", *here],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        there = ["--name", "load-1", "--master-host", address, "--master-port", port]
        self.worker = subprocess.Popen([sys.executable, "-P", "-c", WRONG_CLOCK, *there])

    def run(self, wanted: dict[str, Any]) -> tuple[list[bytes], dict[str, Any]]:
        """Returns the rows of a cell, and the facts that the master reports."""
        assert self.master.stdin
        assert self.master.stdout
        # As the launcher does: a load worker has no share of a cell before it has told its name.
        ready = next(self.master.stdout)
        assert json.loads(ready) == {"workers": 1}
        self.master.stdin.write(json.dumps({"cell": wanted}).encode() + b"\n")
        self.master.stdin.flush()
        rows = []
        for line in self.master.stdout:
            if line.startswith(b"R "):
                rows.append(line[2:])
            elif "cell_ended" in (answer := json.loads(line)):
                return rows, answer["cell_ended"]
        raise AssertionError("the master has ended")

    def end(self) -> None:
        for process in (self.worker, self.master):
            process.kill()
            process.communicate()


@pytest.fixture
def pair() -> Iterator[Pair]:
    pair = Pair()
    yield pair
    pair.end()


def test_times_of_a_load_worker_are_corrected_for_its_clock(pair: Pair, server: Server) -> None:
    grid = Grid(server.url, (5,), (0.2,), Path("unused"), shape="open", arrival_rate=20.0)
    (cell,) = grid.cells
    constant = constants(grid, cell, "run") | {"attempt": 1}
    rows, facts = pair.run(order(grid, cell, constant))
    now = datetime.now(UTC)
    for row in map(json.loads, rows):
        started = datetime.fromisoformat(row["timestamp"])
        late = (started - datetime.fromisoformat(row["intended_timestamp"])).total_seconds()
        assert abs((now - started).total_seconds()) < AHEAD / 3
        assert -0.1 < late < AHEAD / 3
        assert row["success"]
    assert facts["workers"]["load-1"]["clock_offset"] == pytest.approx(AHEAD, abs=1)
    line = summary_of(table(rows), facts)
    assert line["valid"]
    assert line["total_wall_time"] < AHEAD / 3
    assert Caution.CLOCKS_DIFFER in [finding.code for finding in line["warnings"]]
