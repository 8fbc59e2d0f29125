"""The balancer: Envoy's configuration, and what Envoy says of its backends.

Envoy's YAML and its admin pages are known nowhere else.
"""

import contextlib
import ipaddress
import json
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jinja2

from launcher.deployment.placement import Envoy, Placement
from launcher.images.assets import asset
from launcher.system import http

CLUSTER = "openenv_cluster"
READONLY_PAGES = ("/clusters", "/stats", "/stats/prometheus", "/ready", "/server_info", "/memory")
BREAKER = 1_000_000_000
BUFFER_BYTES = 65_536
ADMIN_TIMEOUT = 2.0
CHECK_SECONDS = (0.75, 1.75)
CHECKS_A_SECOND, MOST_CHECKS_A_SECOND = 200, 1000
"""That come to one machine: from how many on they are made rarer, and how many are too many. One takes
90 us of CPU there."""

START_SECONDS, TRIES_A_SECOND = 0.1, 1000
TIMEOUT, CROWDED_TIMEOUT = 1.0, 5.0
"""Seconds for the answer to a health check; the second where several Envoys share one machine with
their servers: what has died there refuses it at once, what is late is waiting for a CPU."""

CLUSTER_COUNTERS = (
    *("upstream_cx_active", "upstream_cx_total", "upstream_cx_overflow"),
    *("upstream_cx_connect_fail", "upstream_cx_connect_timeout"),
    *("upstream_rq_active", "upstream_rq_active_overflow", "upstream_rq_pending_overflow"),
    *("upstream_rq_retry", "upstream_rq_retry_overflow", "membership_healthy", "membership_total"),
)
LISTENER_COUNTERS = (
    *("downstream_cx_active", "downstream_cx_total"),
    *("downstream_cx_overflow", "downstream_global_cx_overflow"),
)
SERVER_COUNTERS = ("uptime", "total_connections")
NOT_ADDED = ("uptime", "membership_healthy", "membership_total")
HTTP_COUNTER = "downstream_rq_5xx"


