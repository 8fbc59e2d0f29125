"""In which order the cells of a grid run, and which grids cannot fit."""

from pathlib import Path
from typing import Any

import pytest

from launcher.errors import UsageError
from launcher.experiment.cell_runner import constants, order
from launcher.experiment.grid import Cell, Grid
from launcher.experiment.grid_run import check, check_timeout
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


def test_grid_orders_cells_by_mode_wait_batch_and_repetition() -> None:
    asked = grid(modes=("ws", "http"), waits=(1.0, 0.5), batches=(8, 2), reps=2)
    cells = [(cell.mode, cell.wait, cell.batch, cell.repetition) for cell in asked.cells]
    assert cells == [
        *(("ws", 1.0, 8, 1), ("ws", 1.0, 8, 2), ("ws", 1.0, 2, 1), ("ws", 1.0, 2, 2)),
        *(("ws", 0.5, 8, 1), ("ws", 0.5, 8, 2), ("ws", 0.5, 2, 1), ("ws", 0.5, 2, 2)),
        *(("http", 1.0, 8, 1), ("http", 1.0, 8, 2), ("http", 1.0, 2, 1), ("http", 1.0, 2, 2)),
        *(("http", 0.5, 8, 1), ("http", 0.5, 8, 2), ("http", 0.5, 2, 1), ("http", 0.5, 2, 2)),
    ]


def test_order_has_the_values_that_identify_the_cell_in_every_row() -> None:
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
def test_check_refuses_a_timeout_within_the_wait(timeout: float) -> None:
    with pytest.raises(UsageError, match="raise --timeout"):
        check(grid(waits=(1.0, 5.0), timeout=timeout), Target("http://n1:8000"))


@pytest.mark.parametrize(
    ("batch", "workers", "sources"),
    [(1, 1, 0), (1848, 2, 0), (924, 1, 1), (28_000, 40, 0), (28_000, 40, 1), (56_000, 80, 2)],
)
def test_obstacle_is_none_for_a_batch_that_fits(batch: int, workers: int, sources: int) -> None:
    assert Limits(descriptors=1024, ports=28_000).obstacle(batch, workers, sources) is None


@pytest.mark.parametrize(
    ("batch", "workers", "needed"), [(1849, 2, 3), (925, 1, 2), (9240, 2, 10), (9241, 2, 11)]
)
def test_obstacle_asks_for_load_workers_when_descriptors_are_too_few(
    batch: int, workers: int, needed: int
) -> None:
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
def test_obstacle_asks_for_source_addresses_when_ports_are_too_few(
    batch: int, sources: int, counted: int, needed: int
) -> None:
    limits = Limits(descriptors=1_000_000, ports=28_000)
    assert limits.obstacle(batch, 2, sources) == (
        f"batch {batch} is more than {counted} source address(es) can open to one URL: each has "
        f"28000 ephemeral ports; use --source-addresses with {needed} addresses of this machine"
    )
    assert limits.obstacle(batch, 2, needed) is None


@pytest.mark.parametrize("descriptors", [64, 100])
def test_obstacle_asks_for_no_load_workers_when_none_can_hold_a_session(descriptors: int) -> None:
    obstacle = Limits(descriptors, ports=28_000).obstacle(10, 2, 0)
    assert obstacle is not None
    assert "ulimit -n" in obstacle
    assert "--load-workers" not in obstacle


@pytest.mark.parametrize(
    ("batch", "rate", "timeout", "sessions"),
    [
        (100, None, 1.0, 100),
        (100, 2.0, 10.0, 20),
        (100, 0.5, 10.0, 5),
        (100, 2.0, 50.0, 100),
        (100, 2.0, 50.5, 100),
        (100, 0.3, 1.0, 1),
        (100, 1.5, 3.0, 5),
    ],
)
def test_cell_max_open_sessions_counts_arrivals_within_the_timeout(
    batch: int, rate: float | None, timeout: float, sessions: int
) -> None:
    cell = Cell("ws", batch, 1.0, 1, "burst" if rate is None else "open", 1, rate)
    assert cell.max_open_sessions(timeout) == sessions


def test_grid_max_open_sessions_is_that_of_the_largest_cell() -> None:
    assert grid(batches=(8, 64, 32)).max_open_sessions == 64
    arriving = grid(batches=(8, 64, 32), shape="open", arrival_rate=4.0, timeout=10.0)
    assert arriving.max_open_sessions == 40


def test_check_timeout_requires_more_than_the_longest_wait_times_the_steps() -> None:
    waits = (0.5, 2.0, 1.0)
    check_timeout(grid(waits=waits, steps=3, timeout=6.1))
    with pytest.raises(UsageError) as refused:
        check_timeout(grid(waits=waits, steps=3, timeout=6.0))
    assert str(refused.value) == (
        "--timeout 6 s ends sessions before their 3 steps with a wait of 2 s is over; raise --timeout"
    )


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"shape": "open"}, "--shape open requires --arrival-rate"),
        ({"arrival_rate": 5.0}, "--arrival-rate is for --shape open, not burst"),
        ({"shape": "hold", "modes": ("ws", "http")}, "--shape hold requires sessions"),
        ({"waits": (3.0,), "steps": 40}, "before their 40 steps with a wait of 3 s is over"),
    ],
)
def test_check_refuses_shapes_that_contradict_other_options(
    fields: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        check(grid(**fields), Target("http://n1:8000"))


def test_str_of_a_cell_names_its_shape_only_when_it_is_not_a_burst() -> None:
    assert str(Cell("ws", 8, 0.5, 2)) == "ws batch 8 × wait 0.5 s, repetition 2"
    assert str(Cell("ws", 8, 0.5, 2, "open", 3, 2.5)) == (
        "ws batch 8 × wait 0.5 s, repetition 2, open at 2.5 per second, 3 steps"
    )
