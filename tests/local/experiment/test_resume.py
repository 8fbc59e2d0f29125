"""Grids that are interrupted or killed, and resumed."""

import json
import os
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from analysis.results.folder import load
from analysis.rows.files import read
from tests.helpers.grids import grid, rows_of, run_json, start_grid
from tests.helpers.local import (
    assert_one_line,
    deployed,
    Deployment,
    MARK,
    places_used,
    processes_of,
    wait_for,
)

SIXTY = ["--requests-grid", "4,5,6", "--wait-grid", "0.2,0.3", "--reps", "10"]


def cells_of(rows: list[dict[str, Any]]) -> Counter[tuple[Any, ...]]:
    return Counter(
        (r["batch_size"], r["wait_requested"], r["repetition"], r["attempt"]) for r in rows
    )


def test_grid_completes_after_being_killed_three_times(
    deployment: Deployment, tmp_path: Path, mark: dict[str, str]
) -> None:
    output = tmp_path / "results"
    first = None
    for done in (10, 25, 40):
        arguments = ["--resume"] if done > 10 else SIXTY
        running = start_grid(deployment, output, mark, *arguments)
        wait_for(lambda done=done: len(run_json(output)["cells"]) >= done, 90, f"{done} cells")
        wait_for(lambda: places_used(deployment) > 0, 10, "in the middle of a cell")
        running.kill()
        running.communicate(timeout=20)
        wait_for(lambda: not processes_of(mark[MARK]), 10, "nothing is left")
        wait_for(lambda: places_used(deployment) == 0, 10, "all places are free")
        rows = rows_of(output)
        assert first is None or rows[: len(first)] == first
        first = rows
    assert grid(deployment, output, *SIXTY, "--resume").returncode == 0
    rows = rows_of(output)
    assert rows[: len(first or [])] == first
    once = Counter((*row_key(row), row["request_id"]) for row in rows)
    assert set(once.values()) == {1}  # no row twice
    attempts = cells_of(rows)
    last = {key[:3]: key for key in attempts}
    assert len(last) == 60
    assert all(attempts[key] == key[0] for key in last.values())  # every session has its row
    assert all(row["success"] for row in rows if row_key(row) in last.values())
    run = run_json(output)
    assert (run["status"], run["rows"]) == ("complete", len(rows))
    assert [sitting["status"] for sitting in run["sittings"]] == ["killed"] * 3 + ["complete"]
    results = load(output)
    assert len(results.summary) == 60
    assert results.warnings == []  # what is in summary.csv is what the rows say


