"""The targets of a sampler, its samples, and the changes that they show."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from launcher.deployment.placement import Role, ServerAddress
from launcher.deployment.spec import Deployment
from launcher.deployment.state import DeploymentState, EnvoyState, ProcessState
from launcher.envoy import admin
from launcher.sampling import proc, targets
from launcher.sampling.changes import Change, find_changes, Kind, merged
from launcher.sampling.sample import encode, MAX_LINE_BYTES
from launcher.sampling.snapshot import prometheus_targets, snapshot

HERE = os.uname().nodename
FIRST_ENVOY = EnvoyState("envoy", "http://node1:9901", "/tmp/1.sock")
STATE = DeploymentState(
    name="tiny",
    folder=Path("/home/alice/tiny"),
    admin_url="http://node1:9901",
    envoys=(FIRST_ENVOY,),
    deployment=Deployment(envoy_port=8000),
    processes=(
        ProcessState("envoy", Role.ENVOY, "node1", 10),
        ProcessState("server-1", Role.SERVER, "node2", 20),
        ProcessState("server-2", Role.SERVER, "node3"),
    ),
    servers=(
        ServerAddress("node2", "10.0.0.2", 8001, (8002, 8003)),
        ServerAddress("node3", "10.0.0.3", 8001, (8002,)),
    ),
)


def run_json(*nodes: str) -> dict[str, Any]:
    load = {"load-master": 31, "load-1": 32, "load-2": 33}
    return {"placement": {"load": load, "load_nodes": list(nodes)}}


def test_deployment_targets_have_the_processes_and_pages_of_each_node() -> None:
    found = targets.deployment_targets(STATE)
    assert found["node2"] == {
        "processes": {"server-1": 20},
        "places": {"server-1": "http://10.0.0.2:8001/ready"},
    }
    assert found["node3"] == {"places": {"server-2": "http://10.0.0.3:8001/ready"}}
    assert found["node1"]["processes"] == {"envoy": 10}
    assert found["node1"]["envoy"] == {"port": 8000, "pages": {"http://node1:9901": "/tmp/1.sock"}}


def test_load_targets_are_on_the_nodes_of_the_run() -> None:
    run = run_json("node4", "node5")
    assert targets.load_targets(run, here=True) == {}
    assert targets.load_targets(run, here=False) == {
        "node4": {"processes": {"load-master": None, "load-1": 32}},
        "node5": {"processes": {"load-2": 33}},
    }


def test_load_targets_of_this_machine_have_its_host_name() -> None:
    run = run_json("127.0.0.1", "127.0.0.1")
    assert targets.load_targets(run, here=False) == {}
    pids = {"load-master": 31, "load-1": 32, "load-2": 33}
    assert targets.load_targets(run, here=True) == {HERE: {"processes": pids}}


def test_load_targets_are_empty_before_the_load_starts() -> None:
    assert targets.load_targets({}, here=True) == {}
    assert targets.load_targets({"placement": {"load": {}, "load_nodes": ["n"]}}, here=False) == {}


def test_joined_merges_the_targets_of_a_node() -> None:
    run = run_json("node2", "node2")
    found = targets.joined(targets.deployment_targets(STATE), targets.load_targets(run, here=False))
    assert found["node2"]["processes"] == {
        "server-1": 20,
        "load-master": None,
        "load-1": 32,
        "load-2": 33,
    }
    assert "places" in found["node2"]


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        (
            "http://n1:8000",
            {"n1": {"places": {"server-1": "http://n1:8001/ready"}}},
        ),
        ("http://[::1]:80", {"::1": {"places": {"server-1": "http://[::1]:81/ready"}}}),
        ("http://n1:65535", {}),
    ],
)
def test_server_target_uses_the_next_port_for_control(url: str, expected: dict[str, Any]) -> None:
    assert targets.server_target(url) == expected


def test_busiest_is_the_share_of_one_thread_including_waiting() -> None:
    def reading(moment: float, cpu: float, threads: dict[tuple[int, int], float]) -> proc.Reading:
        return proc.Reading(1, moment, cpu, 2.0, 1000, 12, 100, 2, threads)

    before = reading(5.0, 1.0, {(1, 1): 1.0, (2, 2): 4.0, (2, 3): 9.0})
    now = reading(7.0, 2.0, {(1, 1): 1.1, (2, 2): 5.8, (4, 4): 90.0})
    sample = proc.sample(before, now)
    assert (sample["busiest"], sample["seconds"], sample["cpus"]) == (0.9, 2.0, 0.5)
    assert (sample["cpu"], sample["wait"], sample["fds"], sample["fd_limit"]) == (2.0, 2.0, 12, 100)


def test_read_sums_a_real_process_tree() -> None:
    script = "import subprocess, sys; subprocess.run([sys.executable, '-c', sys.argv[1]])"
    spin = "print('up', flush=True)\nwhile True: pass"
    argv = [sys.executable, "-c", script, spin]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, start_new_session=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n"
        before = now = proc.read(process.pid)
        assert before is not None
        while now is not None and now.time - before.time < 0.3:
            now = proc.read(process.pid)
        assert now is not None
        sample = proc.sample(before, now)
        os.killpg(process.pid, 9)
    assert sample["processes"] == 2
    assert sample["busiest"] > 0.8  # it always wants a CPU, whoever has it
    assert sample["fds"] >= 3
    assert sample["fd_limit"] > 3
    assert sample["rss"] > 1_000_000
    assert proc.read(process.pid) is None


def test_tree_finds_children_without_kernel_support(monkeypatch: pytest.MonkeyPatch) -> None:
    with subprocess.Popen(["sleep", "60"]) as process:
        quick = proc.tree(os.getpid())
        monkeypatch.setattr(proc, "_has_children_file", False)
        assert process.pid in proc.tree(os.getpid()) == quick
        process.kill()


def test_machine_usage_samples_this_machine() -> None:
    sample = proc.MachineUsage().sample()
    assert sample["cores"] == len(os.sched_getaffinity(0))
    assert 0 <= sample["cpu_busy"] <= 1
    assert 0 < sample["memory_available"] <= sample["memory_total"]
    assert sample["ports"] > 1000
    assert {"tcp_inuse", "tcp_tw", "listen_overflows", "listen_drops"} < set(sample)


def test_machine_usage_tolerates_missing_proc_files(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    machine = proc.MachineUsage()
    monkeypatch.setattr(proc, "PROC", str(tmp_path))
    assert machine.sample()["tcp_inuse"] == 0


def test_encode_keeps_lines_below_the_limit_of_srun() -> None:
    head = {"time": "2026-03-01T12:00:00.000+00:00", "node": "n" * 63, "cell": 10**6}
    counters = (
        *(*admin.CLUSTER_COUNTERS, *admin.LISTENER_COUNTERS),
        *(*admin.SERVER_COUNTERS, admin.HTTP_COUNTER),
    )
    assert len(encode(head | {"kind": "envoy"} | dict.fromkeys(counters, 10**9))) < MAX_LINE_BYTES
    places = {"kind": "places", "name": "server-1", "used": 9, "workers": [1000] * 200}
    short = json.loads(encode(head | places))
    assert "workers" not in short
    assert short["used"] == 9
    assert "workers" in json.loads(encode(head | places | {"workers": [1000] * 8}))


def process(name: str, pid: int, **fields: Any) -> dict[str, Any]:
    return {"node": "n1", "kind": "process", "name": name, "pid": pid, "cell": 1} | fields


def envoy(**counters: int) -> dict[str, Any]:
    return {"node": "n1", "kind": "envoy", "cell": 1} | counters


def test_find_changes_is_empty_when_nothing_changed() -> None:
    samples = [process("server-1", 5), envoy(uptime=5, membership_healthy=4)]
    assert find_changes([*samples, *samples]) == []


def test_find_changes_reports_a_process_with_a_new_pid() -> None:
    samples = [process("server-1", 5), process("server-1", 9), process("server-1", 9)]
    assert list(map(str, find_changes(samples))) == ["server-1 on n1 was replaced (pid 5, then 9)"]


def test_find_changes_ignores_load_workers() -> None:
    assert find_changes([process("load-1", 5), process("load-1", 9)]) == []


def test_find_changes_counts_replaced_workers() -> None:
    places = {"node": "n1", "kind": "places", "name": "server-1", "replaced": 1}
    found = find_changes([places, places | {"replaced": 3}])
    assert list(map(str, found)) == ["2 worker(s) of server-1 on n1 were replaced"]


def test_find_changes_reports_a_restarted_envoy() -> None:
    (change,) = find_changes([envoy(uptime=50), envoy(uptime=0)])
    assert str(change) == "Envoy on n1 was restarted"


def test_find_changes_reports_unhealthy_workers() -> None:
    counted = envoy(membership_healthy=8, membership_total=8)
    samples = [counted, counted | {"membership_healthy": 6}, counted]
    assert list(map(str, find_changes(samples))) == ["Envoy counted 2 of 8 workers out"]


def test_a_replaced_process_that_samples_name_is_listed_once() -> None:
    recorded = [
        Change(Kind.REPLACED, "server-1", "n1"),
        Change(Kind.REPLACED, "server-10", "n1"),
        Change(Kind.REPLACED, "server-1", "n2"),
        Change(Kind.GIVEN_UP, "server-1", "n1"),
    ]
    sampled = [Change(Kind.PID_CHANGED, "server-1", "n1", {"before": 5, "after": 9})]
    assert merged(recorded, sampled) == [*recorded[1:], *sampled]
    workers = [Change(Kind.WORKERS_REPLACED, "server-1", "n1", {"count": 2})]
    assert merged(recorded[:1], workers) == [*recorded[:1], *workers]


def test_snapshot_has_every_process_in_order() -> None:
    places = {"used": 3, "free": 7, "limit": 10, "refused": 0, "most": 2, "workers": [2, 1]}
    samples: list[dict[str, Any]] = [
        process("server-1", 20, node="node2", busiest=0.5),
        {"node": "node2", "kind": "places", "name": "server-1", "count": 2} | places,
        {"node": "node9", "kind": "node", "cores": 2, "time": "", "cell": None},
        {"node": "node1", "kind": "envoy", "uptime": 3},
    ]
    seen = snapshot(samples, STATE)
    assert [row["name"] for row in seen["processes"]] == ["envoy", "server-1", "server-2"]
    assert seen["processes"][1] == {
        "name": "server-1",
        "node": "node2",
        "pid": 20,
        "busiest": 0.5,
        "places": places,
    }
    assert seen["processes"][0] == {"name": "envoy", "node": "node1"}
    assert seen["nodes"] == [{"node": "node9", "cores": 2}]
    assert seen["envoy"] == {"node": "node1", "uptime": 3}
    assert snapshot([], STATE)["envoy"] is None


def test_prometheus_targets_have_every_page() -> None:
    server, _, balancing = prometheus_targets(STATE)
    assert server == {
        "targets": ["10.0.0.2:8001"],
        "labels": {
            "job": "openenv-server",
            "deployment": "tiny",
            "node": "node2",
            "server": "server-1",
        },
    }
    assert balancing["targets"] == ["node1:9901"]
    assert balancing["labels"]["__metrics_path__"] == "/stats/prometheus"
    assert len(prometheus_targets(replace(STATE, envoys=()))) == 2


def test_prometheus_targets_separate_several_envoys() -> None:
    second = EnvoyState("envoy-2", "http://node1:9902", "/tmp/2.sock")
    state = replace(STATE, envoys=(FIRST_ENVOY, second))
    pages = targets.deployment_targets(state)["node1"]["envoy"]["pages"]
    assert pages == {"http://node1:9901": "/tmp/1.sock", "http://node1:9902": "/tmp/2.sock"}
    scraped = prometheus_targets(state)[2:]
    assert [(each["targets"], each["labels"]["envoy"]) for each in scraped] == [
        (["node1:9901"], "envoy"),
        (["node1:9902"], "envoy-2"),
    ]
