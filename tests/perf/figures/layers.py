"""Where a server's time goes: the same session on one layer more each time; and what a user's own OpenEnv
app gains from the kit's server."""

from collections.abc import Iterator

from tests.perf.figures.servers import cost_of, steps_of
from tests.perf.run import Run
from tests.perf.servers import (
    burst,
    KIT,
    kit,
    load,
    module,
    PICOWS,
    serving,
    STOCK,
    STOCK_SERVER,
    Subject,
)

LAYERS: list[tuple[str, Subject]] = [
    ("bare engine: picows on uvloop", PICOWS),
    (
        "the kit's protocol classes under uvicorn, a bare ASGI app",
        module("bare ASGI", "tests.perf.peers.serve_as_kit", "tests.perf.peers.bare_asgi:app"),
    ),
    (
        "and FastAPI's routing",
        module("routing", "tests.perf.peers.serve_as_kit", "tests.perf.peers.starlette_route:app"),
    ),
    ("the whole worker: admission, protocol checks, environment", KIT),
]
"""From the floor up; each line costs what those before it do, and something more."""

OWN = kit("stock app, kit's server", "--app", STOCK)


def layers(run: Run) -> None:
    sessions = run.sizes.sessions
    for round_ in run.rounds():
        for name, subject in LAYERS:
            run.settle()
            with serving(run, subject, 2 * sessions) as server:
                where = (server.address, subject.port)
                load(run, *where, sessions // 4, "--wait", "0")
                told, spent = burst(run, *where, sessions, lambda: server.pids)
                run.record("layers", name, round_, spent.each(sessions), told)


def own_app(run: Run) -> None:
    """The same app by plain uvicorn, as its README says, and by the kit."""
    sizes, subjects = run.sizes, (OWN, STOCK_SERVER)
    cost_of(run, "own", "own memory", subjects, sizes.own_sessions)
    steps_of(run, "own steps", subjects, sizes.own_sessions, sizes.own_steps)


def names() -> Iterator[str]:
    return (name for name, _ in LAYERS)
