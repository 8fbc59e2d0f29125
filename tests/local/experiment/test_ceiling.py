"""Ceilings of real deployments with a small, known number of places."""

import json
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.local import (
    assert_one_line,
    deployed,
    Deployment,
    launch,
    LAUNCHER,
    MARK,
    processes_of,
    serving,
    wait_for,
)
from tests.helpers.searches import batches, rows

EXACT = ("--success", "1", "--precision", "0", "--load-workers", "2")
QUICK = (*EXACT, "--wait", "0.5", "--start", "8")


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """Two servers with ten places each."""
    options = ["--nodes", "3", "--max-concurrent-envs", "10", "--workers-per-node", "1"]
    folder = tmp_path_factory.mktemp("small")
    with deployed(folder, "small", *options, "--drain", "0") as deployment:
        yield deployment


def ceiling(deployment: Deployment, output: Path, *arguments: str) -> dict[str, Any]:
    """Returns the only line of the answer."""
    where = ("--url", deployment.url, "--output-dir", str(output), "--json")
    done = deployment.run("ceiling", *where, *arguments)
    assert done.returncode == 0, done.stderr
    [answer] = json.loads(done.stdout)
    return dict(answer)


def test_ceiling_is_the_number_of_places(small: Deployment, tmp_path: Path) -> None:
    hosts = ("--expected-hosts", "2", "--require-hosts", "--require-valid")
    found = ceiling(small, tmp_path / "results", *EXACT, "--reps", "2", *hosts)
    assert (found["ceiling"], found["next_failing"], found["reached"]) == (20, 21, True)
    assert (found["ceiling_low"], found["ceiling_high"]) == (20, 20)
    assert (found["by_repetition"], found["bound"]) == ("20 20", "admission cap")
    assert found["criterion"] == "success >= 100 %"
    assert found["unique_hosts"] == 2
    assert (found["limit"], found["notes"]) == ("", [])
    one = [32, 16, 24, 20, 22, 21]
    assert batches(tmp_path / "results") == [*((1, batch) for batch in one), (2, 20), (2, 21)]
    run = json.loads((tmp_path / "results" / "run.json").read_text())
    assert run["status"] == "complete"
    assert len(rows(tmp_path / "results")) == sum(one) + 20 + 21


def test_ceiling_prints_a_table_and_a_sentence(small: Deployment, tmp_path: Path) -> None:
    where = ("--url", small.url, "--output-dir", str(tmp_path / "results"))
    done = small.run("ceiling", *where, *QUICK, "--reps", "1")
    assert done.returncode == 0, done.stderr
    assert "max_batch where success >= 100 % at wait 0.5 s: 20\n" in done.stdout
    assert "bound by admission cap: " in done.stdout
    assert f"results: {tmp_path / 'results'}" in done.stdout
    assert "[1] ws batch 8 × wait 0.5 s, repetition 1: 8 of 8 succeeded" in done.stderr


def test_ceiling_searches_each_wait_with_held_sessions(small: Deployment, tmp_path: Path) -> None:
    where = ("--url", small.url, "--output-dir", str(tmp_path / "results"), "--json")
    shape = ("--shape", "hold", "--steps", "2", "--wait-grid", "0,0.1", "--reps", "1")
    done = small.run("ceiling", *where, *EXACT, *shape)
    assert done.returncode == 0, done.stderr
    answers = json.loads(done.stdout)
    assert [(each["wait_seconds"], each["ceiling"]) for each in answers] == [(0, 20), (0.1, 20)]
    assert {(each["shape"], each["steps"]) for each in answers} == {("hold", 2)}


def test_ceiling_is_a_lower_bound_when_max_batch_passes(small: Deployment, tmp_path: Path) -> None:
    found = ceiling(small, tmp_path, *QUICK, "--max-batch", "12", "--reps", "2")
    assert (found["ceiling"], found["reached"], found["next_failing"]) == (12, False, None)
    assert (found["bound"], found["limit"]) == (
        "--max-batch",
        "the search was limited by --max-batch 12",
    )
    assert batches(tmp_path) == [(1, 8), (1, 12), (2, 12)]


