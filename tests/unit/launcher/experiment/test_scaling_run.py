"""What an experiment is read from, how it goes from phase to phase, and what a search is told."""

import errno
import json
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from analysis.report.report import write as report
from analysis.scaling.criterion import Criterion
from launcher.cli.display.scaling_tables import print_scaling, scaling_told
from launcher.deployment.spec import Deployment
from launcher.errors import LauncherError, LoadFailed, UsageError
from launcher.experiment import recorder
from launcher.experiment import scaling_run as experiment
from launcher.experiment.ceiling import (
    answer,
    BatchLimit,
    CeilingSearch,
    limit_reached,
    load_limits,
    notes,
    search_each_wait,
    SearchResult,
    sentence,
)
from launcher.experiment.grid import Cell, Grid
from launcher.experiment.grid_run import open_recording
from launcher.experiment.journal import check_same_caps, experiment_lock, Journal, Phase
from launcher.experiment.load_placement import LoadPlacement
from launcher.experiment.run_status import RunStatus
from launcher.experiment.scaling_run import Measure, phases
from launcher.experiment.search import Bracket
from launcher.experiment.target import Target
from launcher.system import files
from launcher.system.machine import Limits
from launcher.system.signals import Interrupted, interruptible, signals_deferred
from tests.helpers.command_line import refusal
from tests.helpers.report_folders import beyond, Made

LIMIT = BatchLimit(1000, "descriptors", "2 load worker(s) can open 1000 sessions")
CAPS = {"max_concurrent_envs": 10, "workers_per_node": 1}


def test_servers_that_would_differ_in_their_workers_are_refused_before_anything_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    for name in ("WORKERS_PER_NODE", "WORKERS", "SLURM_CPUS_PER_TASK"):
        monkeypatch.delenv(name, raising=False)
    said = refusal(
        *("experiment", "--local", "--server-nodes", "1,2", "--output-dir", str(tmp_path / "new"))
    )
    assert said == (
        "workers_per_node is 2 with 1 server(s) and 1 with 2: their ceilings cannot be compared; "
        "give --workers-per-node N"
    )
    assert list(tmp_path.iterdir()) == []


# The search


def line(batch: int, repetition: int, cap: int, **values: Any) -> dict[str, Any]:
    error_rate = max(0, batch - cap) / batch
    return {
        "batch_size": batch,
        "repetition": repetition,
        "error_rate": error_rate,
        "valid": True,
        "reasons": "",
    } | values


def wanted(**values: Any) -> CeilingSearch:
    grid = Grid("http://n", (32,), (1.0,), Path("x"), **({"reps": 2} | values))
    return CeilingSearch(grid, Criterion(1.0), 32, None, 0.0)


def test_a_search_runs_cells_of_the_grid_it_is_given() -> None:
    ran: list[Cell] = []

    def run(cell: Cell) -> dict[str, Any]:
        ran.append(cell)
        return line(cell.batch, cell.repetition, 50 if cell.wait == 1.0 else 100)

    grid = wanted().grid
    asked = CeilingSearch(
        Grid(grid.url, (32,), (1.0, 5.0), grid.output, reps=2, shape="hold", steps=3),
        Criterion(1.0),
        precision=0.0,
    )
    first, second = search_each_wait(asked, LIMIT, run)
    assert first.brackets == (Bracket(50, 51), Bracket(50, 51))
    assert second.brackets == (Bracket(100, 101), Bracket(100, 101))
    assert ran[0] == Cell("ws", 32, 1.0, 1, "hold", 3)
    assert {(cell.shape, cell.steps) for cell in ran} == {("hold", 3)}
    assert len(first.lines) + len(second.lines) == len(ran)


def test_a_search_is_told_of_cells_that_are_invalid() -> None:
    def run(cell: Cell) -> dict[str, Any]:
        late = {"valid": False, "reasons": "load-1 was late"} if cell.batch == 512 else {}
        return line(cell.batch, cell.repetition, 10**6, **late)

    [sought] = search_each_wait(wanted(), LIMIT, run)
    why = "batch 512 is INVALID: load-1 was late"
    assert sought.brackets == (Bracket(256, None, why),) * 2
    assert limit_reached(sought) is None
    assert notes(sought, Criterion(1.0)) == [f"unknown above 256: {why}"]


