"""Envoy in front of real servers: places, health checks, and access to its admin pages."""

import contextlib
import http.client
import itertools
import json
import os
import signal
import urllib.request
from datetime import datetime
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest
import websocket

from tests.helpers.envoy import all_healthy, envoy_before, unhealthy
from tests.helpers.local import (
    deployed,
    Deployment,
    launch,
    places_used,
    serving,
    wait_for,
)


@pytest.mark.parametrize(("batch", "successes"), [(100, 100), (120, 110)])
def test_session_finds_the_last_free_place(batch: int, successes: int, tmp_path: Path) -> None:
    with (
        serving(tmp_path, "--drain", "0", WORKERS=1, MAX_CONCURRENT_ENVS=10) as small,
        serving(tmp_path, "--drain", "0", WORKERS=1, MAX_CONCURRENT_ENVS=100) as large,
        envoy_before([small, large], tmp_path) as url,
    ):
        output = tmp_path / "results"
        done = launch("grid", "--url", url, "-n", str(batch), "--wait", "6", "--output-dir", output)
        assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in (output / "raw.jsonl").read_text().splitlines()]
    assert len(rows) == batch
    assert sum(row["success"] for row in rows) == successes
    refused = [row for row in rows if not row["success"]]
    assert {row["error_type"] for row in refused} <= {"CAPACITY_REACHED"}
    assert len({row["host_url"] for row in rows if row["success"]}) == 2
    assert all(row["reset_latency"] is None for row in refused)


def test_sessions_are_distributed_evenly_over_workers(tmp_path: Path) -> None:
    options = ["--nodes", "3", "--workers-per-node", "2", "--max-concurrent-envs", "100"]
    with deployed(tmp_path, "even", *options, "--drain", "0") as deployment:
        output = tmp_path / "results"
        done = deployment.run("grid", "-n", "200", "--wait", "2", "--output-dir", str(output))
        assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in (output / "raw.jsonl").read_text().splitlines()]
    share = [sum(row["pid"] == pid for row in rows) for pid in {row["pid"] for row in rows}]
    assert len(share) == 4
    assert max(share) <= 1.3 * 50


def test_small_batch_after_a_large_one_reaches_every_host(tmp_path: Path) -> None:
    options = ["--nodes", "3", "--workers-per-node", "1", "--max-concurrent-envs", "1000"]
    with deployed(tmp_path, "after", *options, "--drain", "0") as deployment:
        done = deployment.run(
            *("grid", "--requests-grid", "1000,20", "--wait", "0.5", "--reps", "2"),
            *("--expected-hosts", "2", "--require-hosts", "--output-dir", str(tmp_path / "r")),
        )
        assert done.returncode == 0, done.stderr
    cells = json.loads((tmp_path / "r" / "run.json").read_text())["cells"]
    pauses = [
        (datetime.fromisoformat(after["begun"]) - datetime.fromisoformat(before["ended"]))
        for before, after in itertools.pairwise(cells)
    ]
    assert max(pauses).total_seconds() < 20  # surplus users stop together


def test_new_sessions_go_to_the_least_loaded_server(tmp_path: Path) -> None:
    options = ["--nodes", "3", "--workers-per-node", "1", "--drain", "0"]
    with contextlib.ExitStack() as held, deployed(tmp_path, "drift", *options) as deployment:
        held.callback(lambda: [session.shutdown() for session in sessions])
        sessions = [opened(deployment.url) for _ in range(60)]
        leaving = host_of_session(sessions[0])
        for session in [s for s in sessions if host_of_session(s) == leaving]:
            session.close()
            sessions.remove(session)
        staying = len(sessions)
        wait_for(lambda: places_used(deployment) == staying, 10, "one server is empty")
        sessions += [opened(deployment.url) for _ in range(30)]
        assert sum(host_of_session(session) == leaving for session in sessions) >= 17


def opened(url: str) -> websocket.WebSocket:
    return websocket.create_connection(url.replace("http", "ws", 1) + "/ws", timeout=10)


def host_of_session(session: websocket.WebSocket) -> str:
    session.send('{"type":"reset"}')
    return str(json.loads(session.recv())["data"]["observation"]["host_url"])


def test_sessions_behind_envoy_are_drained_when_the_deployment_stops(tmp_path: Path) -> None:
    with deployed(tmp_path, "draining", "--nodes", "3", "--drain", "3") as deployment:
        session = opened(deployment.url)
        session.send('{"type":"step","data":{"wait_seconds":1.0}}')
        wait_for(lambda: places_used(deployment) == 1, 5, "the step waits")
        deployment.run("down", "draining")
        assert json.loads(session.recv())["data"]["observation"]["waited_seconds"] == 1.0
        session.shutdown()


