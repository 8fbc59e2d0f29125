import contextlib
import json
import socket
from collections.abc import Iterator, Mapping, Sequence
from urllib.parse import urlsplit

import websocket

from launcher.envoy import admin
from launcher.runtimes.findings import Check, fail, Finding, ok
from launcher.system import http

TIMEOUT = 5.0
# As long as OpenEnv's clients wait for a reply: some apps need long to create an environment.
REPLY_SECONDS = 60.0
SESSIONS_PER_HOST = 20


def serving_checks(
    connection: Mapping[str, str], server_port: int, admin_urls: Sequence[str]
) -> Iterator[Finding]:
    """The checks of a deployment, one at a time. `connection` has the values of its
    `openenv-connection.env`; `admin_urls` are those of its Envoy processes."""
    nodes = connection["WORKER_NODES"].split()
    yield servers(nodes, server_port)
    if connection["ENVOY_NODE"]:
        yield envoy(connection["OPENENV_URL"])
        yield backends(admin_urls, nodes)
    yield distribution(connection["OPENENV_URL"], int(connection["NUM_WORKERS"]))


def servers(nodes: Sequence[str], port: int) -> Finding:
    problems = {node: _health_problem(f"http://{node}:{port}") for node in nodes}
    silent = {node: problem for node, problem in problems.items() if problem}
    if silent:
        advice = "read the servers' logs: launcher logs"
        return fail(Check.SERVERS, silent, "; ".join(silent.values()), advice)
    return ok(Check.SERVERS, f"{len(nodes)} of {len(nodes)} healthy")


def envoy(url: str) -> Finding:
    if problem := _health_problem(url):
        return fail(Check.ENVOY, (), problem, "read Envoy's log: launcher logs")
    return ok(Check.ENVOY, f"{url} answers")


def backends(admin_urls: Sequence[str], nodes: Sequence[str]) -> Finding:
    findings = [_backends(admin_url, nodes) for admin_url in admin_urls]
    return next((finding for finding in findings if not finding.passed), findings[0])


def _backends(admin_url: str, nodes: Sequence[str]) -> Finding:
    advice = "a server that runs but is unhealthy is hung, full or unreachable from Envoy's node"
    try:
        endpoints = admin.backends(admin_url)
    except (OSError, ValueError) as failure:
        return fail(Check.BACKENDS, (), f"{admin_url}/clusters: {failure}", advice)
    missing = sorted(set(nodes) - {backend.node for backend in endpoints})
    unhealthy = sorted({backend.node for backend in endpoints if not backend.healthy})
    if missing or unhealthy:
        parts = {"not in Envoy": missing, "not healthy": unhealthy}
        detail = "; ".join(f"{what}: {', '.join(each) or 'none'}" for what, each in parts.items())
        return fail(Check.BACKENDS, [*missing, *unhealthy], detail, advice)
    count = f"{len(endpoints)} worker(s) on {len(nodes)} node(s)"
    return ok(Check.BACKENDS, f"Envoy counts {count} healthy")


def distribution(url: str, expected: int) -> Finding:
    """Opens sessions concurrently until every host has one."""
    advice = "use Envoy's URL instead of a server's, and check the backends above"
    hosts: set[str] = set()
    opened = 0
    with contextlib.ExitStack() as sessions:
        for _ in range(SESSIONS_PER_HOST * expected):
            try:
                host = _session_host(url, sessions)
            except (OSError, ValueError, websocket.WebSocketException) as failure:
                return fail(Check.DISTRIBUTION, (), f"session {opened + 1}: {failure}", advice)
            if host is None:
                detail = "skipped: this app's observations have no host_url to tell hosts apart by"
                return ok(Check.DISTRIBUTION, detail)
            opened += 1
            hosts.add(host)
            if len(hosts) >= expected:
                break
    detail = f"{opened} sessions reached {len(hosts)} of {expected} host(s)"
    if len(hosts) < expected:
        return fail(Check.DISTRIBUTION, (), detail, advice)
    return ok(Check.DISTRIBUTION, detail)


def _session_host(url: str, sessions: contextlib.ExitStack) -> str | None:
    parts = urlsplit(url)
    # Given a connected socket, websocket-client uses no proxy.
    raw = socket.create_connection((parts.hostname or "", parts.port or 80), TIMEOUT)
    sessions.callback(raw.close)
    address = f"ws://{parts.netloc}{parts.path}/ws"
    raw.settimeout(REPLY_SECONDS)
    connection = websocket.create_connection(address, timeout=REPLY_SECONDS, socket=raw)
    sessions.callback(connection.close)
    connection.send('{"type":"reset","data":{}}')
    reply = json.loads(connection.recv())
    if reply.get("type") != "observation":
        raise ValueError(reply.get("data", {}).get("message", "no observation"))
    return reply["data"]["observation"].get("host_url") or None


def _health_problem(url: str) -> str | None:
    try:
        http.get(f"{url}/health", TIMEOUT)
    except http.Unreachable as failure:
        return f"{url}/health: {failure}"
    return None
