"""The phases of a scaling experiment and their journal."""

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
from launcher.cli.display.scaling_tables import print_scaling, scaling_summary
from launcher.deployment.spec import Deployment
from launcher.errors import LauncherError, LoadFailed, UsageError
from launcher.experiment import recorder
from launcher.experiment import scaling_run as experiment
from launcher.experiment.grid import Grid
from launcher.experiment.grid_run import open_recording
from launcher.experiment.journal import check_same_caps, experiment_lock, Journal, Phase
from launcher.experiment.load_placement import LoadPlacement
from launcher.experiment.scaling_run import Measure, phases
from launcher.experiment.target import Target
from launcher.system import files
from launcher.system.signals import Interrupted, interruptible, signals_deferred
from tests.helpers.command_line import refusal
from tests.helpers.report_folders import beyond, Made

CAPS = {"max_concurrent_envs": 10, "workers_per_node": 1}


def test_check_refuses_servers_with_different_workers_before_anything_starts(
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


def test_phases_are_in_ascending_order_of_servers(tmp_path: Path) -> None:
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


def test_phases_give_one_server_an_envoy_when_that_is_the_baseline(tmp_path: Path) -> None:
    [one, two] = phases(Deployment(name="mine"), (1, 2), "envoy", tmp_path)
    assert (one.deployment.nodes, two.deployment.nodes) == (2, 3)
    assert one.deployment.name == "mine"


def test_check_same_caps_refuses_different_caps() -> None:
    first = CAPS | {"servers": 1}
    check_same_caps({}, CAPS, 1)
    check_same_caps(first, CAPS, 2)
    with pytest.raises(UsageError, match=r"max_concurrent_envs is 10 with 1 server.* and 9 with 4"):
        check_same_caps(first, CAPS | {"max_concurrent_envs": 9}, 4)


class Stage:
    """Replaces deployments by a record of when they would start and stop."""

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
    """Returns experiment.json."""
    wanted = phases(Deployment(local=True), servers, "direct", folder)
    journal = Journal(folder, {"server_nodes": list(servers)}, resume=resume)
    try:
        experiment.run(wanted, journal, lambda _: None, measure)
    except (LauncherError, Interrupted):
        assert journal.content["status"] != "complete"
    return dict(json.loads((folder / "experiment.json").read_text()))


def statuses(story: dict[str, Any]) -> dict[str, str]:
    return {servers: phase["status"] for servers, phase in story["phases"].items()}


def test_run_gives_each_phase_its_own_deployment(stage: Stage, tmp_path: Path) -> None:
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
def test_run_ends_with_the_first_failing_phase_and_stops_its_deployment(
    failure: BaseException, status: str, stage: Stage, tmp_path: Path
) -> None:
    story = run(tmp_path, stage, failing(stage, 2, failure))
    assert stage.happened[-2:] == ["up 3 nodes", "down 3 nodes"]
    assert statuses(story) == {"1": "complete", "2": status}
    assert story["status"] == status
    assert story["phases"]["2"]["error"] == story["error"] == str(failure)


def test_run_skips_complete_phases_when_resumed(stage: Stage, tmp_path: Path) -> None:
    run(tmp_path, stage, failing(stage, 4, LoadFailed("lost")))
    stage.happened.clear()
    story = run(tmp_path, stage, measuring(stage), resume=True, servers=(1, 2, 4, 8))
    assert stage.happened[0] == "up 5 nodes"
    assert stage.happened[3] == "up 9 nodes"
    assert statuses(story) == dict.fromkeys("1248", "complete")
    assert story["error"] is None


def test_run_does_not_measure_a_deployment_with_different_caps(
    stage: Stage, tmp_path: Path
) -> None:
    run(tmp_path, stage, measuring(stage), servers=(1,))
    stage.happened.clear()
    stage.caps = CAPS | {"workers_per_node": 64}
    story = run(tmp_path, stage, measuring(stage), resume=True, servers=(1, 2))
    assert stage.happened == ["up 3 nodes", "down 3 nodes"]
    assert "workers_per_node is 1 with 1 server(s) and 64 with 2" in story["error"]


def test_journal_refuses_a_folder_with_an_experiment_without_resume(
    stage: Stage, tmp_path: Path
) -> None:
    run(tmp_path, stage, measuring(stage))
    with pytest.raises(UsageError, match=r"already holds an experiment .complete.*--resume"):
        Journal(tmp_path, {}, resume=False)


def test_journal_refuses_an_experiment_that_is_running(tmp_path: Path) -> None:
    Journal(tmp_path, {}, resume=False)
    with pytest.raises(UsageError, match=f"is running in process {os.getpid()}"):
        Journal(tmp_path, {}, resume=True)


def test_experiment_lock_excludes_a_second_launcher(tmp_path: Path) -> None:
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


def test_experiment_changes_nothing_when_another_node_holds_the_lock(
    stage: Stage, tmp_path: Path
) -> None:
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


def test_experiment_lock_tolerates_a_file_system_without_locks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_locks(*_: Any) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(files.fcntl, "flock", no_locks)
    with experiment_lock(tmp_path), experiment_lock(tmp_path):
        pass


def test_open_recording_saves_the_search_in_the_first_run_json(
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
    open_recording(grid, placement, {"search": {"reps": "3"}}).close()
    assert written[0]["search"] == {"reps": "3"}


def test_report_names_a_phase_without_a_valid_repetition(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for servers in (1, 2):
        hidden = [(batch * servers, 1.0, 1) for batch in ((128,) if servers == 2 else ())]
        Made(tmp_path / f"nodes-{servers}", tuple(servers * batch for batch in (64, 128, 256)),
             servers=servers, refused=beyond(180 * servers), invalid=hidden,
             run_id=f"r{servers}").write()  # fmt: skip
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert report([tmp_path], tmp_path, Criterion()).warnings == []
    told = scaling_summary(tmp_path)
    assert [line["by_repetition"] for line in told["ceilings"]] == ["128", ""]
    assert [line["ceiling"] for line in told["ceilings"]] == [128, 128]
    assert told["scaling"][1]["interpretation"].startswith("at least 50.0 %")
    [nodes] = told["nodes"]
    assert nodes.endswith(
        "known for 1 number of servers only; for 2 servers they are lower bounds."
    )
    print_scaling(told)


def test_signals_deferred_delivers_a_signal_after_the_block() -> None:
    done = []
    with interruptible(), pytest.raises(Interrupted, match="SIGTERM"):
        with signals_deferred():
            os.kill(os.getpid(), signal.SIGTERM)
            done.append("all of it")
        done.append("too much")
    assert done == ["all of it"]