def test_envoy_stops_routing_to_a_dead_server_within_four_seconds(tmp_path: Path) -> None:
    with (
        serving(tmp_path, "--drain", "0", WORKERS=1) as dead,
        serving(tmp_path, "--drain", "0", WORKERS=1) as alive,
        envoy_before([dead, alive], tmp_path) as url,
    ):
        admin_url = url.replace(":8000", ":9901")
        frozen = [psutil.Process(dead.process.pid)]
        frozen += frozen[0].children(recursive=True)
        for process in frozen:
            process.suspend()  # like a dead node: it neither answers nor refuses connections
        try:
            wait_for(lambda: unhealthy(admin_url) == {dead.address}, 4, "dead one excluded")
            hosts = {host_of(url) for _ in range(20)}
            assert hosts == {f"{alive.address}:8000"}
            assert alive.ready()["used"] == 0
        finally:
            for process in frozen:
                process.resume()
        wait_for(
            lambda: all_healthy(admin_url, 2), 10, "the server is healthy once it responds again"
        )
        alive.stop()
        wait_for(lambda: unhealthy(admin_url) == {alive.address}, 4, "stopped one excluded")
        assert host_of(url)
        dead.stop()
        wait_for(lambda: len(unhealthy(admin_url)) == 2, 4, "none is left")
        with pytest.raises(websocket.WebSocketBadStatusException, match="503"):
            host_of(url)


def host_of(url: str) -> str:
    with contextlib.closing(opened(url)) as session:
        return host_of_session(session)


@pytest.mark.parametrize("page", ["/clusters", "/stats", "/stats/prometheus", "/ready"])
def test_readonly_admin_pages_respond(deployment: Deployment, page: str) -> None:
    with urllib.request.urlopen(deployment.admin_url + page, timeout=5) as answer:
        text = answer.read().decode()
    assert text.strip()
    if page == "/clusters":
        assert "openenv_cluster::" in text
        assert "health_flags::healthy" in text


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/quitquitquit"),
        ("GET", "/quitquitquit"),
        ("POST", "/logging?level=trace"),
        ("POST", "/drain_listeners"),
        ("POST", "/healthcheck/fail"),
        ("POST", "/reset_counters"),
        ("POST", "/runtime_modify?a=b"),
        ("POST", "/cpuprofiler?enable=y"),
        ("POST", "/stats/recentlookups/enable"),
        ("GET", "/config_dump"),
        ("POST", "/clusters"),
        ("PUT", "/ready"),
        ("GET", "/clusters/../quitquitquit"),
        ("POST", "//quitquitquit"),
        ("POST", "/%71uitquitquit"),
    ],
)
def test_admin_pages_that_change_envoy_are_forbidden(
    deployment: Deployment, method: str, path: str
) -> None:
    netloc = urlsplit(deployment.admin_url).netloc
    with contextlib.closing(http.client.HTTPConnection(netloc, timeout=5)) as asking:
        asking.request(method, path)
        assert asking.getresponse().status in (400, 403, 404)
    pid = deployment.pid("envoy")
    assert psutil.pid_exists(pid)
    listening = {
        c.laddr for c in psutil.Process(pid).net_connections("tcp") if c.status == "LISTEN"
    }
    assert {address.port for address in listening} == {8000, 9901}


def test_admin_socket_is_accessible_to_its_owner_only(deployment: Deployment) -> None:
    sockets = psutil.Process(deployment.pid("envoy")).net_connections("unix")
    paths = [Path(c.laddr) for c in sockets if str(c.laddr).endswith(".sock")]
    assert paths
    for path in paths:
        assert path.stat().st_mode & 0o077 == 0
        assert path.parent.stat().st_mode & 0o077 == 0


def test_killed_envoy_is_reported_and_replaced(tmp_path: Path) -> None:
    with deployed(tmp_path, "phoenix", "--nodes", "3", "--drain", "0") as deployment:
        old = deployment.pid("envoy")
        os.kill(old, signal.SIGKILL)
        wait_for(lambda: deployment.pid("envoy") != old, 10, "Envoy is replaced")
        wait_for(lambda: all_healthy(deployment.admin_url, 2), 15, "all are healthy again")
        assert host_of(deployment.url)
        events = [event["event"] for event in deployment.state["events"]]
        assert any("envoy" in event and "SIGKILL; replaced (1 of 3)" in event for event in events)
