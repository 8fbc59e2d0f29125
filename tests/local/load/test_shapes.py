"""Load shapes against real servers: when sessions are open, and where latencies start."""

import json
from pathlib import Path

import pandas as pd
import pytest

from analysis.rows.files import read
from tests.helpers.grids import grid, rows_of, run_json, start_grid, summary_of
from tests.helpers.local import assert_one_line, deployed, Deployment, wait_for


def test_held_sessions_are_all_open_at_once_on_both_sides(
    deployment: Deployment, tmp_path: Path
) -> None:
    output = tmp_path / "results"
    done = grid(deployment, output, "--shape", "hold", "-n", "300", "--wait", "0.2", "--steps", "3")
    assert done.returncode == 0, done.stderr
    (line,) = summary_of(output)
    assert (line["successful"], line["open_clients"], line["open_servers"]) == (300, 300, 300)
    assert (line["shape"], line["steps"], line["peak_open"]) == ("hold", 3, 300)
    rows = read(output / "raw.jsonl", messages=True).frame()
    started = pd.to_datetime(rows["timestamp"], format="ISO8601")
    opened = started + pd.to_timedelta(rows["connect_latency"] + rows["reset_latency"], unit="s")
    held = pd.Series([row["hold_latency"] for row in rows_of(output)])
    ended = started + pd.to_timedelta(rows["total_latency"] + held, unit="s")
    assert opened.max() < (ended - pd.to_timedelta(0.6, unit="s")).min()  # none stepped before
    parts = rows["connect_latency"] + rows["reset_latency"] + 3 * rows["step_latency"]
    assert (rows["total_latency"] - parts).median() < held.median()  # which counts for none


def test_held_sessions_step_although_others_were_refused(tmp_path: Path) -> None:
    options = ["--nodes", "2", "--max-concurrent-envs", "3", "--workers-per-node", "1"]
    with deployed(tmp_path, "small", *options) as small:
        output = tmp_path / "results"
        arguments = ["--shape", "hold", "-n", "8", "--wait", "0.1", "--timeout", "20"]
        assert grid(small, output, *arguments).returncode == 0
    (line,) = summary_of(output)
    assert (line["successful"], line["open_clients"], line["open_servers"]) == (3, 3, 3)
    assert line["capacity_errors"] == 5


def test_constant_arrivals_start_when_they_are_due(deployment: Deployment, tmp_path: Path) -> None:
    output = tmp_path / "results"
    arguments = ["--shape", "open", "--arrival-rate", "50", "--arrivals", "constant", "-n", "60"]
    assert grid(deployment, output, *arguments, "--wait", "0.1").returncode == 0
    rows = read(output / "raw.jsonl", messages=True).frame()
    due = pd.to_datetime(rows["intended_timestamp"], format="ISO8601").sort_values()
    gaps = due.diff().dropna().dt.total_seconds()
    assert gaps.round(4).unique().tolist() == [0.02]
    started = pd.to_datetime(rows["timestamp"], format="ISO8601")
    assert (started >= due[started.index] - pd.Timedelta("1ms")).all()


def test_poisson_arrivals_repeat_with_the_same_seed(deployment: Deployment, tmp_path: Path) -> None:
    offsets = []
    for seed, folder in (("7", "a"), ("7", "b"), ("8", "c")):
        arguments = ["--shape", "open", "--arrival-rate", "100", "--seed", seed, "-n", "40"]
        output = tmp_path / folder
        assert grid(deployment, output, *arguments, "--wait", "0").returncode == 0
        due = sorted(pd.Timestamp(row["intended_timestamp"]) for row in rows_of(output))
        offsets.append([round((moment - due[0]).total_seconds(), 3) for moment in due])
    assert offsets[0] == offsets[1] != offsets[2]


def test_rows_and_run_json_record_the_settings_of_a_cell(
    deployment: Deployment, tmp_path: Path
) -> None:
    output = tmp_path / "results"
    arguments = ["--shape", "open", "--arrival-rate", "100", "-n", "4", "--steps", "2"]
    assert grid(deployment, output, *arguments, "--wait", "0").returncode == 0
    row = rows_of(output)[0]
    assert (row["shape"], row["steps"], row["arrival_rate"]) == ("open", 2, 100.0)
    (facts,) = run_json(output)["cells"]
    assert (facts["shape"], facts["steps"], facts["arrival_rate"]) == ("open", 2, 100.0)
    assert set(facts["workers"]) == {"load-1", "load-2"}
    assert all(worker["clock_offset"] == 0.0 for worker in facts["workers"].values())
    assert json.dumps(facts)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--shape", "open"], "--shape open requires --arrival-rate"),
        (["--arrival-rate", "5"], "--arrival-rate is for --shape open, not burst"),
        (["--shape", "hold", "--mode", "http"], "--shape hold requires sessions"),
        (["--shape", "wave"], "--shape: 'wave' is not one of 'burst', 'hold', 'open'"),
        (
            ["--shape", "open", "--arrival-rate", "1", "--arrivals", "rare"],
            "--arrivals: 'rare' is not one of",
        ),
        (["--steps", "0"], "--steps: '0' is not a whole number from 1"),
        (["--steps", "50", "--wait", "3"], "--timeout 120 s ends sessions before their 50 steps"),
        (["--max-lag", "-1"], "--max-lag: '-1' is not a number from 0"),
    ],
)
def test_grid_refuses_contradictory_shape_options(
    arguments: list[str], says: str, deployment: Deployment, tmp_path: Path
) -> None:
    done = grid(deployment, tmp_path / "results", "-n", "2", *arguments)
    assert_one_line(done, says, code=2)
    assert not (tmp_path / "results").exists()


def test_rows_are_on_disk_while_their_cell_runs(
    deployment: Deployment, tmp_path: Path, mark: dict[str, str]
) -> None:
    output = tmp_path / "results"
    how = ["--shape", "open", "--arrival-rate", "5", "--arrivals", "constant", "-n", "40"]
    running = start_grid(deployment, output, mark, *how, "--wait", "0")
    wait_for(lambda: len(rows_of(output)) >= 5, 30, "the first rows")
    assert running.poll() is None
    assert len(rows_of(output)) < 40
    assert run_json(output)["cells"] == []
    running.communicate(timeout=60)
    assert len(rows_of(output)) == 40
