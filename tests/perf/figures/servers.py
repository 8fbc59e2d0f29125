"""Figures 1, 2 and 3: a server alone, loaded directly, beside stock OpenEnv, FastAPI and the floor."""

from collections.abc import Sequence

from tests.perf.processes import Used
from tests.perf.run import Run
from tests.perf.servers import (
    burst,
    held,
    KIT,
    load,
    PICOWS,
    PLAIN_SERVER,
    serving,
    STOCK_SERVER,
    Subject,
)

WARM = 64


def cost(run: Run) -> None:
    """1: CPU of a session in a burst; 3: memory of one that is open."""
    run.note("1", "no client offers compression here: the neutral load asks for none")
    cost_of(run, "1", "3", (KIT, PICOWS, STOCK_SERVER, PLAIN_SERVER), run.sizes.sessions)


def cost_of(run: Run, used: str, kept: str, subjects: Sequence[Subject], sessions: int) -> None:
    """Each round a new server of each kind: first memory, as nothing was open before but a few sessions
    to warm it, then CPU."""
    for round_ in run.rounds():
        for subject in subjects:
            run.settle()
            with serving(run, subject, 2 * sessions) as server:
                where = (server.address, subject.port)
                load(run, *where, min(WARM, sessions), "--wait", "0")
                told, grown, _ = held(run, *where, sessions, lambda: server.pids, "--wait", "0")
                run.record(kept, subject.name, round_, {"memory_kb": grown / sessions / 1e3}, told)
                told, spent = burst(run, *where, sessions, lambda: server.pids)
                values = spent.each(sessions) | {"wall": told.get("wall")}
                run.record(used, subject.name, round_, values, told)


def steps(run: Run) -> None:
    """2: steps per second of one server, and how long the slowest take."""
    steps_of(run, "2", (KIT, STOCK_SERVER, PICOWS), run.sizes.stepping, run.sizes.steps)


def steps_of(run: Run, figure: str, subjects: Sequence[Subject], sessions: int, each: int) -> None:
    for round_ in run.rounds():
        for subject in subjects:
            run.settle()
            with serving(run, subject, 2 * sessions) as server:
                where = (server.address, subject.port)
                load(run, *where, min(WARM, sessions), "--wait", "0")
                more = ("--wait", "0", "--steps", str(each))
                told, _, spent = held(run, *where, sessions, lambda: server.pids, *more)
                run.record(figure, subject.name, round_, _speed(told, spent), told)


def _speed(told: dict[str, float], spent: Used) -> dict[str, float | None]:
    """`load_busy` is the share of its one core that the load used: near 1, it is the load that is
    measured."""
    steps, seconds = told.get("steps") or 0, told.get("step_seconds") or 0
    if not steps or not seconds:
        return {"steps_per_s": None}
    return {
        "steps_per_s": steps / seconds,
        "p50_ms": 1e3 * told["step_p50"],
        "p99_ms": 1e3 * told["step_p99"],
        "step_cpu_us": 1e6 * spent.total / steps,
        "load_busy": (told["user"] + told["system"]) / told["wall"],
    }
