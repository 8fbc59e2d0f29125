"""Several Envoy processes behind one URL."""

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import websocket

from launcher.envoy import admin
from tests.helpers.local import deployed, Deployment, get_json, places_used, wait_for

OPTIONS = ("--nodes", "3", "--workers-per-node", "2", "--envoy-processes", "2", "--drain", "0")


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    folder = tmp_path_factory.mktemp("two")
    with deployed(folder, "two", *OPTIONS, "--max-concurrent-envs", "28") as deployment:
        yield deployment


def admin_urls(deployment: Deployment) -> list[str]:
    return [envoy["admin_url"] for envoy in deployment.state["envoys"]]


def counted(deployment: Deployment, counter: str) -> list[int]:
    """The value of a counter in each Envoy process."""
    port = deployment.state["deployment"]["envoy_port"]
    page = f"/stats?format=json&filter={admin.counters_filter(port)}"
    found = [get_json(f"{admin_url}{page}") for admin_url in admin_urls(deployment)]
    return [
        admin.parse_counters(json.dumps(page_of_one).encode())[counter] for page_of_one in found
    ]


def opened(deployment: Deployment) -> websocket.WebSocket:
    return websocket.create_connection(deployment.url.replace("http", "ws", 1) + "/ws", timeout=10)


def answers(session: websocket.WebSocket) -> bool:
    try:
        session.send('{"type":"step","data":{"wait_seconds":0}}')
        return bool(json.loads(session.recv())["type"] == "observation")
    except (OSError, websocket.WebSocketException):
        return False


def test_sessions_use_both_envoys_and_reach_all_workers(two: Deployment) -> None:
    before = counted(two, "downstream_cx_total")
    sessions = [opened(two) for _ in range(60)]
    try:
        through = [
            now - then
            for now, then in zip(counted(two, "downstream_cx_total"), before, strict=True)
        ]
        assert min(through) >= 10  # by chance, with 60 sessions: less than once in ten million runs
        workers = [
            worker["used"]
            for server in two.state["servers"]
            for worker in get_json(f"http://{server['address']}:{server['control_port']}/ready")[
                "workers"
            ]
        ]
        assert sum(workers) == 60
        assert max(workers) - min(workers) <= 8
    finally:
        for session in sessions:
            session.shutdown()
    wait_for(lambda: places_used(two) == 0, 10, "all places are free again")


def test_session_finds_the_last_place_through_either_envoy(two: Deployment, tmp_path: Path) -> None:
    """112 places, 120 sessions."""
    done = two.run("grid", "-n", "120", "--wait", "5", "--output-dir", str(tmp_path / "r"))
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in (tmp_path / "r" / "raw.jsonl").read_text().splitlines()]
    assert sum(row["success"] for row in rows) == 112
    samples = [
        json.loads(line) for line in (tmp_path / "r" / "samples.jsonl").read_text().splitlines()
    ]
    assert max(each["upstream_cx_active"] for each in samples if each["kind"] == "envoy") >= 100
    names = {each["name"] for each in samples if each["kind"] == "process"}
    assert {"envoy", "envoy-2"} <= names


def test_status_top_and_metrics_read_both_envoys(two: Deployment) -> None:
    checked = two.run("preflight", "--name", "two")
    assert checked.returncode == 0, checked.stdout
    scraped = json.loads(two.run("top", "two", "--prometheus-targets").stdout)
    pages = [each["targets"][0] for each in scraped if each["labels"]["job"] == "openenv-envoy"]
    assert [f"http://{page}" for page in pages] == admin_urls(two)
    shown = json.loads(two.run("top", "two", "--once", "--json").stdout)
    assert [row["name"] for row in shown["processes"]][:2] == ["envoy", "envoy-2"]
    assert shown["envoy"]["membership_healthy"] == shown["envoy"]["membership_total"] == 4
    assert "envoy-2" in two.run("status", "two").stdout


def test_killed_envoy_is_replaced_and_loses_only_its_sessions(two: Deployment) -> None:
    sessions = [opened(two) for _ in range(40)]
    held, lost = counted(two, "downstream_cx_active")
    old = two.pid("envoy-2")
    os.kill(old, signal.SIGKILL)
    wait_for(lambda: two.pid("envoy-2") != old, 10, "it is replaced")
    alive = [session for session in sessions if answers(session)]
    assert (held + lost, len(alive)) == (40, held)
    wait_for(lambda: min(counted(two, "membership_healthy")) == 4, 15, "it counts all healthy")
    events = [event["event"] for event in two.state["events"]]
    assert any(event.startswith("envoy-2 on") and "replaced" in event for event in events)
    more = [opened(two) for _ in range(20)]
    assert all(answers(session) for session in [*alive, *more])
    for session in [*alive, *more]:
        session.shutdown()
