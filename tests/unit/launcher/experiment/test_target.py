"""What a target knows about the deployment or server behind its URL."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from launcher.deployment.placement import Role, ServerAddress
from launcher.deployment.spec import Deployment
from launcher.deployment.state import DeploymentState, EnvoyState, ProcessState
from launcher.errors import LoadFailed, PreflightFailed
from launcher.experiment import target as target_module
from launcher.experiment.target import is_loopback, replaced, Target
from tests.helpers.http_server import answering_with

URL = "http://n1:8000"
ENVOY = EnvoyState("envoy", "http://n1:9901", "/run/envoy.sock")


def deployment(**changes: Any) -> DeploymentState:
    """An Envoy on n1 and servers on n2 and n3."""
    state: dict[str, Any] = {
        "name": "any",
        "url": URL,
        "envoys": (ENVOY,),
        "connection": {"ENVOY_NODE": "n1", "WORKERS_PER_NODE": "3"},
        "capacity": 600,
        "envoy_sessions": 500,
        "deployment": Deployment(max_concurrent_envs=100, server_port=7000),
        "processes": (
            ProcessState("envoy", Role.ENVOY, "n1"),
            ProcessState("server-1", Role.SERVER, "n2"),
            ProcessState("server-2", Role.SERVER, "n3"),
        ),
        "servers": tuple(ServerAddress(node, node, 7001, (7002,)) for node in ("n2", "n3")),
    }
    return DeploymentState(**(state | changes))


def caps(target: Target) -> tuple[Any, Any]:
    return target.caps()["servers"], target.caps()["capacity"]


def test_target_counts_all_servers_behind_the_url_of_a_deployment() -> None:
    target = Target(URL, deployment())
    assert (target.servers, target.envoy_sessions) == (2, 500)
    assert target.caps() == {
        "max_concurrent_envs": 100,
        "workers_per_node": 3,
        "servers": 2,
        "capacity": 600,
        "envoy_sessions": 500,
    }


def test_target_counts_one_server_behind_the_url_of_a_server() -> None:
    target = Target("http://n3:7000", deployment())
    assert (target.servers, target.envoy_sessions) == (1, None)
    assert caps(target) == (1, 300)


def test_target_has_no_envoy_sessions_without_envoy() -> None:
    connection = {"ENVOY_NODE": "", "WORKERS_PER_NODE": "3"}
    assert Target(URL, deployment(connection=connection)).envoy_sessions is None


def test_target_counts_nothing_behind_an_unknown_url() -> None:
    target = Target("http://127.0.0.1:1")
    assert (target.servers, target.envoy_sessions, target.is_running()) == (None, None, True)
    assert (target.caps(), target.processes()) == ({"capacity": None}, {})
    assert target.sessions_open() is None


def test_check_envoy_refuses_a_batch_above_the_sessions_of_envoy() -> None:
    target = Target(URL, deployment(envoys=(ENVOY, ENVOY)))
    target.check_envoy(500)
    with pytest.raises(LoadFailed, match=r"batch 501 .* its 2 process\(es\) hold 500 sessions"):
        target.check_envoy(501)
    Target("http://n2:7000", deployment()).check_envoy(10**6)
    Target(URL).check_envoy(10**6)


def test_sessions_open_adds_up_the_servers_behind_the_url(monkeypatch: pytest.MonkeyPatch) -> None:
    places = {"server-1": {"used": 5}, "server-2": {"used": 7}}
    monkeypatch.setattr(target_module.registry, "places", lambda _: places)
    assert Target(URL, deployment()).sessions_open() == 12
    assert Target("http://n2:7000", deployment()).sessions_open() == 5
    assert Target("http://n3:7000", deployment()).sessions_open() == 7
    del places["server-1"]
    assert Target(URL, deployment()).sessions_open() is None


def test_is_running_is_false_when_the_deployment_is_gone(tmp_path: Path) -> None:
    state = deployment(name=f"gone-{tmp_path.name}", folder=tmp_path)
    assert not Target(URL, state).is_running()


def process(**changes: Any) -> ProcessState:
    return ProcessState("any", Role.SERVER, "any", **changes)


def test_replaced_names_processes_that_were_restarted_or_given_up() -> None:
    envoy, one, two = ("envoy", "n1"), ("server-1", "n2"), ("server-2", "n3")
    before = {envoy: process(), one: process(), two: process(restarts=1)}
    after = {
        envoy: process(pid=5),
        one: process(restarts=1),
        two: process(restarts=1, given_up=True),
    }
    assert list(map(str, replaced(before, after))) == [
        "server-1 on n2 was replaced",
        "server-2 on n3 was given up",
    ]
    assert replaced(before, before) == []
    assert replaced(before, {}) == []


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://127.0.0.1:80", True),
        ("http://127.9.9.9:80", True),
        ("http://[::1]:80", True),
        ("http://localhost:80", True),
        ("http://192.0.2.1:80", False),
        ("http://name.invalid:80", False),
    ],
)
def test_is_loopback(url: str, expected: bool) -> None:
    assert is_loopback(url) is expected


@contextmanager
def answering(status: int, content: Any) -> Iterator[str]:
    """A server that gives every request the same answer."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(
                content if isinstance(content, bytes) else json.dumps(content).encode()
            )

        def log_message(self, *_: Any) -> None: ...

    with answering_with(Handler) as url:
        yield url


@pytest.mark.parametrize(
    ("status", "content", "message"),
    [
        (503, {}, "answers 503: no healthy server behind it"),
        (404, {}, "is not an OpenEnv server: /schema returned HTTP 404"),
        (200, b"<html>", "is not an OpenEnv server: /schema is not JSON"),
        (200, [], "is not an OpenEnv server: /schema has no action"),
        (200, {"observation": {}}, "is not an OpenEnv server: /schema has no action"),
    ],
)
def test_check_server_names_the_reason(status: int, content: Any, message: str) -> None:
    with answering(status, content) as url, pytest.raises(PreflightFailed, match=message):
        Target(url).check_server()


def test_check_server_accepts_a_schema_with_an_action() -> None:
    with answering(200, {"action": {}}) as url:
        Target(url).check_server()


def test_target_asks_a_server_outside_any_deployment() -> None:
    with answering(200, {"max_sessions": 40, "workers": [1, 2], "used": 3}) as url:
        assert Target(url).caps() == {"capacity": 40, "workers_per_node": 2}
        assert Target(url).sessions_open() == 3
    with answering(200, {"status": "ready"}) as url:
        assert Target(url).caps() == {"capacity": None}
        assert Target(url).sessions_open() is None
