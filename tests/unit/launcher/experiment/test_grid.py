"""In which order the cells of a grid run, and which grids cannot fit."""

from pathlib import Path
from typing import Any

import pytest

from launcher.errors import UsageError
from launcher.experiment.cell_runner import constants, order
from launcher.experiment.grid import Cell, Grid
from launcher.experiment.grid_run import check
from launcher.experiment.target import Target
from launcher.system.machine import Limits


def grid(**fields: Any) -> Grid:
    asked: dict[str, Any] = {
        "url": "http://n1:8000",
        "batches": (2,),
        "waits": (1.0,),
        "output": Path("out"),
    }
    return Grid(**(asked | fields))


def test_cells_run_by_mode_then_wait_then_batch_then_repetition() -> None:
    asked = grid(modes=("ws", "http"), waits=(1.0, 0.5), batches=(8, 2), reps=2)
    cells = [(cell.mode, cell.wait, cell.batch, cell.repetition) for cell in asked.cells]
    assert cells == [
        *(("ws", 1.0, 8, 1), ("ws", 1.0, 8, 2), ("ws", 1.0, 2, 1), ("ws", 1.0, 2, 2)),
        *(("ws", 0.5, 8, 1), ("ws", 0.5, 8, 2), ("ws", 0.5, 2, 1), ("ws", 0.5, 2, 2)),
        *(("http", 1.0, 8, 1), ("http", 1.0, 8, 2), ("http", 1.0, 2, 1), ("http", 1.0, 2, 2)),
        *(("http", 0.5, 8, 1), ("http", 0.5, 8, 2), ("http", 0.5, 2, 1), ("http", 0.5, 2, 2)),
    ]


def test_an_order_repeats_in_every_row_what_identifies_its_cell() -> None:
    asked = grid(timeout=30.0, sources=("127.0.0.9",), expected_hosts=3, hardware="test")
    cell = Cell("ws", 2, 1.0, 4, "open", 3, 0.5)
    constant = constants(asked, cell, "run")
    assert constant == {
        "run_id": "run",
        "mode": "ws",
        "shape": "open",
        "url": "http://n1:8000",
        "batch_size": 2,
        "wait_requested": 1.0,
        "steps": 3,
        "arrival_rate": 0.5,
        "arrivals": "poisson",
        "repetition": 4,
        "expected_hosts": 3,
        "hardware": "test",
    }
    assert order(asked, cell, constant) == {
        "mode": "ws",
        "url": "http://n1:8000",
        "wait": 1.0,
        "timeout": 30.0,
        "sources": ["127.0.0.9"],
        "seed": "1 4",
        "constant": constant,
    }


@pytest.mark.parametrize("timeout", [5.0, 4.0])
def test_a_timeout_within_the_wait_is_refused_before_anything_is_asked(timeout: float) -> None:
    with pytest.raises(UsageError, match="raise --timeout"):
        check(grid(waits=(1.0, 5.0), timeout=timeout), Target("http://n1:8000"))


@pytest.mark.parametrize(
    ("batch", "workers", "sources"),
    [(1, 1, 0), (1848, 2, 0), (924, 1, 1), (28_000, 40, 0), (28_000, 40, 1), (56_000, 80, 2)],
)
def test_a_batch_that_fits_meets_no_obstacle(batch: int, workers: int, sources: int) -> None:
    assert Limits(descriptors=1024, ports=28_000).obstacle(batch, workers, sources) is None


@pytest.mark.parametrize(
    ("batch", "workers", "needed"), [(1849, 2, 3), (925, 1, 2), (9240, 2, 10), (9241, 2, 11)]
)
def test_too_few_descriptors_ask_for_load_workers(batch: int, workers: int, needed: int) -> None:
    limits = Limits(descriptors=1024, ports=28_000)
    assert limits.obstacle(batch, workers, 0) == (
        f"batch {batch} is more than {workers} load worker(s) can open: the descriptor limit "
        f"1024 (ulimit -n) allows 924 sessions each; use --load-workers {needed}"
    )
    assert limits.obstacle(batch, needed, 0) is None


@pytest.mark.parametrize(
    ("batch", "sources", "counted", "needed"),
    [(28_001, 0, 1, 2), (28_001, 1, 1, 2), (60_000, 2, 2, 3), (84_001, 2, 2, 4)],
)
def test_too_few_ports_ask_for_source_addresses(
    batch: int, sources: int, counted: int, needed: int
) -> None:
    limits = Limits(descriptors=1_000_000, ports=28_000)
    assert limits.obstacle(batch, 2, sources) == (
        f"batch {batch} is more than {counted} source address(es) can open to one URL: each has "
        f"28000 ephemeral ports; use --source-addresses with {needed} addresses of this machine"
    )
    assert limits.obstacle(batch, 2, needed) is None


@pytest.mark.parametrize("descriptors", [64, 100])
def test_no_number_of_load_workers_helps_when_none_can_hold_a_session(descriptors: int) -> None:
    obstacle = Limits(descriptors, ports=28_000).obstacle(10, 2, 0)
    assert obstacle is not None
    assert "ulimit -n" in obstacle
    assert "--load-workers" not in obstacle
