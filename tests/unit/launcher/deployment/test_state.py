"""The state of a deployment survives a round trip through its file."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from launcher.deployment.placement import Role, ServerAddress
from launcher.deployment.spec import Deployment
from launcher.deployment.state import (
    DeploymentState,
    DeploymentStatus,
    Entry,
    EnvoyState,
    Event,
    Holder,
    ProcessState,
)

STATE = DeploymentState(
    name="blue",
    job="17",
    host="login",
    pid=4711,
    pid_created=1.5,
    status=DeploymentStatus.READY,
    url="http://node1:8000",
    admin_url="http://node1:9901",
    envoys=(EnvoyState("envoy", "http://node1:9901", "/tmp/1.sock"),),
    slurm={"job": "17", "allocation": {"nodes": ["node1", "node2"]}},
    ready_at=2.5,
    folder=Path("/srv/run one"),
    connection={"OPENENV_URL": "http://node1:8000"},
    client_nodes={"node4": 2, "node5": 4},
    capacity=300,
    envoy_sessions=9_900,
    envoy_threads=3,
    deployment=Deployment(name="blue", nodes=3, image=Path("mine.sif"), sbatch=("--exclusive",)),
    command="launcher up --name blue",
    processes=(
        ProcessState("envoy", Role.ENVOY, "node1", 10, 0, False, (8000, 9901), "/srv/envoy.log"),
        ProcessState("server-1", Role.SERVER, "node2", None, 2, True, (8001,), "/srv/server.log"),
    ),
    servers=(ServerAddress("node2", "10.0.0.2", 8001, (8002, 8003)),),
    events=(Event("2026-01-01T00:00:00Z", "ready: http://node1:8000", quiet=True),),
)


def test_a_state_is_loaded_as_it_was_saved(tmp_path: Path) -> None:
    STATE.save(tmp_path / "state.json")
    assert DeploymentState.load(tmp_path / "state.json") == STATE


def test_the_file_keeps_the_keys_that_other_programs_read(tmp_path: Path) -> None:
    STATE.save(tmp_path / "state.json")
    content = json.loads((tmp_path / "state.json").read_text())
    assert set(content) == {
        *("name", "status", "url", "admin_url", "envoys", "host", "pid", "pid_created", "error"),
        *("job", "slurm", "ready_at", "folder", "connection", "client_nodes", "capacity"),
        *("envoy_sessions", "envoy_threads", "deployment", "command", "processes", "servers"),
        "events",
    }
    assert content["status"] == "ready"
    assert content["folder"] == "/srv/run one"
    assert content["deployment"] == STATE.deployment.model_dump(mode="json")
    assert content["processes"][1] == {
        "name": "server-1",
        "role": "server",
        "node": "node2",
        "pid": None,
        "restarts": 2,
        "given_up": True,
        "ports": [8001],
        "log": "/srv/server.log",
    }
    assert content["servers"] == [
        {"name": "node2", "address": "10.0.0.2", "control_port": 8001, "worker_ports": [8002, 8003]}
    ]
    assert content["client_nodes"] == {"node4": 2, "node5": 4}


def test_a_file_of_another_version_is_loaded_with_unknown_and_missing_keys(tmp_path: Path) -> None:
    process = {"name": "server-1", "role": "server", "node": "n", "pid": 3, "log": "", "more": 1}
    event = {"time": "2026-01-01T00:00:00Z", "event": "replaced"}
    content = {"name": "old", "status": "ended", "processes": [process], "events": [event], "x": {}}
    (tmp_path / "state.json").write_text(json.dumps(content))
    assert DeploymentState.load(tmp_path / "state.json") == DeploymentState(
        name="old",
        status=DeploymentStatus.ENDED,
        processes=(ProcessState("server-1", Role.SERVER, "n", 3),),
        events=(Event("2026-01-01T00:00:00Z", "replaced"),),
    )


@pytest.mark.parametrize(
    "text", ["", "[]", '{"name": ', '{"status": "unheard of"}', '{"pid": "x"}']
)
def test_a_file_that_does_not_fit_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "state.json").write_text(text)
    assert DeploymentState.load(tmp_path / "state.json") is None


def test_a_file_that_does_not_exist_is_none(tmp_path: Path) -> None:
    assert DeploymentState.load(tmp_path / "state.json") is None


def test_an_entry_is_loaded_as_it_was_saved(tmp_path: Path) -> None:
    entry = Entry(name="blue", folder=Path("/srv/run one"), drain=0.5, job="17", started=3.25)
    entry.save(tmp_path / "blue.json")
    assert Entry.load(tmp_path / "blue.json") == entry
    keys = {"name", "job", "host", "pid", "pid_created", "folder", "drain", "own_job", "begun"}
    assert set(json.loads((tmp_path / "blue.json").read_text())) == keys
    assert Entry.load(tmp_path / "blue.json") != replace(entry, own_job=True)
    assert Entry.from_dict({"name": "blue"}) is None


def test_a_holder_is_read_from_a_larger_record() -> None:
    record = {"host": "login", "pid": 12, "pid_created": 1.0, "status": "running", "phases": []}
    assert Holder.from_dict(record) == Holder(host="login", pid=12, pid_created=1.0)


def test_server_names_skip_envoys() -> None:
    assert STATE.server_names == ["server-1"]
    assert STATE.admin_urls == ["http://node1:9901"]
    assert DeploymentState().server_names == []
