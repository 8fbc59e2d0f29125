"""What `plan`, `doctor` and `up` do with an app that allows fewer sessions in a worker than it has places."""

import json
import os
from pathlib import Path

from tests.helpers.local import deployed, launch
from tests.helpers.openenv_apps import APPS

PATH = dict(os.environ) | {"PYTHONPATH": str(APPS)}
ALONE = ("--app", "constructors:alone", "--local")


def test_plan_shows_the_places_that_the_app_allows(tmp_path: Path) -> None:
    argv = ("plan", *ALONE, "--nodes", "3", "--workers-per-node", "2")
    done = launch(*argv, cwd=tmp_path, env=PATH)
    assert "# http://127.0.0.2:8000: 4 places on 2 server(s)\n" in done.stdout
    assert done.stdout.endswith("# Alone of constructors:alone allows 1 session(s) in a worker\n")
    plan = json.loads(launch(*argv, "--json", cwd=tmp_path, env=PATH).stdout)
    assert (plan["capacity"], plan["app"]["environment"], plan["app"]["sessions"]) == (
        4,
        "Alone",
        1,
    )
    assert plan["processes"][1]["environment"]["MAX_CONCURRENT_ENVS"] == "100"


def test_plan_goes_on_when_the_app_is_not_installed_here(tmp_path: Path) -> None:
    argv = ("plan", "--local", "--app", "nowhere:app", "--nodes", "1", "--workers-per-node", "1")
    done = launch(*argv, cwd=tmp_path)
    assert done.returncode == 0
    assert ": 100 places on 1 server(s)\n" in done.stdout
    assert "# the limit of nowhere:app is unknown: it cannot be imported on " in done.stdout


def test_up_refuses_sessions_that_the_app_does_not_allow(tmp_path: Path) -> None:
    argv = ("up", *ALONE, "--nodes", "3", "--workers-per-node", "2", "--sessions", "6")
    done = launch(*argv, cwd=tmp_path, env=PATH)
    assert done.returncode == 2
    assert done.stderr == (
        "error: 6 sessions cannot be held: the places of the servers allow 4 (4 worker(s) with 1 "
        "place(s), as many as the app allows); --workers-per-node 3, or more --nodes\n"
    )


def test_up_starts_a_worker_for_every_session_of_such_an_app(tmp_path: Path) -> None:
    options = ("--nodes", "3", "--sessions", "4", "--drain", "0", *ALONE)
    with deployed(tmp_path, "sized", *options, env=PATH) as sized:
        assert (sized.state["capacity"], sized.connection["CAPACITY"]) == (4, "4")
        assert sized.connection["WORKERS_PER_NODE"] == "2"
        done = sized.run("preflight", "--name", "sized")
        assert "[OK]   sessions: 4 of 4 places held a session at the same time" in done.stdout
        assert done.returncode == 0


def test_up_records_the_places_that_the_servers_have_and_says_why_they_are_few(
    tmp_path: Path,
) -> None:
    options = ("--nodes", "1", "--workers-per-node", "2", "--drain", "0", *ALONE)
    with deployed(tmp_path, "few", *options, env=PATH) as few:
        assert (few.state["capacity"], few.connection["CAPACITY"]) == (2, "2")
        assert "CAPACITY=2\n" in (tmp_path / "openenv-connection.env").read_text()
        events = [event["event"] for event in few.state["events"]]
        expected = "the servers have 2 places, not 200, because the app allows no more; for more"
        assert any(event.startswith(expected) for event in events)


def test_doctor_warns_when_more_places_were_asked_for_than_the_app_allows(tmp_path: Path) -> None:
    argv = ("doctor", *ALONE, "--nodes", "3", "--max-concurrent-envs", "8")
    done = launch(*argv, cwd=tmp_path, env=PATH)
    expected = "[WARN] app: Alone of constructors:alone allows 1 session(s) in a worker, not 8"
    assert expected in done.stdout
    assert "as many as the app allows" in done.stdout