def row_key(row: dict[str, Any]) -> tuple[Any, ...]:
    return row["batch_size"], row["wait_requested"], row["repetition"], row["attempt"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_cell_is_repeated_as_a_new_attempt(
    number: signal.Signals, deployment: Deployment, tmp_path: Path, mark: dict[str, str]
) -> None:
    output = tmp_path / "results"
    running = start_grid(deployment, output, mark, "--requests-grid", "3,4", "--wait", "3")
    wait_for(lambda: len(run_json(output)["cells"]) == 1, 40, "one cell is done")
    wait_for(lambda: places_used(deployment) == 4, 20, "the other is in its middle")
    running.send_signal(number)
    running.communicate(timeout=20)
    assert running.returncode == 128 + number
    assert grid(deployment, output, "--resume").returncode == 0
    rows = rows_of(output)
    assert cells_of(rows) == {(3, 3.0, 1, 1): 3, (4, 3.0, 1, 1): 4, (4, 3.0, 1, 2): 4}
    assert [row["error_type"] for row in rows if row["attempt"] == 1][3:] == ["INTERRUPTED"] * 4
    run = run_json(output)
    assert [sitting["status"] for sitting in run["sittings"]] == ["interrupted", "complete"]
    assert run["sittings"][0]["error"] == signal.Signals(number).name
    assert [cell["interrupted"] for cell in run["cells"]] == [False, True, False]


def test_resume_discards_half_a_line(deployment: Deployment, tmp_path: Path) -> None:
    output = tmp_path / "results"
    assert grid(deployment, output, "-n", "3", "--wait", "0").returncode == 0
    before = (output / "raw.jsonl").read_bytes()
    run = run_json(output)
    (output / "run.json").write_text(json.dumps(run | {"cells": [], "status": "running"}))
    (output / "raw.jsonl").write_bytes(before[:-20])  # as a full disk or kill -9 leaves it
    assert grid(deployment, output, "--resume").returncode == 0
    rows = rows_of(output)
    assert cells_of(rows) == {(3, 0.0, 1, 1): 2, (3, 0.0, 1, 2): 3}
    assert (output / "raw.jsonl").read_bytes().startswith(b"\n".join(before.split(b"\n")[:2]))


def test_grid_can_be_resumed_after_a_full_disk(
    deployment: Deployment, tmp_path: Path, mark: dict[str, str]
) -> None:
    output = tmp_path / "results"
    limited = ["bash", "-c", 'ulimit -f 30; exec "$@"', "bash"]  # in units of 1,024 bytes
    running = start_grid(
        deployment, output, mark, "--requests-grid", "20,25", "--wait", "0", under=limited
    )
    _, said = running.communicate(timeout=60)
    assert running.returncode == 1
    assert "free some space, then continue with --resume" in said
    whole = rows_of(output)
    assert grid(deployment, output, "--resume").returncode == 0
    rows = rows_of(output)
    assert rows[: len(whole)] == whole
    assert read(output / "raw.jsonl", messages=True).frame().shape[0] == len(rows)
    assert [line for line in cells_of(rows).items() if line[0][0] == 25][-1][1] == 25


def test_resuming_a_complete_grid_changes_nothing(deployment: Deployment, tmp_path: Path) -> None:
    output = tmp_path / "results"
    assert grid(deployment, output, "-n", "3", "--wait", "0").returncode == 0
    before = {name: (output / name).read_bytes() for name in ("raw.jsonl", "summary.csv")}
    assert grid(deployment, output, "--resume").returncode == 0
    assert before == {name: (output / name).read_bytes() for name in before}


def test_resume_refuses_a_folder_that_another_launcher_writes(
    deployment: Deployment, tmp_path: Path, mark: dict[str, str]
) -> None:
    output = tmp_path / "results"
    running = start_grid(deployment, output, mark, "-n", "3", "--wait", "30")
    wait_for(lambda: places_used(deployment) == 3, 30, "it has begun")
    assert_one_line(grid(deployment, output, "--resume"), "another launcher is writing", code=2)
    running.send_signal(signal.SIGINT)
    running.communicate(timeout=20)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--reps", "3"], "was started with reps 1, not 3"),
        (["-n", "4"], "was started with batches 3, not 4"),
        (["--wait-grid", "0,1"], "was started with waits 0, not 0,1"),
        (["--timeout", "50"], "was started with timeout 120"),
        (["--shape", "hold"], "was started with shape burst, not hold"),
    ],
)
def test_resume_refuses_different_options(
    arguments: list[str], says: str, deployment: Deployment, tmp_path: Path
) -> None:
    output = tmp_path / "results"
    assert grid(deployment, output, "-n", "3", "--wait", "0").returncode == 0
    before = (output / "run.json").read_text()
    assert_one_line(grid(deployment, output, "--resume", *arguments), says, code=2)
    assert (output / "run.json").read_text() == before


def test_resume_refuses_a_deployment_with_different_caps(
    deployment: Deployment, tmp_path: Path
) -> None:
    output = tmp_path / "results"
    assert grid(deployment, output, "-n", "3", "--wait", "0").returncode == 0
    options = ["--nodes", "3", "--max-concurrent-envs", "50", "--drain", "0"]
    with deployed(tmp_path, "other", *options) as other:
        done = grid(other, output, "--resume")
    assert_one_line(done, "was started with max_concurrent_envs 8192, but", code=2)
    assert "has 50" in done.stderr


def test_resume_refuses_a_folder_without_an_experiment(
    deployment: Deployment, tmp_path: Path
) -> None:
    done = grid(deployment, tmp_path / "none", "--resume")
    assert_one_line(done, "has no experiment to resume (run.json is missing", code=2)
    alone = deployment.run("grid", "--resume")
    assert_one_line(alone, "--resume requires --output-dir", code=2)
    assert os.listdir(tmp_path) == []  # noqa: PTH208


def test_resumed_grid_fails_again_for_the_same_reason(
    deployment: Deployment, tmp_path: Path
) -> None:
    output = tmp_path / "results"
    hosts = ["--expected-hosts", "2", "--require-hosts"]
    for arguments in (["-n", "1", "--wait", "0", *hosts], ["--resume"], ["--resume", *hosts[2:]]):
        done = grid(deployment, output, *arguments)
        assert done.returncode == 1
        assert "traffic reached 1 of 2 hosts" in done.stderr
    assert run_json(output)["status"] == "failed"
    assert len(rows_of(output)) == 1


@pytest.mark.parametrize(
    "change", [{"grid": {}}, {"cells": 5}, {"cells": [{"mode": "ws"}]}, {"begun": None}]
)
def test_resume_refuses_an_incompatible_run_json(
    change: dict[str, Any], deployment: Deployment, tmp_path: Path
) -> None:
    output = tmp_path / "results"
    assert grid(deployment, output, "-n", "1", "--wait", "0").returncode == 0
    before = (output / "raw.jsonl").read_bytes()
    run = run_json(output) | change
    text = json.dumps({key: value for key, value in run.items() if value is not None})
    (output / "run.json").write_text(text)
    assert_one_line(grid(deployment, output, "--resume"), "be resumed", code=2)
    assert (output / "raw.jsonl").read_bytes() == before
    assert (output / "run.json").read_text() == text
