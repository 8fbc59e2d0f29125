"""What keeps a deployment from being ready, and what is checked while it is held."""

import json
import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from launcher.deployment.paths import RunDir
from launcher.deployment.placement import Node, place, Placement
from launcher.deployment.programs import Programs
from launcher.deployment.spec import Deployment
from launcher.envoy.admin import Backend, CLUSTER
from launcher.lifecycle import watchers
from launcher.lifecycle.readiness import judge, unready
from launcher.lifecycle.supervisor import Unready
from launcher.lifecycle.watchers import BackendWatcher, HeartbeatWatcher
from launcher.system.signals import Interrupted


def backends(**healthy: tuple[bool, ...]) -> list[Backend]:
    return [
        Backend(node, is_healthy) for node, workers in healthy.items() for is_healthy in workers
    ]


def test_a_deployment_is_ready_when_every_worker_is_healthy() -> None:
    assert judge(backends(n2=(True, True), n3=(True,)), 3) is None


def test_nodes_with_any_unhealthy_worker_are_named_once_in_order() -> None:
    found = backends(n3=(True, False, False), n2=(False,), n4=(True,))
    assert judge(found, 5) == Unready("Envoy reports n2, n3 as unhealthy", frozenset({"n2", "n3"}))


@pytest.mark.parametrize(("count", "text"), [(0, "0 of 2"), (1, "1 of 2")])
def test_workers_that_envoy_does_not_know_are_counted(count: int, text: str) -> None:
    unready = judge(backends(n2=(True,) * count), 2)
    assert unready == Unready(f"Envoy knows {text} workers")


def test_a_heartbeat_that_stops_interrupts_the_deployment(tmp_path: Path) -> None:
    beat = tmp_path / "beat"
    beat.touch()
    watcher = HeartbeatWatcher(beat, timeout=0.0)
    for second in (1, 2, 3):
        os.utime(beat, (second, second))
        watcher.check()
    with pytest.raises(Interrupted):
        watcher.check()


def test_a_heartbeat_may_pause_for_its_timeout(tmp_path: Path) -> None:
    beat = tmp_path / "beat"
    beat.touch()
    watcher = HeartbeatWatcher(beat, timeout=60.0)
    watcher.check()
    watcher.check()
    beat.unlink()
    watcher.check()
    watcher.check()


def test_a_heartbeat_that_never_began_interrupts_the_deployment(tmp_path: Path) -> None:
    watcher = HeartbeatWatcher(tmp_path / "none", timeout=0.0)
    with pytest.raises(Interrupted):
        watcher.check()


class AdminPages(ThreadingHTTPServer):
    """Envoy's admin pages for two workers on n2 and one on n3."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.unhealthy: set[str] = set()

    def page(self, path: str) -> str:
        names = ["n2", "n2", "n3"]
        if path.startswith("/stats"):
            healthy = sum(name not in self.unhealthy for name in names)
            return f"cluster.{CLUSTER}.membership_healthy: {healthy}\n"
        hosts = [
            {
                "hostname": name,
                "address": {"socket_address": {"address": "10.0.0.1", "port_value": 8002 + i}},
                "health_status": {"failed_active_health_check": True}
                if name in self.unhealthy
                else {},
            }
            for i, name in enumerate(names)
        ]
        return json.dumps({"cluster_statuses": [{"name": CLUSTER, "host_statuses": hosts}]})


class _Handler(BaseHTTPRequestHandler):
    server: AdminPages

    def do_GET(self) -> None:
        body = self.server.page(self.path).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def pages() -> Iterator[AdminPages]:
    with AdminPages() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def placement(pages: AdminPages) -> Placement:
    deployment = Deployment(nodes=3, admin_port=pages.server_port)
    nodes = [Node("127.0.0.1", "127.0.0.1"), Node("n2", "n2", 2), Node("n3", "n3", 1)]
    return place(deployment, nodes, RunDir(Path("/run"), "test"), Programs())


def test_a_deployment_is_ready_when_envoy_itself_reports_all_workers(
    pages: AdminPages, placement: Placement
) -> None:
    assert unready(placement) is None
    pages.unhealthy = {"n3"}
    assert unready(placement) == Unready("Envoy reports n3 as unhealthy", frozenset({"n3"}))


def test_nodes_are_reported_when_envoys_view_of_them_changes(
    pages: AdminPages, placement: Placement, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watchers, "CHECK_SECONDS", 0.0)
    events: list[str] = []
    watcher = BackendWatcher(placement, events.append)
    for unhealthy in (set(), {"n2"}, {"n2"}, {"n2", "n3"}, {"n3"}, set(), set()):
        pages.unhealthy = set(unhealthy)
        watcher.check()
    assert events == [
        "Envoy reports n2 as unhealthy",
        "Envoy reports n3 as unhealthy",
        "Envoy reports n2 as healthy again",
        "Envoy reports n3 as healthy again",
    ]


def test_envoy_is_asked_once_per_second_at_most(pages: AdminPages, placement: Placement) -> None:
    events: list[str] = []
    watcher = BackendWatcher(placement, events.append)
    watcher.check()
    pages.unhealthy = {"n2"}
    watcher.check()
    assert events == []


def test_an_envoy_that_does_not_answer_is_neither_ready_nor_an_event() -> None:
    deployment = Deployment(nodes=2, admin_port=1)
    nodes = [Node("127.0.0.1", "127.0.0.1"), Node("n2", "n2")]
    placement = place(deployment, nodes, RunDir(Path("/run"), "test"), Programs())
    assert unready(placement) == Unready("Envoy does not answer")
    events: list[str] = []
    BackendWatcher(placement, events.append).check()
    assert events == []
