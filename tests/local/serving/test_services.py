"""Services that run beside a server."""

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.helpers.local import (
    deployed,
    get_json,
    launch,
    LAUNCHER,
    new_address,
    ROOT,
    wait_for,
)

ONE = ("--nodes", "1", "--workers-per-node", "1", "--drain", "0", "--app", "surroundings:app")


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    shutil.copy(ROOT / "tests/helpers/apps/surroundings.py", tmp_path)
    yield tmp_path
    assert not [pid for pid in pids(tmp_path) if psutil.pid_exists(pid)]


def pids(folder: Path) -> list[int]:
    return [int(file.read_text()) for file in folder.glob("*.pid")]


def sleeper(name: str) -> str:
    """Writes its process id to a file."""
    return f"sh -c 'echo $$ > {name}.pid.new; mv {name}.pid.new {name}.pid; exec sleep 600'"


def test_services_run_beside_the_server_and_end_with_it(folder: Path) -> None:
    daemon = f"setsid {sleeper('daemon')} & wait_for_nothing=1"
    services = ("--service", sleeper("service"), "--service", daemon)
    with deployed(folder, "services", *ONE, *services, "--env", "LEVEL=3") as deployment:
        wait_for(lambda: len(pids(folder)) == 2, 20, "the service and the daemon run")
        assert all(psutil.pid_exists(pid) for pid in pids(folder))
        service = psutil.Process(int((folder / "service.pid").read_text()))
        assert service.environ()["LEVEL"] == "3"
        assert get_json(f"{deployment.url}/variable?name=LEVEL") == "3"


def test_a_server_whose_service_fails_is_replaced_with_a_new_service(folder: Path) -> None:
    with deployed(folder, "fails", *ONE, "--service", sleeper("service")) as deployment:
        wait_for(lambda: pids(folder), 20, "the service runs")
        (first,) = pids(folder)
        (folder / "service.pid").unlink()
        os.kill(first, signal.SIGKILL)
        wait_for(lambda: pids(folder) and pids(folder) != [first], 20, "a new service runs")
        wait_for(lambda: get_json(f"{deployment.url}/place"), 20, "a new server answers")
        log = (folder / "benchmark-env-server-1.log").read_text()
        assert "error: the service \"sh -c 'echo $$" in log
        assert log.count("exited with 137; its server stops\n") == 1
        status = deployment.run("status", "fails").stdout
        assert "exited with 1; replaced (1 of 3)" in status


def test_a_service_that_cannot_start_is_the_error_of_up(folder: Path) -> None:
    options = ("--local-address", new_address(), "--name", "broken")
    done = launch("up", "--local", *options, *ONE, "--service", "no-simulator --port 1", cwd=folder)
    assert done.returncode == 1
    assert "the service 'no-simulator --port 1' exited with 127; its server stops" in done.stderr


@pytest.mark.parametrize("killed", [signal.SIGKILL, signal.SIGTERM])
def test_nothing_is_left_when_the_launcher_is_gone(folder: Path, killed: signal.Signals) -> None:
    options = ("--local-address", new_address(), "--name", "gone")
    argv = [*LAUNCHER, "up", "--local", *options, *ONE, "--service", sleeper("service") + "; true"]
    launcher = subprocess.Popen(argv, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert launcher.stdout is not None
    assert launcher.stdout.readline().startswith(b"OPENENV_URL=")
    (service,) = wait_for(lambda: pids(folder), 20, "the service runs")
    launcher.send_signal(killed)
    launcher.communicate(timeout=20)
    wait_for(lambda: not psutil.pid_exists(service), 20, "the service is gone")
