"""The configuration that is rendered for Envoy."""

import os
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import jinja2
import pytest
import yaml

from launcher.deployment.paths import RunDir
from launcher.deployment.placement import Node, place, Placement
from launcher.deployment.programs import envoy_program, Programs
from launcher.deployment.spec import Deployment
from launcher.envoy import admin
from launcher.envoy.config import check_intervals, configurations
from launcher.envoy.config import render as render_envoy
from launcher.images import assets

GOLDEN = Path(__file__).parent / "golden"
ADMIN_SOCKET = Path("/tmp/admin.sock")
SERVERS = [1, 2, 3]


def placement(
    *nodes: str, workers: int = 2, local: bool = True, envoys: int | None = None
) -> Placement:
    deployment = Deployment(
        name="golden",
        local=local,
        nodes=len(nodes),
        workers_per_node=workers,
        max_concurrent_envs=100,
        server_port=8100,
        envoy_port=9000,
        admin_port=9901,
        envoy_processes=envoys,
    )
    rundir = RunDir(Path("/srv/golden"), "golden")
    return place(deployment, [Node(n, n, 8) for n in nodes], rundir, Programs("/opt/envoy"))


def fixed(servers: int) -> Placement:
    return placement(*(f"127.0.0.{number}" for number in range(2, 3 + servers)))


def render(rendered: Placement, admin_socket: Path = ADMIN_SOCKET) -> str:
    return render_envoy(rendered, replace(rendered.envoys[0], admin_socket=admin_socket))


def parsed(rendered: Placement, admin_socket: Path = ADMIN_SOCKET) -> dict[str, Any]:
    return dict(yaml.safe_load(render(rendered, admin_socket)))


def named(things: list[dict[str, Any]], name: str) -> dict[str, Any]:
    return next(thing for thing in things if thing["name"] == name)


def listener(config: dict[str, Any], name: str) -> dict[str, Any]:
    return named(config["static_resources"]["listeners"], name)


def cluster(config: dict[str, Any], name: str = "openenv_cluster") -> dict[str, Any]:
    return named(config["static_resources"]["clusters"], name)


def manager(config: dict[str, Any], name: str = "openenv") -> dict[str, Any]:
    return dict(listener(config, name)["filter_chains"][0]["filters"][0]["typed_config"])


def virtual_host(config: dict[str, Any]) -> dict[str, Any]:
    (host,) = manager(config)["route_config"]["virtual_hosts"]
    return dict(host)


def routes(config: dict[str, Any], name: str = "openenv") -> list[dict[str, Any]]:
    return list(manager(config, name)["route_config"]["virtual_hosts"][0]["routes"])


@pytest.mark.parametrize("servers", SERVERS)
def test_render_matches_the_golden_file(servers: int) -> None:
    golden = GOLDEN / f"envoy-{servers}.yaml"
    rendered = render(fixed(servers))
    if os.environ.get("UPDATE_GOLDEN") == "1":
        golden.write_text(rendered)
    assert rendered == golden.read_text(), "when this is meant: UPDATE_GOLDEN=1"


