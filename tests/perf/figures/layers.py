"""Where a server's time goes: the same session on fewer or more layers, and the gain of a user's own OpenEnv
app on the kit's server."""

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

BARE, ROUTED = "tests.perf.peers.bare_asgi:app", "tests.perf.peers.starlette_route:app"
AS_KIT = "tests.perf.peers.serve_as_kit"
# All but the first run under uvicorn; the page compares each with the first.
LAYERS: list[tuple[str, Subject]] = [
    ("bare engine: picows on uvloop", PICOWS),
    ("a bare ASGI app on the kit's protocol classes", module("bare ASGI", AS_KIT, BARE)),
    ("the same behind FastAPI's routing", module("routing", AS_KIT, ROUTED)),
    ("a whole worker: places, protocol checks, the kit's own environment", KIT),
]

OWN = kit("stock app, kit's server", "--app", STOCK)


def layers(run: Run) -> None:
    sessions = run.sizes.sessions
    for round_ in run.rounds():
        for name, subject in LAYERS:
            run.settle()
            with serving(run, subject, 2 * sessions) as server:
                where = (server.address, subject.port)
                load(run, *where, sessions // 4, "--wait", "0")
                outcome, spent = burst(run, *where, sessions, lambda: server.pids)
                run.record("layers", name, round_, spent.per_session(sessions), outcome)


def own_app(run: Run) -> None:
    """The same app under plain uvicorn, as its README recommends, and under the kit."""
    sizes, subjects = run.sizes, (OWN, STOCK_SERVER)
    cost_of(run, "own", "own memory", subjects, sizes.own_sessions)
    steps_of(run, "own steps", subjects, sizes.own_sessions, sizes.own_steps)