def test_batches_smaller_than_the_hosts_that_they_must_reach_are_not_tried() -> None:
    tried = []

    def run(cell: Cell) -> dict[str, Any]:
        tried.append(cell.batch)
        return line(cell.batch, cell.repetition, 0)

    [sought] = search_each_wait(wanted(expected_hosts=4, require_hosts=True), LIMIT, run)
    assert sought.brackets[0] == Bracket(0, 4)
    assert min(tried) == 4


def test_what_no_batch_goes_beyond_is_the_bound() -> None:
    [sought] = search_each_wait(
        wanted(), LIMIT, lambda cell: line(cell.batch, cell.repetition, 10**6)
    )
    told = answer(sought, {"ceiling": 1000, "bound": "", "bound_evidence": ""}, Criterion(1.0))
    assert (told["bound"], told["bound_evidence"]) == (LIMIT.bound, LIMIT.evidence)
    assert told["limit"] == LIMIT.evidence
    assert told["next_failing"] is None


def test_outcomes_that_do_not_fit_together_are_told() -> None:
    lines = (line(64, 1, 10), line(32, 1, 100), line(80, 2, 100))
    sought = SearchResult(1.0, (Bracket(32, 64), Bracket(80, 81)), lines, LIMIT)
    [note] = notes(sought, Criterion(1.0))
    assert note == "batch 64 failed in repetition 1, though 80 passed in repetition 2"
    assert answer(sought, {"ceiling": 32}, Criterion(1.0))["next_failing"] == 64


@pytest.mark.parametrize(
    ("ceiling", "reached", "said"),
    [(992, True, "992"), (1000, False, "at least 1000"), (None, False, "unknown")],
)
def test_the_answer_has_the_words_of_the_runbook(
    ceiling: int | None, reached: bool, said: str
) -> None:
    known = {
        "ceiling": ceiling,
        "reached": reached,
        "wait_seconds": 1.0,
        "first_invalid": None,
        "bound": "",
    }
    told = sentence(known | {"criterion": Criterion().text})
    assert told == f"max_batch where success >= 95 % at wait 1 s: {said}"


def test_the_limits_of_the_load_bound_the_search_by_name() -> None:
    held, ports, _ = load_limits(Limits(descriptors=1100, ports=5000), workers=2, addresses=1)
    assert (held.batch, held.bound, ports.batch, ports.bound) == (
        2000,
        "descriptors",
        5000,
        "ports",
    )
    assert "2 load worker(s) can open 2000 sessions" in held.evidence


# Phases


def test_phases_go_up_in_the_number_of_servers(tmp_path: Path) -> None:
    plain = Deployment(local=True, max_concurrent_envs=10)
    found = phases(plain, (4, 1, 2), "direct", tmp_path)
    assert [(phase.servers, phase.deployment.nodes) for phase in found] == [(1, 1), (2, 3), (4, 5)]
    assert [phase.folder.name for phase in found] == ["nodes-1", "nodes-2", "nodes-4"]
    for phase in found:
        assert phase.deployment.folder == phase.folder / "deployment"
        assert phase.deployment.name == "experiment"
        assert phase.deployment.servers == phase.servers
        given = json.loads(phase.deployment.as_given())
        assert set(given) == {"local", "max_concurrent_envs", "nodes", "dir", "name"}


def test_the_baseline_can_have_an_envoy_too(tmp_path: Path) -> None:
    [one, two] = phases(Deployment(name="mine"), (1, 2), "envoy", tmp_path)
    assert (one.deployment.nodes, two.deployment.nodes) == (2, 3)
    assert one.deployment.name == "mine"


def test_caps_that_differ_are_not_compared() -> None:
    first: dict[str, Any] = {}
    check_same_caps(first, CAPS, 1)
    check_same_caps(first, CAPS, 2)
    with pytest.raises(UsageError, match=r"max_concurrent_envs is 10 with 1 server.* and 9 with 4"):
        check_same_caps(first, CAPS | {"max_concurrent_envs": 9}, 4)


