"""The list of deployments: which are alive, and what is said of those that are not."""

import os
import socket
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from launcher.deployment.paths import RunDir
from launcher.deployment.spec import Deployment
from launcher.deployment.state import (
    DeploymentState,
    DeploymentStatus,
    FAILED_STATES,
    FINAL_STATES,
    Holder,
    LIVE_STATES,
)
from launcher.errors import DeploymentFailed, DeploymentNotFound, UsageError
from launcher.lifecycle import registry
from launcher.lifecycle.stop import stop

ME = Holder(**registry.identity())


@pytest.fixture(autouse=True)
def listed_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    (tmp_path / "state" / "openenv-slurm").mkdir(parents=True)


@pytest.fixture
def listed(tmp_path: Path) -> Callable[..., registry.Known]:
    """Lists a deployment, as its launcher would, and writes its state."""

    def enter(name: str = "blue", holder: Holder = ME, **state: object) -> registry.Known:
        deployment = Deployment(name=name, dir=tmp_path / name)
        (tmp_path / name).mkdir(exist_ok=True)
        identity = {"host": holder.host, "pid": holder.pid, "pid_created": holder.pid_created}
        registry.enter(deployment, None, own_job=False, **identity)
        written = DeploymentState(name=name, folder=tmp_path / name, **identity, **state)  # type: ignore[arg-type]
        written.save(RunDir(tmp_path / name, name).state)
        return registry.find(name)

    return enter


def test_this_process_is_alive() -> None:
    assert registry.holder_alive(ME)
    assert ME.host == socket.gethostname()
    assert ME.pid == os.getpid()


@pytest.mark.parametrize(
    "holder",
    [
        None,
        Holder(),
        replace(ME, pid=None),
        replace(ME, pid_created=None),
        replace(ME, pid_created=(ME.pid_created or 0) - 1.5),
        replace(ME, pid_created=(ME.pid_created or 0) + 1.5),
        replace(ME, host="another-machine"),
        replace(ME, pid=2**22 + 1),
    ],
)
def test_a_holder_that_is_not_this_very_process_is_not_alive(holder: Holder | None) -> None:
    assert not registry.holder_alive(holder)


def test_a_zombie_is_not_alive() -> None:
    import psutil

    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
    created = psutil.Process(child).create_time()
    try:
        assert not registry.holder_alive(replace(ME, pid=child, pid_created=created))
    finally:
        os.waitpid(child, 0)


def test_states_are_live_or_final() -> None:
    derived = {DeploymentStatus.GONE, DeploymentStatus.NO_FILES}
    assert set(LIVE_STATES) | set(FINAL_STATES) | derived == set(DeploymentStatus)
    assert set(FINAL_STATES) - set(FAILED_STATES) == {DeploymentStatus.STOPPED}


@pytest.mark.parametrize("status", [*LIVE_STATES, *FINAL_STATES])
def test_the_status_of_a_live_launcher_is_the_one_it_wrote(
    listed: Callable[..., registry.Known], status: DeploymentStatus
) -> None:
    assert listed(status=status).status is status


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        (DeploymentStatus.STARTING, DeploymentStatus.GONE),
        (DeploymentStatus.READY, DeploymentStatus.GONE),
        (DeploymentStatus.STOPPING, DeploymentStatus.GONE),
        (DeploymentStatus.STOPPED, DeploymentStatus.STOPPED),
        (DeploymentStatus.FAILED, DeploymentStatus.FAILED),
        (DeploymentStatus.ENDED, DeploymentStatus.ENDED),
    ],
)
def test_a_launcher_that_exited_without_a_final_status_is_gone(
    listed: Callable[..., registry.Known], written: DeploymentStatus, shown: DeploymentStatus
) -> None:
    assert listed(holder=replace(ME, pid_created=1.0), status=written).status is shown


def test_a_live_launcher_whose_folder_was_removed_is_without_files(
    listed: Callable[..., registry.Known],
) -> None:
    listed().rundir.state.unlink()
    known = registry.find("blue")
    assert (known.alive, known.status) == (True, DeploymentStatus.NO_FILES)
    assert known.status == "without its files"


def test_an_unknown_name_lists_the_known_ones(listed: Callable[..., registry.Known]) -> None:
    listed("green")
    listed("blue")
    with pytest.raises(DeploymentNotFound, match=r"known deployments: blue, green\. .* --name red"):
        registry.find("red")


def test_the_usual_name_is_that_of_the_current_folder(
    listed: Callable[..., registry.Known], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed("blue")
    monkeypatch.chdir(tmp_path)
    assert registry.usual_name() == "openenv"
    monkeypatch.chdir(tmp_path / "blue")
    assert registry.usual_name() == "blue"
    (tmp_path / "copy").mkdir()
    (tmp_path / "copy" / "openenv-deployment.json").write_bytes(
        (tmp_path / "blue" / "openenv-deployment.json").read_bytes()
    )
    monkeypatch.chdir(tmp_path / "copy")
    assert registry.usual_name() == "openenv"


def test_a_connection_file_of_a_launcher_that_is_gone_is_refused(
    listed: Callable[..., registry.Known], tmp_path: Path
) -> None:
    assert registry.connection(tmp_path) is None
    known = listed(holder=replace(ME, pid_created=1.0), status=DeploymentStatus.READY)
    known.rundir.connection.write_text("export OPENENV_URL=http://a:1\n")
    with pytest.raises(DeploymentNotFound, match="left by a deployment that is gone"):
        registry.connection(known.rundir.folder)
    listed(status=DeploymentStatus.READY)
    assert registry.connection(known.rundir.folder) == {"OPENENV_URL": "http://a:1"}


def test_a_connection_file_without_a_state_is_refused(tmp_path: Path) -> None:
    (tmp_path / "openenv-connection.env").write_text("export OPENENV_URL=http://a:1\n")
    with pytest.raises(DeploymentNotFound):
        registry.connection(tmp_path)


def test_a_folder_is_in_use_while_its_deployment_is_up(
    listed: Callable[..., registry.Known], tmp_path: Path
) -> None:
    registry.check_unused(tmp_path)
    listed(status=DeploymentStatus.READY)
    with pytest.raises(UsageError, match="is in use by deployment 'blue'"):
        registry.check_unused(tmp_path / "blue")
    listed(holder=replace(ME, pid_created=1.0), status=DeploymentStatus.READY)
    registry.check_unused(tmp_path / "blue")


def test_uptime_starts_when_the_deployment_is_ready() -> None:
    assert registry.uptime(DeploymentState()) is None
    uptime = registry.uptime(DeploymentState(ready_at=time.time() - 100))
    assert uptime == pytest.approx(100, abs=5)
    assert registry.uptime(DeploymentState(ready_at=time.time() + 100)) == 0.0


def test_stopping_a_deployment_that_is_gone_removes_its_files(
    listed: Callable[..., registry.Known],
) -> None:
    known = listed(holder=replace(ME, pid_created=1.0), status=DeploymentStatus.READY)
    known.rundir.connection.touch()
    assert stop(known) == "blue was already gone; removed its remaining files"
    assert not known.rundir.connection.exists()
    assert registry.known("blue") is None


def test_a_deployment_on_another_machine_is_stopped_there(
    listed: Callable[..., registry.Known],
) -> None:
    known = listed(holder=replace(ME, host="another-machine"), status=DeploymentStatus.READY)
    with pytest.raises(DeploymentFailed, match="'blue' is held on another-machine"):
        stop(known)
    assert registry.known("blue") is not None
