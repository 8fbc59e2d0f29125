"""Envoy, configured as by the launcher, in front of servers that a test started by hand."""

import contextlib
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from launcher.deployment.paths import RunDir
from launcher.deployment.placement import Node, place
from launcher.deployment.programs import envoy_program, Programs
from launcher.deployment.spec import Deployment
from launcher.envoy import admin
from launcher.envoy.config import render
from tests.helpers.local import new_address, Server, wait_for


@contextlib.contextmanager
def envoy_before(servers: Sequence[Server], folder: Path, workers: int = 1) -> Iterator[str]:
    node = new_address()
    wanted = Deployment(local=True, nodes=1 + len(servers), workers_per_node=workers)
    rundir = RunDir(folder, "by-hand")
    nodes = [node, *(server.address for server in servers)]
    installed = Programs(str(envoy_program()))
    placement = place(wanted, [Node(n, n, 2) for n in nodes], rundir, installed)
    (envoy,) = placement.envoys
    socket = replace(envoy, admin_socket=folder / "admin.sock")
    envoy.config.write_text(render(placement, socket))
    with (folder / "envoy.log").open("wb") as log:
        process = subprocess.Popen(placement.processes[0].argv, stdout=log, stderr=log)
    (admin_url,) = placement.admin_urls
    try:
        wait_for(lambda: all_healthy(admin_url, len(servers) * workers), 30, "Envoy is ready")
        yield placement.url
    finally:
        process.terminate()
        process.wait(10)


def all_healthy(admin_url: str | None, count: int) -> bool:
    found = admin.backends(str(admin_url))
    return len(found) == count and all(backend.healthy for backend in found)


def unhealthy(admin_url: str) -> set[str]:
    return {backend.node for backend in admin.backends(admin_url) if not backend.healthy}