@pytest.mark.parametrize("servers", SERVERS)
def test_envoy_accepts_the_configuration(servers: int, tmp_path: Path) -> None:
    config = tmp_path / "envoy.yaml"
    config.write_text(render(fixed(servers), tmp_path / "admin.sock"))
    checked = subprocess.run(
        [envoy_program(), "--mode", "validate", "-c", config],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert checked.returncode == 0, checked.stderr
    assert f"configuration '{config}' OK" in checked.stdout + checked.stderr


def test_cluster_routes_to_healthy_workers_only() -> None:
    found = cluster(parsed(fixed(2)))
    assert admin.CLUSTER == "openenv_cluster"
    assert found["load_assignment"]["cluster_name"] == "openenv_cluster"
    assert found["lb_policy"] == "LEAST_REQUEST"
    assert found["common_lb_config"]["healthy_panic_threshold"] == {"value": 0}


@pytest.mark.parametrize("envoys", [1, 12, 1000])
def test_health_checks_remove_a_failed_node_within_four_seconds(envoys: int) -> None:
    """At worst the node fails right after a check: one interval, and a timeout for each failed check."""
    nodes = [f"127.0.0.{number}" for number in range(2, 7)]
    (check,) = cluster(parsed(placement(*nodes, local=False, envoys=envoys)))["health_checks"]
    first, next_, timeout = (
        float(check[key].removesuffix("s"))
        for key in ("interval", "unhealthy_edge_interval", "timeout")
    )
    assert check["unhealthy_threshold"] == 2
    assert first + timeout + next_ + timeout <= 4


def test_check_intervals_grow_with_the_number_of_checks() -> None:
    nodes = [f"127.0.0.{number}" for number in range(2, 7)]
    few, some, many = (
        check_intervals(placement(*nodes, envoys=envoys)) for envoys in (1, 25, 1000)
    )
    assert (few.steady, few.start) == (0.75, 0.1)
    assert few.steady < some.steady < many.steady == 1.75
    assert many.start == many.steady


def test_envoy_processes_share_the_url_but_not_their_admin_pages() -> None:
    several = placement("127.0.0.2", "127.0.0.3", envoys=3)
    found = [yaml.safe_load(text) for text in configurations(several).values()]
    ports = [
        [
            each["address"]["socket_address"]["port_value"]
            for each in config["static_resources"]["listeners"]
        ]
        for config in found
    ]
    assert ports == [[9000, 9901], [9000, 9902], [9000, 9903]]
    sockets = [config["admin"]["address"]["pipe"]["path"] for config in found]
    assert len(set(sockets)) == 3
    for config, socket in zip(found, sockets, strict=True):
        (admin,) = cluster(config, "envoy_admin")["load_assignment"]["endpoints"]
        (endpoint,) = admin["lb_endpoints"]
        assert endpoint["endpoint"]["address"]["pipe"]["path"] == socket


def test_every_worker_of_every_server_is_an_endpoint() -> None:
    (group,) = cluster(parsed(fixed(2)))["load_assignment"]["endpoints"]
    found = []
    for item in group["lb_endpoints"]:
        endpoint = item["endpoint"]
        address = endpoint["address"]["socket_address"]
        check = endpoint["health_check_config"]
        where = (endpoint["hostname"], address["address"], address["port_value"])
        found.append((*where, check["port_value"], check["hostname"]))
    assert found == [
        ("127.0.0.3", "127.0.0.3", 8102, 8101, "worker-0"),
        ("127.0.0.3", "127.0.0.3", 8103, 8101, "worker-1"),
        ("127.0.0.4", "127.0.0.4", 8102, 8101, "worker-0"),
        ("127.0.0.4", "127.0.0.4", 8103, 8101, "worker-1"),
    ]


def weights(config: dict[str, Any]) -> list[tuple[str, int]]:
    """The server and the weight of each endpoint."""
    (group,) = cluster(config)["load_assignment"]["endpoints"]
    return [
        (item["endpoint"]["hostname"], item["load_balancing_weight"])
        for item in group["lb_endpoints"]
    ]


@pytest.mark.parametrize(("servers", "workers"), [(1, 2), (2, 1), (2, 2), (3, 1), (3, 4)])
def test_weights_differ_slightly(servers: int, workers: int) -> None:
    nodes = [f"127.0.0.{number}" for number in range(2, 3 + servers)]
    values = {weight for _, weight in weights(parsed(placement(*nodes, workers=workers)))}
    assert len(values) > 1
    assert max(values) <= 1.01 * min(values)


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("dead", ["127.0.0.3", "127.0.0.4", "127.0.0.5"])
def test_weights_still_differ_without_one_server(workers: int, dead: str) -> None:
    # Envoy compares the weights of healthy endpoints only.
    nodes = ["127.0.0.2", "127.0.0.3", "127.0.0.4", "127.0.0.5"]
    found = weights(parsed(placement(*nodes, workers=workers)))
    assert len({weight for server, weight in found if server != dead}) > 1


@pytest.mark.parametrize(("servers", "workers", "retries"), [(1, 1, 1), (1, 2, 1), (3, 4, 11)])
def test_upgrades_are_retried_on_every_other_endpoint(
    servers: int, workers: int, retries: int
) -> None:
    nodes = [f"127.0.0.{number}" for number in range(2, 3 + servers)]
    policy = virtual_host(parsed(placement(*nodes, workers=workers)))["retry_policy"]
    assert policy["num_retries"] == retries
    assert policy["retriable_status_codes"] == [503]
    assert "retriable-status-codes" in policy["retry_on"].split(",")


def test_only_upgrades_are_retried_after_a_503() -> None:
    for route in routes(parsed(fixed(1))):
        first = route["match"].get("headers", [{"name": None}])[0]["name"]
        own = route["route"].get("retry_policy")
        if first == "upgrade":
            assert own is None  # that of the virtual host holds
        else:
            assert own is not None
            assert "retriable-status-codes" not in own["retry_on"]


def test_idle_sessions_never_time_out() -> None:
    config = parsed(fixed(1))
    assert manager(config)["stream_idle_timeout"] == "0s"
    for route in routes(config):
        assert (route["route"]["timeout"], route["route"]["idle_timeout"]) == ("0s", "0s")


def test_connections_are_balanced_over_the_threads_of_envoy() -> None:
    found = listener(parsed(fixed(1)), "openenv")
    assert found["connection_balance_config"] == {"exact_balance": {}}


def test_circuit_breakers_never_trip() -> None:
    (breakers,) = cluster(parsed(fixed(3)))["circuit_breakers"]["thresholds"]
    limits = {key: value for key, value in breakers.items() if key.startswith("max_")}
    assert limits.keys() == {
        "max_connections",
        "max_pending_requests",
        "max_requests",
        "max_retries",
    }
    assert min(limits.values()) > 100_000_000


def test_admin_interface_is_a_socket_of_its_owner() -> None:
    config = parsed(fixed(1))
    assert config["admin"]["address"] == {"pipe": {"path": "/tmp/admin.sock", "mode": 0o600}}


@pytest.mark.parametrize("name", ["with space", 'with "quotes"', "it's", "back\\slash", "a: b #"])
def test_admin_socket_path_may_contain_any_characters(name: str) -> None:
    path = Path("/tmp") / name / "admin.sock"
    assert parsed(fixed(1), path)["admin"]["address"]["pipe"]["path"] == str(path)


def test_admin_listener_forwards_only_gets_of_readonly_pages() -> None:
    *pages, last = routes(parsed(fixed(1)), "admin_readonly")
    get = [{"name": ":method", "string_match": {"exact": "GET"}}]
    assert [page["match"] for page in pages] == [
        {"path": path, "headers": get}
        for path in (
            *("/clusters", "/stats", "/stats/prometheus"),
            *("/ready", "/server_info", "/memory"),
        )
    ]
    assert {page["route"]["cluster"] for page in pages} == {"envoy_admin"}
    assert last["match"] == {"prefix": "/"}
    assert last["direct_response"]["status"] == 403
    assert "route" not in last


def test_session_routes_never_reach_the_admin_interface() -> None:
    clusters = {route["route"]["cluster"] for route in routes(parsed(fixed(2)))}
    assert clusters == {"openenv_cluster"}


@pytest.mark.parametrize(
    ("nodes", "discovery"),
    [
        (["127.0.0.2", "127.0.0.3", "127.0.0.4"], "STATIC"),
        (["gpu-1", "gpu-2", "gpu-3"], "STRICT_DNS"),
        (["gpu-1", "10.0.0.2", "gpu-3"], "STRICT_DNS"),
        (["gpu-1", "10.0.0.2", "10.0.0.3"], "STATIC"),
    ],
)
def test_discovery_resolves_host_names_but_not_addresses(nodes: list[str], discovery: str) -> None:
    config = parsed(placement(*nodes, local=nodes[0].startswith("127.")))
    assert cluster(config)["type"] == discovery


@pytest.mark.parametrize(
    ("nodes", "local", "address"),
    [(["127.0.0.2", "127.0.0.3"], True, "127.0.0.2"), (["gpu-1", "gpu-2"], False, "0.0.0.0")],
)
def test_local_deployment_listens_on_loopback_only(
    nodes: list[str], local: bool, address: str
) -> None:
    config = parsed(placement(*nodes, local=local))
    found = [
        listener(config, name)["address"]["socket_address"]
        for name in ("openenv", "admin_readonly")
    ]
    assert found == [
        {"address": address, "port_value": 9000},
        {"address": address, "port_value": 9901},
    ]


def test_render_raises_for_an_undefined_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    template = tmp_path / "envoy" / "envoy.yaml.j2"
    template.parent.mkdir()
    template.write_text("port: {{ port }}\nother: {{ nobody_gives_this }}\n")
    monkeypatch.setattr(assets, "_ROOT", tmp_path / "launcher")
    with pytest.raises(jinja2.UndefinedError, match="nobody_gives_this"):
        render(fixed(1))


def test_keepalive_is_enabled_only_between_machines() -> None:
    local = fixed(2)
    elsewhere = replace(local, deployment=local.deployment.model_copy(update={"local": False}))
    assert "tcp_keepalive" not in render(local)
    config = parsed(elsewhere)
    probes = {"keepalive_time": 60, "keepalive_interval": 2, "keepalive_probes": 15}
    assert listener(config, "openenv")["tcp_keepalive"] == probes
    assert cluster(config)["upstream_connection_options"]["tcp_keepalive"] == probes
    assert cluster(config)["health_checks"][0]["timeout"] == "1.0s"


def test_health_checks_wait_longer_on_a_crowded_machine() -> None:
    nodes = [f"127.0.0.{number}" for number in range(2, 5)]
    one, many = (parsed(placement(*nodes, envoys=envoys)) for envoys in (1, 11))
    assert cluster(one)["health_checks"][0]["timeout"] == "1.0s"
    assert cluster(many)["health_checks"][0]["timeout"] == "5.0s"
