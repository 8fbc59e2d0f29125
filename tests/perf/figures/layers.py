"""Where a server's time goes: the same session on more and fewer layers; and what a user's own OpenEnv
app gains from the kit's server."""

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
LAYERS: list[tuple[str, Subject]] = [
    ("bare engine: picows on uvloop", PICOWS),
    ("a bare ASGI app on the kit's protocol classes", module("bare ASGI", AS_KIT, BARE)),
    ("the same behind FastAPI's routing", module("routing", AS_KIT, ROUTED)),
    ("a whole worker: places, protocol checks, the kit's own environment", KIT),
]
"""All but the first under uvicorn; the page compares each with the first."""

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
