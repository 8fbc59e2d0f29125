"""Whether a deployment is ready: every Envoy process itself counts every worker healthy."""

import json
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import islice

from launcher.deployment.placement import Placement, ServerAddress
from launcher.envoy import admin
from launcher.envoy.admin import Backend
from launcher.lifecycle.supervisor import Unready
from launcher.system import http

PROBE_SECONDS = 1.0
MAX_ASKED, MAX_ASKED_TOGETHER = 3, 16


def unready(placement: Placement) -> Unready | None:
    if not placement.envoys:
        return _unready_server(placement)
    reasons = (_unready_envoy(url, placement.endpoints) for url in placement.admin_urls)
    return next((reason for reason in reasons if reason is not None), None)


def capacity(placement: Placement) -> int:
    """The places of all servers, as they report them; as planned for a server that does not answer."""
    with ThreadPoolExecutor(MAX_ASKED_TOGETHER) as asking:
        return sum(asking.map(partial(_places, placement.places), placement.servers))


def _places(planned: int, server: ServerAddress) -> int:
    try:
        return int(http.get_json(_ready_page(server), PROBE_SECONDS)["max_sessions"])
    except (OSError, ValueError, KeyError, TypeError):
        return planned * len(server.worker_ports)


def cause(placement: Placement, nodes: Collection[str]) -> str:
    """What the first server of these nodes that answers waits for; of any node without `nodes`."""
    servers = (server for server in placement.servers if not nodes or server.name in nodes)
    found = (
        f"; {server.name}: {text}"
        for server in islice(servers, MAX_ASKED)
        if (text := _waits_for(server))
    )
    return next(found, "")


def _waits_for(server: ServerAddress) -> str:
    try:
        http.get(_ready_page(server), PROBE_SECONDS)
    except http.Unreachable as failure:
        try:
            return str(json.loads(failure.body)["waits_for"])
        except (ValueError, KeyError, TypeError):
            return ""
    return ""


def _ready_page(server: ServerAddress) -> str:
    return f"http://{server.address}:{server.control_port}/ready"


def _unready_server(placement: Placement) -> Unready | None:
    server = placement.servers[0]
    try:
        http.get(_ready_page(server), PROBE_SECONDS)
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
