"""The checks before an experiment: servers, Envoy, backends as Envoy sees them, distribution."""

import contextlib
import json
import socket
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

import websocket

from launcher.envoy import admin
from launcher.system import http

TIMEOUT = 5.0
SESSIONS_PER_HOST = 20


class _Anonymous(Exception):
    """A server that does not say who it is."""


@dataclass(frozen=True)
class Check:
    name: str
    ok: bool
    detail: str
    advice: str = ""


def checks(
    connection: Mapping[str, str],
    server_port: int,
    admin_urls: Sequence[str],
) -> Iterator[Check]:
    """The checks of a deployment, each as soon as it is known, from the values of its
    `openenv-connection.env`; `admin_urls` are of its Envoy processes."""
    nodes = connection["WORKER_NODES"].split()
    yield servers(nodes, server_port)
    if connection["ENVOY_NODE"]:
        yield envoy(connection["OPENENV_URL"])
        yield backends(admin_urls, nodes)
    yield distribution(connection["OPENENV_URL"], int(connection["NUM_WORKERS"]))


def servers(nodes: list[str], port: int) -> Check:
    silent = [problem for node in nodes if (problem := _health(f"http://{node}:{port}"))]
    if silent:
        return Check("servers", False, "; ".join(silent), "see the servers' logs: launcher logs")
    return Check("servers", True, f"{len(nodes)} of {len(nodes)} healthy")


def envoy(url: str) -> Check:
    problem = _health(url)
    if problem:
        return Check("envoy", False, problem, "see Envoy's log: launcher logs")
    return Check("envoy", True, f"{url} answers")


def backends(admin_urls: Sequence[str], nodes: list[str]) -> Check:
    """As every Envoy process counts them."""
    checks = [_backends(admin_url, nodes) for admin_url in admin_urls]
    return next((check for check in checks if not check.ok), checks[0])


def _backends(admin_url: str, nodes: list[str]) -> Check:
    advice = (
        "a server that is up but not healthy to Envoy is hung, full or unreachable from its node"
    )
    try:
        found = admin.backends(admin_url)
    except (OSError, ValueError) as failure:
        return Check("backends", False, f"{admin_url}/clusters: {failure}", advice)
    missing = sorted(set(nodes) - {backend.node for backend in found})
    sick = sorted({backend.node for backend in found if not backend.healthy})
    if missing or sick:
        detail = f"not in Envoy: {', '.join(missing) or 'none'}; not healthy: {', '.join(sick) or 'none'}"
        return Check("backends", False, detail, advice)
    return Check(
        "backends", True, f"Envoy counts {len(found)} worker(s) on {len(nodes)} node(s) healthy"
    )


def distribution(url: str, expected: int) -> Check:
    """Opens sessions side by side until every host has one."""
    advice = "use Envoy's URL, not a server's, and look at the backends above"
    hosts: set[str] = set()
    opened = 0
    with contextlib.ExitStack() as sessions:
        for _ in range(SESSIONS_PER_HOST * expected):
            try:
                host = _session_host(url, sessions)
            except _Anonymous:
                detail = "skipped: this app's observations have no host_url to tell hosts apart by"
                return Check("distribution", True, detail)
            except (OSError, ValueError, websocket.WebSocketException) as failure:
                return Check("distribution", False, f"session {opened + 1}: {failure}", advice)
            opened += 1
            hosts.add(host)
            if len(hosts) >= expected:
                break
    detail = f"{opened} sessions reached {len(hosts)} of {expected} host(s)"
    return Check(
        "distribution", len(hosts) >= expected, detail, advice if len(hosts) < expected else ""
    )


def _session_host(url: str, sessions: contextlib.ExitStack) -> str:
    parts = urlsplit(url)
    # With a socket of our own, websocket-client asks no proxy.
    raw = socket.create_connection((parts.hostname or "", parts.port or 80), TIMEOUT)
    sessions.callback(raw.close)
    address = f"ws://{parts.netloc}{parts.path}/ws"
    connection = websocket.create_connection(address, timeout=TIMEOUT, socket=raw)
    sessions.callback(connection.close)
    connection.send('{"type":"reset","data":{}}')
    reply = json.loads(connection.recv())
    if reply.get("type") != "observation":
        raise ValueError(reply.get("data", {}).get("message", "no observation"))
    host = reply["data"]["observation"].get("host_url")
    if not host:
        raise _Anonymous
    return str(host)


def _health(url: str) -> str | None:
    try:
        http.get(f"{url}/health", TIMEOUT)
    except http.Unreachable as failure:
        return f"{url}/health: {failure}"
    return None
