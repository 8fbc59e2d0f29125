"""An Envoy configuration as its documentation suggests: round robin, default buffers and limits, one thread
per core. It differs from the defaults only where the sessions would fail otherwise: WebSocket is allowed, and
the circuit breakers, 1,024 by default, are raised."""

from typing import Any

import yaml

RAISED = {
    "max_connections": 1_000_000,
    "max_pending_requests": 1_000_000,
    "max_requests": 1_000_000,
}
MANAGER = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
ROUTER = "envoy.extensions.filters.http.router.v3.Router"


def configuration(address: str, port: int, workers: list[tuple[str, int]]) -> str:
    """The YAML of one listener in front of these workers."""
    route = {"match": {"prefix": "/"}, "route": {"cluster": "servers"}}
    manager = {
        "@type": f"type.googleapis.com/{MANAGER}",
        "stat_prefix": "ingress",
        "upgrade_configs": [{"upgrade_type": "websocket"}],
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
        "http_filters": [
            {
                "name": "envoy.filters.http.router",
                "typed_config": {"@type": f"type.googleapis.com/{ROUTER}"},
            }
        ],
    }
    network = {"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}
    listener = {"address": _socket(address, port), "filter_chains": [{"filters": [network]}]}
    endpoints = [{"endpoint": {"address": _socket(*worker)}} for worker in workers]
    cluster = {
        "name": "servers",
        "type": "STATIC",
        "lb_policy": "ROUND_ROBIN",
        "circuit_breakers": {"thresholds": [RAISED]},
        "load_assignment": {
            "cluster_name": "servers",
            "endpoints": [{"lb_endpoints": endpoints}],
        },
    }
    return yaml.safe_dump({"static_resources": {"listeners": [listener], "clusters": [cluster]}})


def _socket(address: str, port: int) -> dict[str, Any]:
    return {"socket_address": {"address": address, "port_value": port}}
