"""Whether a deployment is ready: every Envoy process itself counts every worker healthy."""

from collections.abc import Collection

from launcher.deployment.placement import Placement
from launcher.envoy import admin
from launcher.envoy.admin import Backend
from launcher.lifecycle.supervisor import Unready
from launcher.system import http

PROBE_SECONDS = 1.0


def unready(placement: Placement) -> Unready | None:
    if not placement.envoys:
        return _unready_server(placement)
    reasons = (_unready_envoy(url, placement.endpoints) for url in placement.admin_urls)
    return next((reason for reason in reasons if reason is not None), None)


def _unready_server(placement: Placement) -> Unready | None:
    server = placement.servers[0]
    try:
        http.get(f"http://{server.address}:{server.control_port}/ready", PROBE_SECONDS)
    except (OSError, ValueError):
        return Unready("the server is not ready", frozenset({server.name}))
    return None


def _unready_envoy(admin_url: str, endpoints: int) -> Unready | None:
    try:
        if admin.healthy(admin_url) == endpoints:
            return None
        return judge(admin.backends(admin_url), endpoints)
    except (OSError, ValueError):
        return Unready("Envoy does not answer")


def judge(backends: Collection[Backend], endpoints: int) -> Unready | None:
    unhealthy = frozenset(backend.node for backend in backends if not backend.healthy)
    if unhealthy:
        return Unready(f"Envoy reports {', '.join(sorted(unhealthy))} as unhealthy", unhealthy)
    if len(backends) < endpoints:
        return Unready(f"Envoy knows {len(backends)} of {endpoints} workers")
    return None
