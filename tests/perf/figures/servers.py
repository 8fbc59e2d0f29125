"""Figures 1, 2 and 3: a single server, loaded directly, compared with stock OpenEnv, FastAPI and a minimal
server."""

from collections.abc import Sequence

from tests.perf.processes import CpuTime
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
    """Figure 1: CPU per session in a burst; figure 3: memory per open session."""
    run.note("1", "no client offers compression here: the neutral load asks for none")
    cost_of(run, "1", "3", (KIT, PICOWS, STOCK_SERVER, PLAIN_SERVER), run.sizes.sessions)


def cost_of(run: Run, used: str, kept: str, subjects: Sequence[Subject], sessions: int) -> None:
    """Starts a new server of each kind in each round. Measures memory first, because only a few warm-up
    sessions have been open by then, and CPU afterwards."""
    for round_ in run.rounds():
        for subject in subjects:
            run.settle()
            with serving(run, subject, 2 * sessions) as server:
                where = (server.address, subject.port)
                load(run, *where, min(WARM, sessions), "--wait", "0")
                outcome, growth, _ = held(run, *where, sessions, lambda: server.pids, "--wait", "0")
                run.record(
                    kept, subject.name, round_, {"memory_kb": growth / sessions / 1e3}, outcome
                )
                outcome, spent = burst(run, *where, sessions, lambda: server.pids)
                values = spent.per_session(sessions) | {"wall": outcome.get("wall")}
                run.record(used, subject.name, round_, values, outcome)


def steps(run: Run) -> None:
    """Figure 2: steps per second of one server, and the latency of the slowest steps."""
    steps_of(run, "2", (KIT, STOCK_SERVER, PICOWS), run.sizes.stepping, run.sizes.steps)


def steps_of(run: Run, figure: str, subjects: Sequence[Subject], sessions: int, each: int) -> None:
    for round_ in run.rounds():
        for subject in subjects:
            run.settle()
            with serving(run, subject, 2 * sessions) as server:
                where = (server.address, subject.port)
                load(run, *where, min(WARM, sessions), "--wait", "0")
                more = ("--wait", "0", "--steps", str(each))
                outcome, _, spent = held(run, *where, sessions, lambda: server.pids, *more)
                run.record(figure, subject.name, round_, speed(outcome, spent), outcome)


def speed(outcome: dict[str, float], spent: CpuTime) -> dict[str, float | None]:
    """`load_busy` is the share of its single core that the load used; near 1, the figure is a limit of the
    load."""
    steps, seconds = outcome.get("steps") or 0, outcome.get("step_seconds") or 0
    if not steps or not seconds:
        return {"steps_per_s": None}
    return {
        "steps_per_s": steps / seconds,
        "p50_ms": 1e3 * outcome["step_p50"],
        "p99_ms": 1e3 * outcome["step_p99"],
        "step_cpu_us": 1e6 * spent.total / steps,
        "load_busy": (outcome["user"] + outcome["system"]) / outcome["wall"],
    }
