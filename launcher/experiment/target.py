"""What is behind a URL: an OpenEnv server or none, a deployment of this user, what it admits."""

import ipaddress
import os
import socket
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from launcher.errors import LoadFailed, PreflightFailed
from launcher.lifecycle import registry
from launcher.sampling.replaced import Change, Kind
from launcher.system import http
from launcher.system.limits import DESCRIPTORS_PER_SESSION

PROBE_SECONDS = 10.0

Process = tuple[str, str]  # name and node


def check_server(url: str) -> None:
    """Raises `PreflightFailed` when no OpenEnv server answers at the URL."""
    try:
        content = http.get_json(f"{url}/schema", PROBE_SECONDS)
    except http.Unreachable as failure:
        if failure.status == 503:
            raise PreflightFailed(f"{url} answers 503: no healthy server behind it") from None
        if failure.status is not None:
            raise PreflightFailed(_no_openenv(url, f"/schema gives {failure}")) from None
        raise PreflightFailed(
            f"{url} does not answer: {failure}; is the deployment up? (launcher status)"
        ) from None
    except ValueError:
        raise PreflightFailed(_no_openenv(url, "/schema is not JSON")) from None
    if not isinstance(content, dict) or "action" not in content:
        raise PreflightFailed(_no_openenv(url, "/schema has no action"))


def _no_openenv(url: str, why: str) -> str:
    return f"{url} answers but is no OpenEnv server: {why}"


def deployment_at(url: str) -> dict[str, Any] | None:
    """The state of this user's deployment behind the URL, which may be one of its servers'; None
    when nobody knows it."""
    for known in registry.all_known():
        if known.alive and url in (known.state.get("url"), *_server_urls(known.state)):
            return known.state
    return None


def _server_urls(state: dict[str, Any]) -> list[str]:
    port = state["deployment"]["server_port"]
    return [f"http://{server['address']}:{port}" for server in state["servers"]]


def servers_known(url: str) -> int | None:
    """How many servers are behind the URL; None when nobody knows."""
    state = deployment_at(url)
    if state is None:
        return None
    return len(state["servers"]) if url == state["url"] else 1


def caps(url: str, state: dict[str, Any] | None) -> dict[str, Any]:
    """What admits sessions behind the URL; None is not known."""
    if state is not None:
        behind = servers_known(url) or 1
        return {
            "max_concurrent_envs": state["deployment"]["max_concurrent_envs"],
            "workers_per_node": int(state["connection"]["WORKERS_PER_NODE"]),
            "servers": behind,
            "capacity": state["capacity"] * behind // len(state["servers"]),
            "envoy_sessions": state["envoy_sessions"],
        }
    try:
        answer = http.get_json(f"{url}/ready", PROBE_SECONDS)
        return {"capacity": answer["max_sessions"], "workers_per_node": len(answer["workers"])}
    except (http.Unreachable, ValueError, KeyError, TypeError):
        return {"capacity": None}


def sessions_open(url: str, state: dict[str, Any] | None) -> int | None:
    """Sessions that the servers behind the URL hold; None when that cannot be told."""
    try:
        if state is None:
            return int(http.get_json(f"{url}/ready", PROBE_SECONDS)["used"])
        counts = registry.places(state)
        if url == state["url"]:
            names = [p["name"] for p in state["processes"] if p["role"] == "server"]
        else:
            names = [f"server-{_server_urls(state).index(url) + 1}"]
        return sum(int(counts[name]["used"]) for name in names)
    except (http.Unreachable, ValueError, KeyError, TypeError):
        return None


def incarnations(state: dict[str, Any] | None) -> dict[Process, tuple[Any, ...]]:
    """What changes of each process of a deployment when it is replaced or given up, by its name and
    node; `state` is the deployment's as it once was."""
    now = registry.read_state(Path(state["folder"])) if state else {}
    return {
        (process["name"], process["node"]): (process["restarts"], process["given_up"])
        for process in now.get("processes", [])
    }


def replaced(
    before: dict[Process, tuple[Any, ...]], after: dict[Process, tuple[Any, ...]]
) -> list[Change]:
    """The processes that were replaced or given up between two calls of `incarnations`."""
    return [
        Change(Kind.GIVEN_UP if after[process][1] else Kind.REPLACED, *process)
        for process, was in before.items()
        if process in after and after[process] != was
    ]


def check_envoy(url: str, batch: int) -> None:
    state = deployment_at(url)
    limit = state["envoy_sessions"] if state and url == state["url"] else None
    if limit is not None and batch > limit:
        raise LoadFailed(
            f"batch {batch} is more than Envoy of deployment {state['name']!r} can hold: it may hold "  # type: ignore[index]
            f"{limit} sessions at {DESCRIPTORS_PER_SESSION} descriptors each in "
            f"{len(state['envoys'])} process(es); give `launcher up` --sessions {batch}, "  # type: ignore[index]
            "raise ulimit -n before it, or load a server directly"
        )


def is_loopback(url: str) -> bool:
    """Whether the URL is meant for this machine alone."""
    try:
        address = socket.getaddrinfo(urlsplit(url).hostname, None)[0][4][0]
        return ipaddress.ip_address(address).is_loopback
    except (OSError, ValueError):
        return False


def shares_node(url: str, state: dict[str, Any] | None) -> bool:
    """Whether the load runs on a machine that it measures, as far as can be told from the URL and,
    where it is known, the deployment."""
    nodes = {process["node"] for process in state["processes"]} if state else set()
    if {socket.gethostname(), os.environ.get("SLURMD_NODENAME")} & nodes:
        return True
    try:
        address = socket.getaddrinfo(urlsplit(url).hostname, None)[0][4][0]
        with socket.socket() as probe:
            probe.bind((address, 0))
    except OSError:
        return False
    return True
