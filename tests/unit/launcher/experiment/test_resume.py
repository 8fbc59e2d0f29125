"""What an experiment that goes on may be asked, and what has befallen its deployment."""

from pathlib import Path
from typing import Any

import pytest

from launcher.deployment.placement import Role
from launcher.deployment.state import ProcessState
from launcher.errors import UsageError
from launcher.experiment.grid import Cell, Grid
from launcher.experiment.resume import attempt_of, resume_grid
from launcher.experiment.target import replaced


def grid(**fields: Any) -> Grid:
    asked: dict[str, Any] = {"url": "http://n1:8000", "batches": (2,), "waits": (1.0,)}
    return Grid(output=Path("out"), **(asked | fields))


WAS = {
    "url": "http://n9:8000",
    "batches": [2, 4],
    "waits": [1.0],
    "output": "elsewhere",
    "reps": 3,
    "timeout": 30.0,
    "load_workers": 7,
    "unknown": 1,
}


def test_what_is_not_said_again_is_as_it_was() -> None:
    again = resume_grid(grid(load_workers=2), {"resume", "output", "load_workers"}, WAS)
    assert (again.batches, again.reps, again.timeout) == ((2, 4), 3, 30.0)
    assert (again.url, again.output, again.load_workers) == ("http://n9:8000", Path("out"), 2)


def test_a_new_deployment_may_have_another_url() -> None:
    assert resume_grid(grid(), {"url"}, WAS).url == "http://n1:8000"


def test_the_same_said_again_is_fine() -> None:
    assert resume_grid(grid(batches=(2, 4), reps=3), {"batches", "reps"}, WAS).reps == 3


def test_another_grid_is_refused() -> None:
    with pytest.raises(UsageError) as refused:
        resume_grid(grid(batches=(2, 8)), {"batches"}, WAS)
    assert str(refused.value) == (
        "out was started with batches 2,4, not 2,8; omit it to resume, or choose a new --output-dir"
    )


def test_rows_and_facts_name_the_same_attempt() -> None:
    how = {"mode": "ws", "repetition": 2, "attempt": 3, "shape": "open", "steps": 1}
    how |= {"arrival_rate": 5.0}
    row = how | {"batch_size": 8, "wait_requested": 0.5}
    facts = how | {"batch": 8, "wait": 0.5}
    assert attempt_of(row) == attempt_of(facts) == (Cell("ws", 8, 0.5, 2, "open", 1, 5.0), 3)


def process(**changes: Any) -> ProcessState:
    return ProcessState("any", Role.SERVER, "any", **changes)


def test_replaced_names_processes_whose_incarnation_changed() -> None:
    envoy, one, two = ("envoy", "n1"), ("server-1", "n2"), ("server-2", "n3")
    before = {envoy: process(pid=5), one: process(pid=6), two: process(restarts=1)}
    after = {envoy: process(pid=5), one: process(restarts=1), two: process(given_up=True)}
    assert list(map(str, replaced(before, after))) == [
        "server-1 on n2 was replaced",
        "server-2 on n3 was given up",
    ]
    assert replaced(before, before) == []
    assert replaced(before, {}) == []
