"""Figures 6 to 9 and 11: the whole kit, with servers, Envoy and load together on this machine."""

import json
import subprocess
import time

from tests.perf.deployments import capacity_options, STATE, up_accepts_sessions
from tests.perf.grids import grid_arguments, launcher, up_arguments, watch, WatchedGrid
from tests.perf.machine import memory_available
from tests.perf.processes import NotMeasured, output_of, python, running
from tests.perf.run import Run
from tests.perf.servers import serving, STOCK, uvicorn

# Envoy and two servers: as many as two cores can use.
NODES = 3

READY_NODES = 5
SECONDS = 400.0
STOCK_WORKERS = 2
ROLES = ("server", "envoy", "load workers", "launcher and master")


def _through_the_kit(run: Run, name: str, sessions: int, *options: str) -> WatchedGrid:
    """Runs a grid of one batch against a deployment for this many sessions."""
    output = run.folder / f"{name}-results"
    arguments = up_arguments(run, name, NODES, "--drain", "0", *capacity_options(sessions))
    grid = grid_arguments(output, "-n", str(sessions), *options)
    state = run.folder / name / STATE
    run.note(
        name.split("-", maxsplit=1)[0],
        f"Envoy and {NODES - 1} servers on this machine, with its load",
    )
    if not up_accepts_sessions():
        run.note(
            name.split("-", maxsplit=1)[0],
            "`launcher up` has no --sessions here: its defaults were used",
        )
    return watch(run, output, (*arguments, "--", *launcher(*grid)), state, SECONDS)


def burst(run: Run) -> None:
    """Figure 6, and where the time of a session goes, compared with the asyncio client on stock OpenEnv."""
    sessions = run.sizes.sessions
    for round_ in run.rounds():
        run.settle()
        wait = ("--wait", str(run.sizes.wait))
        watched = _through_the_kit(run, f"6-{round_}", sessions, *wait)
        run.record("6", "kit", round_, {"wall": _wall(watched, 0)}, watched.outcome(0))
        for role in ROLES:
            run.record(
                "where",
                role,
                round_,
                watched.cells[0][role].per_session(sessions),
                watched.outcome(0),
            )
        run.settle()
        _stock_burst(run, round_)


def _stock_burst(run: Run, round_: int) -> None:
    sessions = run.sizes.sessions
    subject = uvicorn("stock OpenEnv", STOCK, "--workers", str(STOCK_WORKERS))
    run.note("6", f"stock OpenEnv has {STOCK_WORKERS} uvicorn workers and no balancer")
    with serving(run, subject, 2 * sessions) as server:
        module = "tests.perf.peers.websockets_client"
        argv = python(module, server.websocket, str(sessions), str(run.sizes.wait))
        outcome = output_of(argv, SECONDS, run.log("client"))
    run.record("6", "asyncio client + stock", round_, {"wall": outcome["wall"]}, outcome)


def large(run: Run) -> None:
    """Figures 7 and 9."""
    sessions = run.sizes.large
    for round_ in range(1, min(2, run.sizes.rounds) + 1):
        run.settle()
        wait = ("--wait", str(run.sizes.wait))
        watched = _through_the_kit(run, f"7-{round_}", sessions, *wait)
        outcome = watched.outcome(0)
        run.record("7", "kit", round_, {"wall": _wall(watched, 0)}, outcome)
        counts = list(watched.per_worker(1).values())
        workers = _workers(run, f"7-{round_}")
        even = max(counts) * workers / sum(counts) if counts else None
        run.record("9", "kit", round_, {"max_over_mean": even, "workers": workers}, outcome)


def held(run: Run) -> None:
    """Figure 8: all sessions open at the same time."""
    sessions = run.sizes.held
    run.settle()
    before = memory_available()
    options = ("--shape", "hold", "--steps", "1", "--wait", "0", "--timeout", "300")
    # This many connects delay the event loop of a load worker for seconds, which must not cause a retry.
    options += ("--max-lag", "60")
    watched = _through_the_kit(run, "8-1", sessions, *options)
    outcome, line = watched.outcome(0), watched.lines[0]
    values = {
        "opened_s": watched.opening_seconds(),
        "open_clients": float(line["open_clients"] or 0),
        "open_servers": float(line["open_servers"] or 0),
        "success": 1 - outcome["failed"] / sessions,
        "memory_gib": (before - watched.min_available) / 2**30,
        "whole_s": watched.seconds,
    }
    run.record("8", "kit", 1, values, outcome)


def ready(run: Run) -> None:
    """Figure 11: the time from the start of the command until it prints its URL."""
    for number in range(1, run.sizes.starts + 1):
        run.settle()
        arguments = up_arguments(run, f"ready-{number}", READY_NODES, "--drain", "0")
        started = time.monotonic()
        with running(launcher(*arguments), run.log("ready"), stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            output = process.stdout.readline()
            seconds = time.monotonic() - started
            if not output.startswith("OPENENV_URL="):
                raise NotMeasured(f"launcher up printed no URL; see {run.log('ready')}")
        run.record("11", "kit", number, {"ready_s": seconds})


def _wall(watched: WatchedGrid, cell: int) -> float:
    return float(watched.lines[cell]["total_wall_time"] or 0)


def _workers(run: Run, name: str) -> int:
    """The number of workers, including those that no session reached."""
    state = json.loads((run.folder / name / STATE).read_text())
    return sum(len(server["worker_ports"]) for server in state["servers"])