def test_ceiling_is_bound_by_the_descriptors_of_the_load(small: Deployment, tmp_path: Path) -> None:
    where = ("--url", small.url, "--output-dir", str(tmp_path), "--json")
    search = ["ceiling", *where, *QUICK, "--reps", "1"]
    limited = ["bash", "-c", 'ulimit -n 106; exec "$@"', "bash", *LAUNCHER, *search]
    done = subprocess.run(limited, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    [found] = json.loads(done.stdout)
    assert (found["ceiling"], found["reached"], found["bound"]) == (12, False, "descriptors")
    assert "2 load worker(s) can open 12 sessions" in found["bound_evidence"]


def test_ceiling_is_0_when_no_batch_meets_the_criterion(small: Deployment, tmp_path: Path) -> None:
    found = ceiling(small, tmp_path, *QUICK, "--p99", "wait/2", "--reps", "1")
    assert (found["ceiling"], found["next_failing"], found["reached"]) == (0, 1, True)
    assert found["criterion"] == "success >= 100 % and p99 <= wait/2 s"
    assert batches(tmp_path) == [(1, 8), (1, 4), (1, 2), (1, 1)]


def test_interrupted_search_can_be_resumed(
    small: Deployment, tmp_path: Path, mark: dict[str, str]
) -> None:
    where = ("--output-dir", str(tmp_path), "--json")
    argv = [*LAUNCHER, "ceiling", "--url", small.url, *where, *QUICK, "--reps", "2"]
    with subprocess.Popen(argv, env=mark, stderr=subprocess.PIPE, text=True) as running:
        try:
            wait_for(lambda: len(batches(tmp_path)) > 2, 60, "three batches are done")
        finally:
            running.send_signal(signal.SIGINT)
        said = running.communicate(timeout=30)[1]
    assert running.returncode == 130, said
    before = batches(tmp_path)
    assert json.loads((tmp_path / "run.json").read_text())["status"] == "interrupted"
    wait_for(lambda: not processes_of(mark[MARK]), 10, "nothing of it is left")
    done = small.run("ceiling", "--resume", *where)
    assert done.returncode == 0, done.stderr
    [found] = json.loads(done.stdout)
    assert (found["ceiling"], found["by_repetition"]) == (20, "20 20")
    assert batches(tmp_path)[: len(before)] == before
    recorded = rows(tmp_path)
    again = {row["batch_size"] for row in recorded if row["attempt"] == 2}
    assert len(again) <= 1
    assert {row["run_id"] for row in recorded} == {found["run_id"]}
    assert_one_line(
        small.run("ceiling", "--resume", *where, "--success", "0.9"),
        "was started with success 1, not 0.9",
        code=2,
    )
    repeated = small.run("ceiling", "--resume", *where)
    assert json.loads(repeated.stdout) == [found]
    assert rows(tmp_path) == recorded


def test_ceiling_refuses_to_resume_a_grid(small: Deployment, tmp_path: Path) -> None:
    where = ("--url", small.url, "--output-dir", str(tmp_path))
    assert small.run("grid", *where, "-n", "2", "--wait", "0").returncode == 0
    assert_one_line(small.run("ceiling", *where, *QUICK), "already holds results", code=2)
    done = small.run("ceiling", *where, "--resume")
    assert_one_line(done, "holds a grid, not a search for a ceiling", code=2)


def test_ceiling_refuses_impossible_searches_in_one_line(small: Deployment, tmp_path: Path) -> None:
    where = ("--output-dir", str(tmp_path / "results"))
    start = ("ceiling", "--url", small.url, *where, "--load-workers", "1")
    done = small.run(*start, "--start", "1000000")
    assert_one_line(done, "batch 1000000 is more than 1 load worker(s) can open")
    done = launch("ceiling", "--url", "http://127.0.0.1:9", *where)
    assert_one_line(done, "does not answer")
    assert not (tmp_path / "results").exists()


def test_ceiling_fails_when_the_deployment_ends(tmp_path: Path) -> None:
    output = tmp_path / "results"
    with serving(tmp_path, "--drain", "0", WORKERS=1, MAX_CONCURRENT_ENVS=100) as server:
        argv = ["ceiling", "--url", server.url, "--output-dir", str(output), *QUICK]
        with subprocess.Popen([*LAUNCHER, *argv], stderr=subprocess.PIPE, text=True) as running:
            wait_for(lambda: len(batches(output)) > 0, 60, "a batch is done")
            server.stop()
            said = running.communicate(timeout=60)[1]
    assert running.returncode == 1
    assert said.splitlines()[-1].startswith(f"error: {server.url} does not answer")
