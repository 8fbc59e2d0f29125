"""Envoy's admin pages: its backends and its counters.

https://www.envoyproxy.io/docs/envoy/latest/operations/admin
"""

import contextlib
import json
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import quote

from launcher.system import http

CLUSTER = "openenv_cluster"
PROMETHEUS_PAGE = "/stats/prometheus"
READONLY_PAGES = ("/clusters", "/stats", PROMETHEUS_PAGE, "/ready", "/server_info", "/memory")
ADMIN_TIMEOUT = 2.0

UPTIME, HEALTHY, TOTAL = "uptime", "membership_healthy", "membership_total"
CLUSTER_COUNTERS = (
    *("upstream_cx_active", "upstream_cx_total", "upstream_cx_overflow"),
    *("upstream_cx_connect_fail", "upstream_cx_connect_timeout"),
    *("upstream_rq_active", "upstream_rq_active_overflow", "upstream_rq_pending_overflow"),
    *("upstream_rq_retry", "upstream_rq_retry_overflow", HEALTHY, TOTAL),
)
LISTENER_COUNTERS = (
    *("downstream_cx_active", "downstream_cx_total"),
    *("downstream_cx_overflow", "downstream_global_cx_overflow"),
)
SERVER_COUNTERS = (UPTIME, "total_connections")
HTTP_COUNTER = "downstream_rq_5xx"
# Over several Envoy processes these are the minimum, all others the sum.
MINIMA = (UPTIME, HEALTHY, TOTAL)
# What `launcher top` shows: each column is the sum of its counters.
COLUMNS = {
    "sessions in": ("downstream_cx_active",),
    "out": ("upstream_cx_active",),
    "healthy": (HEALTHY,),
    "of": (TOTAL,),
    "retries": ("upstream_rq_retry",),
    "5xx": (HTTP_COUNTER,),
    "connect failures": ("upstream_cx_connect_fail", "upstream_cx_connect_timeout"),
    "overflows": (
        *("upstream_cx_overflow", "upstream_rq_active_overflow", "upstream_rq_pending_overflow"),
        *("upstream_rq_retry_overflow", "downstream_cx_overflow", "downstream_global_cx_overflow"),
    ),
}


@dataclass(frozen=True)
class Backend:
    node: str
    healthy: bool


def backends(admin_url: str) -> list[Backend]:
    """Envoy's view of every backend. Raises `Unreachable`, or ValueError for a malformed page."""
    return parse_backends(http.get(f"{admin_url}/clusters?format=json", ADMIN_TIMEOUT))


def healthy(admin_url: str) -> int:
    """The number of healthy endpoints, from a page whose size does not grow with them. Raises as
    `backends` does."""
    page = http.get(f"{admin_url}/stats?filter=^cluster.{CLUSTER}.{HEALTHY}$", ADMIN_TIMEOUT)
    return int(page.decode().partition(":")[2])


def counters(pages: Mapping[str, Path], port: int, timeout: float) -> dict[str, int]:
    """The counters of all Envoy processes of a node together, by the last part of Envoy's name.

    `pages` maps the admin URL of each process to its admin socket; `port` is the port that sessions
    connect to. On Envoy's own node the sockets are read: Envoy's main thread answers there even while
    its worker threads, which serve the read-only pages, are saturated. Raises as `backends` does,
    also when only one of several processes fails to answer.
    """
    page = f"/stats?format=json&filter={quote(counters_filter(port))}"
    with contextlib.ExitStack() as opened:
        connections = [_request(socket, page, timeout, opened) for socket in pages.values()]
        return combined(
            [
                parse_counters(
                    http.get(f"{url}{page}", timeout) if connection is None else _read(connection)
                )
                for url, connection in zip(pages, connections, strict=True)
            ]
        )


def combined(each: Sequence[Mapping[str, int]]) -> dict[str, int]:
    totals: dict[str, int] = {}
    for name in dict.fromkeys(name for counts in each for name in counts):
        values = [counts[name] for counts in each if name in counts]
        totals[name] = min(values) if name in MINIMA else sum(values)
    return totals


def counters_filter(port: int) -> str:
    """A regular expression that selects the counters on one page. Envoy names a listener by its
    address and port; its counters per thread are excluded."""
    cluster, listener = "|".join(CLUSTER_COUNTERS), "|".join(LISTENER_COUNTERS)
    patterns = (
        rf"cluster\.{CLUSTER}\.({cluster})",
        rf"listener\.[^_]*_{port}\.({listener})",
        rf"http\.openenv\.{HTTP_COUNTER}",
        rf"server\.({'|'.join(SERVER_COUNTERS)})",
    )
    return f"^({'|'.join(patterns)})$"


def parse_counters(page: bytes) -> dict[str, int]:
    stats = json.loads(page)["stats"]
    return {stat["name"].rpartition(".")[2]: stat["value"] for stat in stats if "value" in stat}


def _request(
    admin_socket: Path, page: str, timeout: float, opened: contextlib.ExitStack
) -> HTTPConnection | None:
    """Sends the request without waiting for the response, so that several Envoy processes work at the
    same time. None on another node, or when the socket is stale."""
    connection = HTTPConnection("localhost")
    opened.callback(connection.close)
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.settimeout(timeout)
    try:
        connection.sock.connect(str(admin_socket))
        connection.request("GET", page)
    except (FileNotFoundError, ConnectionRefusedError):
        return None
    return connection


def _read(connection: HTTPConnection) -> bytes:
    try:
        return connection.getresponse().read()
    except HTTPException as failure:
        raise http.Unreachable(f"the response is not HTTP ({type(failure).__name__})") from None


def parse_backends(page: bytes) -> list[Backend]:
    clusters = {c["name"]: c for c in json.loads(page).get("cluster_statuses", [])}
    return [_backend(host) for host in clusters.get(CLUSTER, {}).get("host_statuses", [])]


def _backend(host: dict[str, Any]) -> Backend:
    # Envoy adds a flag to the status for every reason why a host is unhealthy.
    status = dict(host.get("health_status", {}))
    healthy = status.pop("eds_health_status", "HEALTHY") == "HEALTHY" and not status
    return Backend(host.get("hostname") or host["address"]["socket_address"]["address"], healthy)
