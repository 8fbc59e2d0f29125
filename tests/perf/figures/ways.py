"""What would make Envoy cheaper: the kit's configuration with one change at a time, in front of the same
servers. The last change is the floor: a proxy that forwards bytes without parsing them, and so cannot retry
on another worker when one is full."""

import contextlib
import copy
from collections.abc import Callable, Iterator
from typing import Any

import yaml

from tests.perf.deployments import capacity_options, deployed, Deployment
from tests.perf.processes import get_json, running, tree, wait_for
from tests.perf.run import Run
from tests.perf.servers import burst, held, load

NODES, WARM, PORT = 3, 64, 8000
CONFIG = "envoy-config-generated.yaml"
Config = dict[str, Any]
Change = Callable[[Config], None]


def _listener(config: Config) -> Config:
    part: Config = config["static_resources"]["listeners"][0]
    return part


def _manager(config: Config) -> Config:
    part: Config = _listener(config)["filter_chains"][0]["filters"][0]["typed_config"]
    return part


def _host(config: Config) -> Config:
    part: Config = _manager(config)["route_config"]["virtual_hosts"][0]
    return part


def _cluster(config: Config) -> Config:
    part: Config = config["static_resources"]["clusters"][0]
    return part


def unchanged(_: Config) -> None: ...


def small_buffers(config: Config) -> None:
    for each in (_listener(config), _cluster(config)):
        each["per_connection_buffer_limit_bytes"] = 4096


def no_retries(config: Config) -> None:
    host = _host(config)
    for part in (host, *(route["route"] for route in host["routes"])):
        part.pop("retry_policy", None)


def no_owner(config: Config) -> None:
    host, manager = _host(config), _manager(config)
    host["routes"] = host["routes"][-1:]
    del host["routes"][0]["route"]["retry_policy"]  # that of the host counts
    manager["http_filters"] = manager["http_filters"][-1:]


def no_dynamic_stats(config: Config) -> None:
    _manager(config)["http_filters"][-1]["typed_config"]["dynamic_stats"] = False


def no_stats(config: Config) -> None:
    config["stats_config"] = {"stats_matcher": {"reject_all": True}}


def no_timers(config: Config) -> None:
    del _manager(config)["request_headers_timeout"]
    _manager(config)["common_http_protocol_options"] = {"idle_timeout": "0s"}


def no_balance(config: Config) -> None:
    del _listener(config)["connection_balance_config"]


def tcp_proxy(config: Config) -> None:
    _listener(config)["filter_chains"][0]["filters"] = [
        {
            "name": "envoy.filters.network.tcp_proxy",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
                "stat_prefix": "openenv",
                "cluster": _cluster(config)["name"],
                "idle_timeout": "0s",
            },
        }
    ]


WAYS: dict[str, Change] = {
    "unchanged": unchanged,
    "buffers of 4 KiB": small_buffers,
    "no retries on a full worker": no_retries,
    "no routing to the owner of a session": no_owner,
    "no dynamic statistics": no_dynamic_stats,
    "no statistics": no_stats,
    "no timers": no_timers,
    "no balancing of connections between threads": no_balance,
    "floor: a TCP proxy, no HTTP": tcp_proxy,
}


def ways(run: Run) -> None:
    room = capacity_options(2 * run.sizes.sessions)
    with deployed(run, "ways", NODES, *room) as kit:
        for name, change in WAYS.items():
            run.settle()
            with _changed(run, kit, change) as (address, pids):
                _measure(run, name, address, pids)


def _measure(run: Run, name: str, address: str, pids: Callable[[], list[int]]) -> None:
    sessions = run.sizes.sessions
    load(run, address, PORT, min(WARM, sessions), "--wait", "0")
    outcome, growth, _ = held(run, address, PORT, sessions, pids, "--wait", "0")
    run.record("ways memory", name, 1, {"memory_kb": growth / sessions / 1e3}, outcome)
    for round_ in run.rounds():
        outcome, used = burst(run, address, PORT, sessions, pids)
        run.record("ways", name, round_, used.per_session(sessions), outcome)


@contextlib.contextmanager
def _changed(
    run: Run, kit: Deployment, change: Change
) -> Iterator[tuple[str, Callable[[], list[int]]]]:
    """Starts an Envoy with the change; yields its address and a function that returns its pids."""
    config = copy.deepcopy(yaml.safe_load((kit.folder / CONFIG).read_text()))
    address = run.new_address()
    openenv = config["static_resources"]["listeners"][:1]
    openenv[0]["address"]["socket_address"] = {"address": address, "port_value": PORT}
    config["static_resources"]["listeners"] = openenv
    del config["static_resources"]["clusters"][1:]  # the cluster of the read-only pages
    config["admin"] = {"address": {"socket_address": {"address": address, "port_value": PORT + 1}}}
    change(config)
    file = run.folder / f"ways-{address}.yaml"
    file.write_text(yaml.safe_dump(config))
    argv = ["envoy", "--config-path", str(file), "--disable-hot-restart", "--log-level", "error"]
    argv += ["--concurrency", "1"]
    page = f"http://{address}:{PORT}/health"
    with running(argv, run.log("ways")) as process:
        wait_for(lambda: get_json(page), 30, "the changed Envoy answers", process)
        yield address, lambda: tree(process.pid)
