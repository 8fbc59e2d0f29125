"""What a grid is read from, in which order it runs, and what cannot fit."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from launcher.errors import UsageError
from launcher.experiment.cell_runner import constants, order
from launcher.experiment.grid import Cell, Grid, numbers, parse_url
from launcher.experiment.grid_run import check
from launcher.experiment.target import Target
from launcher.system.machine import Limits


def refusal(text: str, kind: Callable[[str], Any] = int) -> str:
    with pytest.raises(UsageError) as refused:
        numbers(text, "--grid", kind, 1, 1000)
    return str(refused.value)


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("32", (32,)),
        ("32,128", (32, 128)),
        (" 32 , 128 ", (32, 128)),
        ("32,128,", (32, 128)),
        ("1,1000", (1, 1000)),
    ],
)
def test_numbers_are_taken_as_they_are_listed(text: str, values: tuple[int, ...]) -> None:
    assert numbers(text, "--grid", int, 1, 1000) == values


def test_numbers_may_have_fractions_when_they_are_seconds() -> None:
    assert numbers("0,0.5,1e2", "--wait-grid", float, 0, 1000) == (0.0, 0.5, 100.0)


@pytest.mark.parametrize("text", ["", " ", ",", " , ,"])
def test_an_empty_grid_is_refused(text: str) -> None:
    assert refusal(text) == "--grid is empty: give one number or more, separated by commas"


@pytest.mark.parametrize("word", ["many", "1.5", "1e3", "1 2", "0x10", "nan"])
def test_what_is_no_whole_number_is_named(word: str) -> None:
    assert refusal(f"1,{word}") == f"--grid: {word!r} is not a whole number"


@pytest.mark.parametrize("word", ["many", "1.5.", "1s"])
def test_what_is_no_number_is_named(word: str) -> None:
    assert refusal(f"1,{word}", float) == f"--grid: {word!r} is not a number"


@pytest.mark.parametrize("word", ["-1", "0", "1001"])
def test_numbers_out_of_range_are_refused(word: str) -> None:
    assert refusal(f"1,{word}") == f"--grid: {word} is not from 1 to 1,000"


@pytest.mark.parametrize("word", ["-0.5", "nan", "inf", "-inf", "1000.1"])
def test_seconds_out_of_range_are_refused(word: str) -> None:
    assert refusal(f"1,{word}", float) == f"--grid: {word} is not from 1 to 1,000"


@pytest.mark.parametrize(
    ("given", "used"),
    [
        ("http://n1:8000", "http://n1:8000"),
        ("http://n1:8000/", "http://n1:8000"),
        ("http://n1:8000/path/", "http://n1:8000/path"),
        ("ws://n1:8000", "http://n1:8000"),
        ("http://n1", "http://n1:80"),
        ("http://n1/", "http://n1:80"),
        ("http://n1:", "http://n1:80"),
        ("http://127.0.0.2:8000", "http://127.0.0.2:8000"),
        ("http://[::1]:8000", "http://[::1]:8000"),
        ("http://[::1]", "http://[::1]:80"),
    ],
)
def test_urls_become_http_with_a_port_and_no_slash(given: str, used: str) -> None:
    assert parse_url(given) == used


@pytest.mark.parametrize("url", ["https://n1", "wss://n1:8000"])
def test_urls_with_tls_are_refused(url: str) -> None:
    with pytest.raises(UsageError) as refused:
        parse_url(url)
    assert str(refused.value) == f"{url!r} is not an http:// or ws:// URL; TLS is not supported"


@pytest.mark.parametrize(
    "url", ["", "n1", "n1:8000", "http://", "http://:8000", "/path", "ftp://n1"]
)
def test_urls_without_scheme_or_host_are_refused(url: str) -> None:
    with pytest.raises(UsageError) as refused:
        parse_url(url)
    assert str(refused.value) == f"{url!r} is not an http:// or ws:// URL"


@pytest.mark.parametrize("port", ["x", "70000", "-1", "80 "])
def test_urls_with_a_bad_port_are_refused(port: str) -> None:
    url = f"http://n1:{port}"
    with pytest.raises(UsageError) as refused:
        parse_url(url)
    assert str(refused.value) == f"{url!r} is not a URL, or its port is no number up to 65535"


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