class Stage:
    """Deployments that are only noted."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.happened: list[str] = []
        self.up: str | None = None
        self.caps: dict[str, Any] = CAPS
        monkeypatch.setattr(experiment, "bring_up", self.bring_up)
        monkeypatch.setattr(experiment, "take_down", self.take_down)
        monkeypatch.setattr(Target, "caps", lambda _: self.caps)
        monkeypatch.setattr(experiment.preflight, "serving_checks", lambda *_: [])

    def bring_up(self, deployment: Deployment, _: Any) -> dict[str, str]:
        assert self.up is None
        self.up = f"{deployment.nodes} nodes"
        self.happened.append(f"up {self.up}")
        return {"OPENENV_URL": f"http://{deployment.nodes}"}

    def take_down(self, deployment: Deployment, _: Any) -> None:
        if self.up is not None:
            self.happened.append(f"down {self.up}")
        self.up = None


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    stage = Stage(monkeypatch)
    yield stage
    assert stage.up is None


def measuring(stage: Stage) -> Measure:
    def measure(phase: Phase, target: Target) -> list[dict[str, Any]]:
        stage.happened.append(f"measure {target.url}")
        return [{"ceiling": 10 * phase.servers}]

    return measure


def failing(stage: Stage, at: int, failure: BaseException) -> Measure:
    def measure(phase: Phase, target: Target) -> list[dict[str, Any]]:
        if phase.servers == at:
            raise failure
        return measuring(stage)(phase, target)

    return measure


def run(
    folder: Path, stage: Stage, measure: Measure, *, resume: bool = False, servers: Any = (1, 2, 4)
) -> dict[str, Any]:
    """experiment.json afterwards."""
    wanted = phases(Deployment(local=True), servers, "direct", folder)
    journal = Journal(folder, {"server_nodes": list(servers)}, resume=resume)
    try:
        experiment.run(wanted, journal, lambda _: None, measure)
    except (LauncherError, Interrupted):
        assert journal.content["status"] != "complete"
    return dict(json.loads((folder / "experiment.json").read_text()))


def statuses(story: dict[str, Any]) -> dict[str, str]:
    return {servers: phase["status"] for servers, phase in story["phases"].items()}


def test_each_phase_has_a_deployment_of_its_own(stage: Stage, tmp_path: Path) -> None:
    story = run(tmp_path, stage, measuring(stage))
    expected = [
        f"{what}{nodes}{unit}"
        for nodes in (1, 3, 5)
        for what, unit in (("up ", " nodes"), ("measure http://", ""), ("down ", " nodes"))
    ]
    assert stage.happened == expected
    assert story["status"] == "complete"
    assert statuses(story) == dict.fromkeys("124", "complete")
    assert [phase["ceilings"][0]["ceiling"] for phase in story["phases"].values()] == [10, 20, 40]
    assert all(phase["caps"] == CAPS for phase in story["phases"].values())


@pytest.mark.parametrize(
    ("failure", "status"),
    [(LoadFailed("lost"), "failed"), (Interrupted(signal.SIGTERM), "interrupted")],
)
def test_a_phase_that_fails_is_the_last_and_leaves_nothing_up(
    failure: BaseException, status: str, stage: Stage, tmp_path: Path
) -> None:
    story = run(tmp_path, stage, failing(stage, 2, failure))
    assert stage.happened[-2:] == ["up 3 nodes", "down 3 nodes"]
    assert statuses(story) == {"1": "complete", "2": status}
    assert story["status"] == status
    assert story["phases"]["2"]["error"] == story["error"] == str(failure)


def test_phases_that_are_complete_are_not_run_again(stage: Stage, tmp_path: Path) -> None:
    run(tmp_path, stage, failing(stage, 4, LoadFailed("lost")))
    stage.happened.clear()
    story = run(tmp_path, stage, measuring(stage), resume=True, servers=(1, 2, 4, 8))
    assert stage.happened[0] == "up 5 nodes"
    assert stage.happened[3] == "up 9 nodes"
    assert statuses(story) == dict.fromkeys("1248", "complete")
    assert story["error"] is None


def test_a_deployment_with_other_caps_is_not_measured(stage: Stage, tmp_path: Path) -> None:
    run(tmp_path, stage, measuring(stage), servers=(1,))
    stage.happened.clear()
    stage.caps = CAPS | {"workers_per_node": 64}
    story = run(tmp_path, stage, measuring(stage), resume=True, servers=(1, 2))
    assert stage.happened == ["up 3 nodes", "down 3 nodes"]
    assert "workers_per_node is 1 with 1 server(s) and 64 with 2" in story["error"]


def test_a_folder_that_holds_an_experiment_is_refused(stage: Stage, tmp_path: Path) -> None:
    run(tmp_path, stage, measuring(stage))
    with pytest.raises(UsageError, match=r"already holds an experiment .complete.*--resume"):
        Journal(tmp_path, {}, resume=False)


def test_an_experiment_that_goes_on_elsewhere_is_refused(tmp_path: Path) -> None:
    Journal(tmp_path, {}, resume=False)
    with pytest.raises(UsageError, match=f"is running in process {os.getpid()}"):
        Journal(tmp_path, {}, resume=True)


def test_two_launchers_do_not_hold_one_experiment(tmp_path: Path) -> None:
    folder = tmp_path / "new"
    with experiment_lock(folder):
        with pytest.raises(
            UsageError, match=r"^the experiment in .*new is running; wait until it has ended$"
        ):
            experiment_lock(folder).__enter__()
        told = json.dumps({"pid": 7, "host": "login-2"})
        (folder / "experiment.json").write_text(told)
        with pytest.raises(
            UsageError, match=r"is running in process 7 on login-2; wait until it has ended$"
        ):
            experiment_lock(folder).__enter__()
    with experiment_lock(folder):
        pass


def test_an_experiment_that_another_node_holds_is_left_alone(stage: Stage, tmp_path: Path) -> None:
    run(tmp_path, stage, failing(stage, 2, LoadFailed("lost")), servers=(1, 2))
    story = json.loads((tmp_path / "experiment.json").read_text())
    story |= {
        "status": "running",
        "host": "login-2",
        "pid": 7,
        "deployment": {"local": True, "workers_per_node": 1},
    }
    (tmp_path / "experiment.json").write_text(json.dumps(story | {"options": {}}))
    before = (tmp_path / "experiment.json").read_bytes()
    stage.happened.clear()
    with experiment_lock(tmp_path):
        said = refusal(
            "experiment", "--resume", "--server-nodes", "1", "--output-dir", str(tmp_path)
        )
    assert (
        said
        == f"the experiment in {tmp_path} is running in process 7 on login-2; wait until it has ended"
    )
    assert stage.happened == []
    assert (tmp_path / "experiment.json").read_bytes() == before


def test_a_file_system_without_locks_is_tolerated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_locks(*_: Any) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(files.fcntl, "flock", no_locks)
    with experiment_lock(tmp_path), experiment_lock(tmp_path):
        pass


def test_a_search_is_in_what_is_written_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    placement = LoadPlacement(Target("http://127.0.0.1:9"), ("127.0.0.1",))
    grid = Grid("http://127.0.0.1:9", (32,), (1.0,), tmp_path / "new")
    written = []
    real = recorder.write_atomically

    def write(file: Path, text: str) -> None:
        written.append(json.loads(text) if file.name == "run.json" else None)
        real(file, text)

    monkeypatch.setattr(recorder, "write_atomically", write)
    open_recording(grid, placement, {"search": {"reps": "3"}}).close(RunStatus.FAILED)
    assert written[0]["search"] == {"reps": "3"}


def test_a_phase_without_a_repetition_that_counts_is_told_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of which ceilings.csv has empty fields."""
    for servers in (1, 2):
        hidden = [(batch * servers, 1.0, 1) for batch in ((128,) if servers == 2 else ())]
        Made(tmp_path / f"nodes-{servers}", tuple(servers * batch for batch in (64, 128, 256)),
             servers=servers, refused=beyond(180 * servers), invalid=hidden,
             run_id=f"r{servers}").write()  # fmt: skip
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert report([tmp_path], tmp_path, Criterion()).warnings == []
    told = scaling_told(tmp_path)
    assert [line["by_repetition"] for line in told["ceilings"]] == ["128", ""]
    assert [line["ceiling"] for line in told["ceilings"]] == [128, 128]
    assert told["scaling"][1]["interpretation"].startswith("at least 50.0 %")
    [nodes] = told["nodes"]
    assert nodes.endswith(
        "known for 1 number of servers only; for 2 servers they are lower bounds."
    )
    print_scaling(told)


def test_signals_wait_for_the_end_of_what_must_not_be_disturbed() -> None:
    done = []
    with interruptible(), pytest.raises(Interrupted, match="SIGTERM"):
        with signals_deferred():
            os.kill(os.getpid(), signal.SIGTERM)
            done.append("all of it")
        done.append("too much")
    assert done == ["all of it"]
