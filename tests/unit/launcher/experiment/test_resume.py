"""The settings of a resumed experiment."""

from pathlib import Path
from typing import Any

import pytest

from launcher.errors import UsageError
from launcher.experiment.grid import Cell, Grid
from launcher.experiment.resume import attempt_of, merge, read_run, resume_grid


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


def test_resume_grid_keeps_recorded_settings_that_are_not_given() -> None:
    again = resume_grid(grid(load_workers=2), {"resume", "output", "load_workers"}, WAS)
    assert (again.batches, again.reps, again.timeout) == ((2, 4), 3, 30.0)
    assert (again.output, again.load_workers) == (Path("out"), 2)


def test_resume_grid_loads_the_requested_url() -> None:
    assert resume_grid(grid(), set(), WAS).url == "http://n1:8000"
    assert resume_grid(grid(), {"url"}, WAS).url == "http://n1:8000"


def test_resume_grid_accepts_the_recorded_settings() -> None:
    assert resume_grid(grid(batches=(2, 4), reps=3), {"batches", "reps"}, WAS).reps == 3


def test_resume_grid_refuses_another_grid() -> None:
    with pytest.raises(UsageError) as refused:
        resume_grid(grid(batches=(2, 8)), {"batches"}, WAS)
    assert str(refused.value) == (
        "out was started with batches 2,4, not 2,8; omit it to resume, or choose a new --output-dir"
    )


def test_attempt_of_is_the_same_for_rows_and_run_json() -> None:
    how = {"mode": "ws", "repetition": 2, "attempt": 3, "shape": "open", "steps": 1}
    how |= {"arrival_rate": 5.0}
    row = how | {"batch_size": 8, "wait_requested": 0.5}
    facts = how | {"batch": 8, "wait": 0.5}
    assert attempt_of(row) == attempt_of(facts) == (Cell("ws", 8, 0.5, 2, "open", 1, 5.0), 3)


def test_merge_keeps_recorded_values_unless_they_may_change() -> None:
    requested = {"per_start": 1, "changeable": 2, "fixed": 3, "other": 4}
    recorded = {"per_start": 5, "changeable": 6, "fixed": 3, "unknown": 7}
    rules = {"per_start": ("per_start",), "changeable": ("changeable",)}
    merged = merge(Path("out"), requested, {"fixed"}, recorded, **rules)
    assert merged == {"per_start": 1, "changeable": 6, "fixed": 3, "other": 4, "unknown": 7}
    given = {"per_start", "changeable", "fixed", "other"}
    assert merge(Path("out"), requested, given, recorded, **rules)["changeable"] == 2


@pytest.mark.parametrize(
    ("now", "then", "message"),
    [
        (0.5, 1.0, "was started with x 1, not 0.5"),
        ((2, 8), (2, 4), "was started with x 2,4, not 2,8"),
        ("a", None, "was started with x None, not a"),
    ],
)
def test_merge_refuses_a_given_setting_that_differs(now: Any, then: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        merge(Path("out"), {"x": now}, {"x"}, {"x": then})


@pytest.mark.parametrize(
    "content",
    [
        "{}",
        '{"options": {}}',
        '{"run_id": 1, "begun": 1, "cells": [], "grid": {"url": ""}}',
        '{"run_id": 1, "begun": 1, "cells": [], "grid": 5}',
        '{"run_id": 1, "begun": 1, "cells": 5, "grid": {"url": "", "batches": [], "waits": []}}',
    ],
)
def test_read_run_refuses_an_incompatible_run_json(content: str, tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(content)
    with pytest.raises(UsageError, match="incompatible version and cannot be resumed"):
        read_run(tmp_path)


@pytest.mark.parametrize("content", [None, "", '{"run_id"', "[]"])
def test_read_run_refuses_a_folder_without_a_whole_run_json(
    content: str | None, tmp_path: Path
) -> None:
    if content is not None:
        (tmp_path / "run.json").write_text(content)
    with pytest.raises(UsageError, match=r"has no experiment to resume \(run.json is missing"):
        read_run(tmp_path)
