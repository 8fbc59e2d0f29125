"""Determines what to sample on each node from the state of a deployment and the placement of a run. Pure."""

import os
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from benchmark.server.settings import ports_from
from launcher.deployment.placement import Role
from launcher.deployment.state import DeploymentState

LOAD_MASTER = "load-master"
# How run.json names the launcher's machine among the nodes of the load.
LOAD_HERE = "127.0.0.1"

# By node: {"processes": {name: pid}, "places": {server: URL of its control port},
# "envoy": {"port", "pages": {admin URL: admin socket}}}, each only where there is one. A load master of
# another node has no pid: run.json has that of its srun.
Targets = dict[str, dict[str, Any]]


def deployment_targets(state: DeploymentState) -> Targets:
    targets: Targets = {}
    servers = iter(state.servers)
    for process in state.processes:
        target = targets.setdefault(process.node, {})
        if process.pid is not None:
            target.setdefault("processes", {})[process.name] = process.pid
        if process.role is Role.SERVER:
            server = next(servers)
            url = f"http://{server.address}:{server.control_port}/ready"
            target.setdefault("places", {})[process.name] = url
        else:
            # Sessions connect to any of the processes, so all of them are one target.
            pages = {envoy.admin_url: envoy.admin_socket for envoy in state.envoys}
            target["envoy"] = {"port": state.deployment.envoy_port, "pages": pages}
    return targets


def load_targets(run: Mapping[str, Any], *, here: bool) -> Targets:
    """The processes of the load on the launcher's machine, or on the other nodes, from run.json."""
    placement = run.get("placement", {})
    nodes = placement.get("load_nodes") or []
    targets: Targets = {}
    for name, pid in placement.get("load", {}).items():
        number = name.removeprefix("load-")
        index = int(number) - 1 if number.isdecimal() else 0
        if pid is None or index >= len(nodes) or here != (nodes[index] == LOAD_HERE):
            continue
        node = os.uname().nodename if here else nodes[index]
        known = pid if here or name != LOAD_MASTER else None
        targets.setdefault(node, {}).setdefault("processes", {})[name] = known
    return targets


def server_target(url: str) -> Targets:
    """A server at the URL that was started without a launcher: its control port is the next one."""
    parts = urlsplit(url)
    if not parts.hostname or not parts.port or parts.port >= 65_535:
        return {}
    control = f"http://{parts.netloc.rpartition(':')[0]}:{ports_from(parts.port).control}/ready"
    return {parts.hostname: {"places": {"server-1": control}}}


def joined(*several: Targets) -> Targets:
    targets: Targets = {}
    for each in several:
        for node, target in each.items():
            into = targets.setdefault(node, {})
            for key, content in target.items():
                into[key] = {**into.get(key, {}), **content}
    return targets