def render(placement: Placement, envoy: Envoy) -> str:
    """The configuration of one Envoy process of a placement.

    As many retries as there are endpoints, less one: a session finds the last free place.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(asset("envoy", "envoy.yaml.j2").parent),
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
        autoescape=False,
    )
    return environment.get_template("envoy.yaml.j2").render(
        deployment=placement.deployment.name,
        servers=placement.servers,
        discovery=_discovery([server.address for server in placement.servers]),
        listen_address=placement.envoy_node if placement.deployment.local else "0.0.0.0",
        port=placement.deployment.envoy_port,
        admin_port=envoy.admin_port,
        admin_socket=str(envoy.admin_socket),
        readonly_pages=READONLY_PAGES,
        retries=max(1, placement.endpoints - 1),
        host_selection_attempts=20 * placement.endpoints,
        breaker=BREAKER,
        buffer_bytes=BUFFER_BYTES,
        keepalive=not placement.deployment.local,  # see benchmark.server.listening.listen
        capacity=placement.capacity,
        intervals=check_intervals(placement),
    )


def configurations(placement: Placement) -> dict[Path, str]:
    """The configuration of every Envoy process, by its file."""
    return {envoy.config: render(placement, envoy) for envoy in placement.envoys}


@dataclass(frozen=True)
class Intervals:
    """Between health checks, in seconds: of what is healthy, and until all are for the first time; and
    for an answer."""

    steady: float
    start: float
    timeout: float


def most_checked(processes: int) -> int:
    """By how many Envoy processes so many workers of a server can be checked; also how many workers
    by so many Envoy processes."""
    return max(1, int(MOST_CHECKS_A_SECOND * CHECK_SECONDS[1] / processes))


def check_intervals(placement: Placement) -> Intervals:
    """Every Envoy process checks every worker, and the control ports that answer are Python: the
    more checks come to one machine, the rarer they are, within what takes a dead worker out in
    time."""
    workers = [len(server.worker_ports) for server in placement.servers]
    together = sum(workers) if placement.deployment.local else max(workers)
    checks = len(placement.envoys) * together
    steady = min(max(CHECK_SECONDS[0], checks / CHECKS_A_SECOND), CHECK_SECONDS[1])
    tries = len(placement.envoys) * placement.endpoints
    start = min(max(START_SECONDS, tries / TRIES_A_SECOND), steady)
    crowded = placement.deployment.local and len(placement.envoys) > 1
    timeout = CROWDED_TIMEOUT if crowded else TIMEOUT
    return Intervals(round(steady, 2), round(start, 2), timeout)


def _discovery(addresses: list[str]) -> str:
    try:
        for address in addresses:
            ipaddress.ip_address(address)
    except ValueError:
        return "STRICT_DNS"
    return "STATIC"


@dataclass(frozen=True)
class Backend:
    """One endpoint as Envoy sees it."""

    node: str
    address: str
    healthy: bool
    flags: tuple[str, ...] = ()


def backends(admin_url: str) -> list[Backend]:
    """What Envoy counts. Raises `Unreachable` or ValueError when its pages cannot be read."""
    return parse_backends(http.get(f"{admin_url}/clusters?format=json", ADMIN_TIMEOUT))


def healthy(admin_url: str) -> int:
    """How many endpoints Envoy counts healthy; a small page, however many there are. Raises as
    `backends` does."""
    name = f"cluster.{CLUSTER}.membership_healthy"
    page = http.get(f"{admin_url}/stats?filter=^{name}$", ADMIN_TIMEOUT)
    return int(page.decode().partition(":")[2])


def counters(pages: Mapping[str, Path], port: int, timeout: float) -> dict[str, int]:
    """What all Envoy processes of a node have counted together, by the last part of Envoy's name for
    it; `pages` has the admin URL and the admin socket of each, and `port` is that of the URL.

    Where this is Envoy's node, the sockets are asked: Envoy's main thread answers there, also while
    those that pass on sessions, and the read-only pages, have no time. Raises as `backends` does,
    also when one of several does not answer.
    """
    page = f"/stats?format=json&filter={quote(counters_filter(port))}"
    with contextlib.ExitStack() as asked:
        found = [_asked(socket, page, timeout, asked) for socket in pages.values()]
        return together(
            [
                parse_counters(
                    http.get(f"{url}{page}", timeout) if connection is None else _answer(connection)
                )
                for url, connection in zip(pages, found, strict=True)
            ]
        )


def together(each: Sequence[Mapping[str, int]]) -> dict[str, int]:
    """Sums, but of what does not add up: the youngest process, and the one that counts the fewest
    workers healthy."""
    found: dict[str, int] = {}
    for name in dict.fromkeys(name for counts in each for name in counts):
        values = [counts[name] for counts in each if name in counts]
        found[name] = min(values) if name in NOT_ADDED else sum(values)
    return found


def counters_filter(port: int) -> str:
    """A regular expression for one page. A listener is named by its address and port, and has
    counters for each thread, which are not wanted."""
    cluster, listener = "|".join(CLUSTER_COUNTERS), "|".join(LISTENER_COUNTERS)
    wanted = (
        rf"cluster\.{CLUSTER}\.({cluster})",
        rf"listener\.[^_]*_{port}\.({listener})",
        rf"http\.openenv\.{HTTP_COUNTER}",
        rf"server\.({'|'.join(SERVER_COUNTERS)})",
    )
    return f"^({'|'.join(wanted)})$"


def parse_counters(page: bytes) -> dict[str, int]:
    stats = json.loads(page)["stats"]
    return {stat["name"].rpartition(".")[2]: stat["value"] for stat in stats if "value" in stat}


class _SocketConnection(HTTPConnection):
    def __init__(self, path: Path, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def _asked(
    admin_socket: Path, page: str, timeout: float, closing: contextlib.ExitStack
) -> _SocketConnection | None:
    """One that `_answer` will have the page from: several Envoys answer at the same time. None on
    another node, or where another Envoy left the socket."""
    connection = _SocketConnection(admin_socket, timeout)
    closing.callback(connection.close)
    try:
        connection.request("GET", page)
    except (FileNotFoundError, ConnectionRefusedError):
        return None
    return connection


def _answer(connection: _SocketConnection) -> bytes:
    try:
        return connection.getresponse().read()
    except HTTPException as failure:
        raise http.Unreachable(f"the answer is not HTTP ({type(failure).__name__})") from None


def parse_backends(page: bytes) -> list[Backend]:
    clusters = {c["name"]: c for c in json.loads(page).get("cluster_statuses", [])}
    return [_backend(host) for host in clusters.get(CLUSTER, {}).get("host_statuses", [])]


def _backend(host: dict[str, Any]) -> Backend:
    address = host["address"]["socket_address"]
    status = dict(host.get("health_status", {}))
    healthy = status.pop("eds_health_status", "HEALTHY") == "HEALTHY" and not status
    return Backend(
        host.get("hostname") or address["address"],
        f"{address['address']}:{address['port_value']}",
        healthy,
        tuple(flag for flag, raised in status.items() if raised),
    )
