"""Which process runs on which node, with which argv, ports and environment."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from launcher.deployment.paths import RunDir
from launcher.deployment.placement import Node, place, Placement, Role, ServerAddress
from launcher.deployment.programs import Programs
from launcher.deployment.spec import Deployment
from launcher.errors import UsageError

RUNDIR = RunDir(Path("/srv/run one"), "one")
ENVOY = Path("/opt/envoy/bin/envoy")


def placed(nodes: list[str], cores: int = 8, **fields: Any) -> Placement:
    deployment = Deployment(name="one", nodes=len(nodes), **fields)
    each = max(1, cores // max(1, len(nodes) - 1))
    placed_on = [Node(node, node, each) for node in nodes]
    return place(deployment, placed_on, RUNDIR, Programs(str(ENVOY)))


def test_a_single_node_gets_a_server_and_no_envoy() -> None:
    placement = placed(["n1"], server_port=8100, envoy_port=9000)
    assert [(p.name, p.role, p.node) for p in placement.processes] == [
        ("server-1", Role.SERVER, "n1")
    ]
    assert placement.url == "http://n1:8100"
    assert (placement.envoy_node, placement.admin_urls) == (None, ())


def test_three_nodes_get_envoy_on_the_first_and_servers_on_the_others() -> None:
    placement = placed(["n1", "n2", "n3"], server_port=8100, envoy_port=9000, admin_port=9100)
    assert [(p.name, p.role, p.node) for p in placement.processes] == [
        ("envoy", Role.ENVOY, "n1"),
        ("server-1", Role.SERVER, "n2"),
        ("server-2", Role.SERVER, "n3"),
    ]
    assert placement.url == "http://n1:9000"
    assert placement.admin_urls == ("http://n1:9100",)


@pytest.mark.parametrize(
    ("nodes", "cores", "workers"),
    [(1, 8, 8), (2, 8, 8), (3, 8, 4), (4, 8, 2), (6, 4, 1), (3, 1, 1)],
)
def test_workers_share_the_cores_among_the_servers(nodes: int, cores: int, workers: int) -> None:
    placement = placed([f"n{number}" for number in range(nodes)], cores)
    assert placement.workers_per_node == workers


def test_requested_workers_take_precedence_over_cores() -> None:
    assert placed(["n1", "n2"], cores=1, workers_per_node=6).workers_per_node == 6


@pytest.mark.parametrize(
    ("cores", "asked", "threads"), [(8, None, 4), (3, None, 1), (1, None, 1), (8, 7, 7)]
)
def test_envoy_gets_half_of_the_cores_or_the_requested_threads(
    cores: int, asked: int | None, threads: int
) -> None:
    placement = placed(["n1", "n2"], cores, envoy_threads=asked)
    assert placement.envoy_threads == threads
    argv = placement.processes[0].argv
    assert argv[argv.index("--concurrency") + 1] == str(threads)


def test_every_worker_has_a_port_of_its_own_after_those_of_the_server() -> None:
    placement = placed(["n1", "n2", "n3"], server_port=8100, workers_per_node=3)
    assert placement.servers == (
        ServerAddress("n2", "n2", 8101, (8102, 8103, 8104)),
        ServerAddress("n3", "n3", 8101, (8102, 8103, 8104)),
    )
    assert placement.processes[1].ports == (8100, 8101, 8102, 8103, 8104)
    assert placement.processes[2].ports == placement.processes[1].ports


def test_several_envoys_share_the_url_and_nothing_else() -> None:
    placement = placed(["n1", "n2"], envoy_processes=3, envoy_port=9001, admin_port=9000)
    envoys = [process for process in placement.processes if process.role is Role.ENVOY]
    assert [(each.name, each.node, each.ports) for each in envoys] == [
        ("envoy", "n1", (9001, 9000)),
        ("envoy-2", "n1", (9001, 9002)),
        ("envoy-3", "n1", (9001, 9003)),
    ]
    assert placement.admin_urls == ("http://n1:9000", "http://n1:9002", "http://n1:9003")
    assert len({process.log for process in envoys}) == 3
    configs = [each.argv[each.argv.index("--config-path") + 1] for each in envoys]
    assert configs == [
        "/srv/run one/envoy-config-generated.yaml",
        "/srv/run one/envoy-config-generated-2.yaml",
        "/srv/run one/envoy-config-generated-3.yaml",
    ]
    assert len({envoy.admin_socket for envoy in placement.envoys}) == 3


@pytest.mark.parametrize(("cores", "envoys", "threads"), [(8, 2, 2), (8, 4, 1), (2, 12, 1)])
def test_several_envoys_share_half_of_the_cores(cores: int, envoys: int, threads: int) -> None:
    assert placed(["n1", "n2"], cores, envoy_processes=envoys).envoy_threads == threads


def test_envoys_without_enough_admin_ports_are_refused() -> None:
    with pytest.raises(UsageError, match="leaves 36 port"):
        placed(["n1", "n2"], envoy_processes=37, admin_port=65_500)


def test_envoy_holds_the_ports_of_the_url_and_of_its_pages() -> None:
    placement = placed(["n1", "n2"], envoy_port=9000, admin_port=9100)
    assert placement.processes[0].ports == (9000, 9100)


@pytest.mark.parametrize("asked", [1, 4096])
def test_the_highest_accepted_ports_exist(asked: int) -> None:
    placement = placed(["n1"], server_port=60_000, workers_per_node=asked)
    assert max(placement.processes[0].ports) <= 65_535


def test_server_is_configured_by_argv_and_environment() -> None:
    server = placed(
        ["n1", "n2"],
        server_port=8100,
        workers_per_node=3,
        max_concurrent_envs=64,
        app="my.envs:app",
        drain=2.5,
    ).processes[1]
    assert server.argv == (
        *(sys.executable, "-P", "-m", "benchmark.server", "--host", "0.0.0.0"),
        *("--app", "my.envs:app", "--drain", "2.5"),
    )
    assert server.environment == {
        "WORKERS": "3",
        "PORT": "8100",
        "MAX_CONCURRENT_ENVS": "64",
        "NODE_NAME": "n2",
    }
    assert server.log == Path("/srv/run one/benchmark-env-server-1.log")


def test_servers_learn_the_rules_for_sessions_only_when_they_are_given() -> None:
    strict = placed(["n1", "n2"], strict_sessions=True, idle_timeout=90.0).processes[1]
    assert strict.argv[-3:] == ("--strict-sessions", "--idle-timeout", "90")
    usual = placed(["n1", "n2"]).processes[1]
    assert not {"--strict-sessions", "--idle-timeout"} & set(usual.argv)


def test_envoy_reads_the_configuration_in_the_run_folder() -> None:
    envoy = placed(["n1", "n2"], cores=8).processes[0]
    assert envoy.argv == (
        "/opt/envoy/bin/envoy",
        "--config-path",
        "/srv/run one/envoy-config-generated.yaml",
        *("--concurrency", "4", "--disable-hot-restart", "--log-level", "warning"),
    )
    assert envoy.environment == {}
    assert envoy.log == Path("/srv/run one/benchmark-env-envoy.log")


def test_clients_of_three_nodes_learn_envoy_and_its_servers() -> None:
    assert placed(["n1", "n2", "n3"], workers_per_node=4, envoy_port=9000).connection == {
        "OPENENV_URL": "http://n1:9000",
        "ENVOY_NODE": "n1",
        "WORKER_NODES": "n2 n3",
        "NUM_WORKERS": "2",
        "WORKERS_PER_NODE": "4",
        "CLIENT_NODES": "",
        "CAPACITY": "800",
    }


def test_clients_of_a_single_node_learn_that_there_is_no_envoy() -> None:
    assert placed(["n1"], workers_per_node=4).connection == {
        "OPENENV_URL": "http://n1:8000",
        "ENVOY_NODE": "",
        "WORKER_NODES": "n1",
        "NUM_WORKERS": "1",
        "WORKERS_PER_NODE": "4",
        "CLIENT_NODES": "",
        "CAPACITY": "400",
    }


@pytest.mark.parametrize(
    ("nodes", "endpoints", "capacity"),
    [(["n1"], 4, 400), (["n1", "n2"], 4, 400), (["n1", "n2", "n3"], 8, 800)],
)
def test_capacity_is_the_places_of_all_workers_together(
    nodes: list[str], endpoints: int, capacity: int
) -> None:
    placement = placed(nodes, workers_per_node=4, max_concurrent_envs=100)
    assert (placement.endpoints, placement.capacity) == (endpoints, capacity)
    assert replace(placement, app_sessions=1).capacity == endpoints
    assert replace(placement, app_sessions=101).capacity == capacity
    assert replace(placement, app_sessions=1, reported=7).connection["CAPACITY"] == "7"
