"""`launcher preflight` fills every place with the app's own sessions."""

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import websocket

from tests.helpers.local import deployed, Deployment, places_used, ROOT, wait_for

CAPPED = ("--app", "tests.helpers.capped_app:app", "--drain", "0", "--nodes", "3")


@contextlib.contextmanager
def capped(folder: Path, places: int, *more: str, **variables: str) -> Iterator[Deployment]:
    environment = os.environ | {"PYTHONPATH": str(ROOT)} | variables
    options = (*CAPPED, "--max-concurrent-envs", str(places), *more)
    with deployed(folder, "capped", *options, env=environment) as deployment:
        yield deployment


def checks(deployment: Deployment) -> tuple[int, dict[str, Any]]:
    done = deployment.run("preflight", "--name", deployment.name, "--json")
    return done.returncode, {check["name"]: check for check in json.loads(done.stdout)}


def test_preflight_fills_every_place_of_the_benchmark_environment(tmp_path: Path) -> None:
    with deployed(tmp_path, "filled", "--nodes", "3", "--max-concurrent-envs", "40") as filled:
        code, found = checks(filled)
        assert (code, [check["ok"] for check in found.values()]) == (0, [True] * len(found)), found
        assert "80 of 80 places held a session" in found["sessions"]["detail"]
        assert "80 session(s) made a step with the action {}" in found["steps"]["detail"]
        wait_for(lambda: places_used(filled) == 0, 5, "the places are free again")


def test_preflight_fails_when_the_app_admits_fewer_sessions_than_it_has_places(
    tmp_path: Path,
) -> None:
    with capped(tmp_path, 8, CAP="2") as deployment:
        code, found = checks(deployment)
        assert (code, found["sessions"]["ok"]) == (1, False)
        assert (
            "12 of 16 sessions failed: 12 × CAPACITY_REACHED (Server at"
            in found["sessions"]["detail"]
        )
        assert "max_concurrent_envs=int(os.environ" in found["sessions"]["advice"]


def test_preflight_makes_an_action_from_the_schema(tmp_path: Path) -> None:
    with capped(tmp_path, 2, CAP="2", PATTERN="^[0-9]$") as deployment:
        code, found = checks(deployment)
        assert (code, found["sessions"]["ok"]) == (0, True), found
        assert 'with the action {"move": "0"}' in found["steps"]["detail"]


def test_preflight_warns_when_no_action_can_be_made(tmp_path: Path) -> None:
    with capped(tmp_path, 2, CAP="2", PATTERN="^e2e4$") as deployment:
        done = deployment.run("preflight", "--name", "capped")
        assert done.returncode == 0, done.stdout
        expected = (
            "[WARN] steps: not tried: no action can be made from /schema: action.move is a text"
        )
        assert expected in done.stdout


def test_preflight_leaves_a_deployment_alone_that_is_in_use(tmp_path: Path) -> None:
    with capped(tmp_path, 2, CAP="2") as deployment:
        address = deployment.url.replace("http", "ws", 1) + "/ws"
        session = websocket.create_connection(address, timeout=5)
        try:
            code, found = checks(deployment)
        finally:
            session.shutdown()
        assert code == 0
        assert found["sessions"]["detail"] == "not tried: 1 of 4 places are in use"


def test_preflight_opens_sessions_of_an_app_with_tools_as_its_client_does(tmp_path: Path) -> None:
    app = ("--app", "tests.helpers.app_of_tools:app", "--workers-per-node", "2")
    with capped(tmp_path, 50, *app) as deployment:
        code, found = checks(deployment)
        assert (code, found["sessions"]["ok"]) == (0, True), found
        assert "40 of 40 places held a session" in found["sessions"]["detail"]
        assert '"tool_name": "echo", "arguments": {"message": "a"}' in found["steps"]["detail"]
        warning = "the app allows 10 session(s) in a worker, not 50"
        assert warning in found["places"]["detail"]
        wait_for(lambda: places_used(deployment) == 0, 5, "the places are free again")
