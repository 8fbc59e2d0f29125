"""Renders the configuration of every Envoy process of a placement. Pure."""

import ipaddress
from dataclasses import dataclass
from pathlib import Path

import jinja2

from launcher.deployment.placement import Envoy, Placement
from launcher.envoy.admin import READONLY_PAGES
from launcher.images.assets import asset

BREAKER = 1_000_000_000
# With 64 KiB, Envoy used a fifth more CPU for large observations. Only a connection whose other side reads
# slowly fills them.
BUFFER_BYTES = 262_144
# The largest body of a POST /mcp: as large as a WebSocket message, which uvicorn limits.
MCP_BYTES = 16 * 1024 * 1024
# Shortest and longest interval between two health checks of a worker, in seconds.
CHECK_SECONDS = (0.75, 1.75)
# Health checks per second on one machine: beyond the first figure the interval grows, beyond the second
# the checks themselves load the machine. One check costs the server 90 us of CPU.
CHECKS_A_SECOND, MAX_CHECKS_A_SECOND = 200, 1000
# Before every worker has passed once: the interval in seconds, and all checks of the deployment per second.
START_SECONDS, START_CHECKS_A_SECOND = 0.1, 1000
# Seconds until a health check fails. The longer one is for several Envoy processes that share a machine
# with their servers: a stopped server refuses the connection at once, a late answer waits for a CPU.
TIMEOUT, CROWDED_TIMEOUT = 1.0, 5.0


def render(placement: Placement, envoy: Envoy) -> str:
    """The configuration of one Envoy process.

    A session is retried once per other endpoint, so that it reaches the last free place.
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
        mcp_bytes=MCP_BYTES,
        keepalive=not placement.deployment.local,
        intervals=check_intervals(placement),
    )


def configurations(placement: Placement) -> dict[Path, str]:
    return {envoy.config: render(placement, envoy) for envoy in placement.envoys}


@dataclass(frozen=True)
class Intervals:
    """Health-check timing in seconds: the interval for healthy hosts, the interval until every host
    has passed once, and the response timeout."""

    steady: float
    start: float
    timeout: float


def max_checked(processes: int) -> int:
    """How many workers of one server a number of Envoy processes may check; symmetric, so also how
    many Envoy processes may check a number of workers."""
    return max(1, int(MAX_CHECKS_A_SECOND * CHECK_SECONDS[1] / processes))


def check_intervals(placement: Placement) -> Intervals:
    """Every Envoy process checks every worker, and one Python process answers for all workers of a
    server: the more checks arrive at one machine, the longer their interval, within the 4 s after
    which Envoy must have stopped routing to a failed worker."""
    workers = [len(server.worker_ports) for server in placement.servers]
    together = sum(workers) if placement.deployment.local else max(workers)
    checks = len(placement.envoys) * together
    steady = min(max(CHECK_SECONDS[0], checks / CHECKS_A_SECOND), CHECK_SECONDS[1])
    first_checks = len(placement.envoys) * placement.endpoints
    start = min(max(START_SECONDS, first_checks / START_CHECKS_A_SECOND), steady)
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
