"""The balancer: Envoy's configuration, and what Envoy says of its backends.

Envoy's YAML and its admin pages are known nowhere else.
"""

import ipaddress
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2

from launcher import http
from launcher.assets import asset
from launcher.placement import Placement

CLUSTER = "openenv_cluster"
READONLY_PAGES = ("/clusters", "/stats", "/stats/prometheus", "/ready", "/server_info", "/memory")
BREAKER = 1_000_000_000
BUFFER_BYTES = 65_536
DESCRIPTORS_PER_SESSION = 2
ADMIN_TIMEOUT = 2.0


def render(placement: Placement, admin_socket: Path) -> str:
    """Envoy's configuration for a placement.

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
        admin_port=placement.deployment.admin_port,
        admin_socket=str(admin_socket),
        readonly_pages=READONLY_PAGES,
        retries=max(1, placement.endpoints - 1),
        host_selection_attempts=20 * placement.endpoints,
        breaker=BREAKER,
        buffer_bytes=BUFFER_BYTES,
        capacity=placement.capacity,
    )


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
