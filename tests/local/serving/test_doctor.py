"""The doctor on this machine."""

import json
import socket
from pathlib import Path

from tests.helpers.local import launch, new_address

LOCAL = ("doctor", "--local", "--runtime", "venv")


def test_doctor_passes_on_this_machine(tmp_path: Path) -> None:
    done = launch(*LOCAL, "--local-address", new_address(), "--json", cwd=tmp_path)
    report = json.loads(done.stdout)
    assert (done.returncode, report["ok"], report["job"]) == (0, True, None)
    assert report["limits"][0]["limit"] == "places of the servers"
    assert "memory of this machine" in {limit["limit"] for limit in report["limits"]}
    assert not list(tmp_path.iterdir())


def test_doctor_fails_when_a_port_is_taken(tmp_path: Path) -> None:
    address = new_address()
    with socket.create_server((address, 8000)):
        done = launch(*LOCAL, "--local-address", address, cwd=tmp_path)
    assert done.returncode == 1
    assert f"port 8000 on {address}: Address already in use" in done.stdout


def test_doctor_fails_when_sessions_exceed_the_places(tmp_path: Path) -> None:
    options = ("--workers-per-node", "1", "--sessions", "201", "--local-address", new_address())
    options += ("--max-concurrent-envs", "100")
    done = launch(*LOCAL, *options, cwd=tmp_path)
    assert done.returncode == 1
    assert "[FAIL] sessions: the places of the servers allow 200 of 201" in done.stdout
    assert "--max-concurrent-envs 101" in done.stdout


def test_doctor_refuses_an_invalid_number_of_sessions() -> None:
    done = launch(*LOCAL, "--sessions", "many")
    assert done.returncode == 2
    assert done.stderr.startswith("error: --sessions: 'many' is not a whole number from 1")
