"""Figure 4: the cost of a session in the load generator, compared with other clients, against the neutral
server."""

from tests.perf.grids import grid_arguments, watch
from tests.perf.processes import output_of, python
from tests.perf.run import Run
from tests.perf.servers import RAW, Server, serving

SECONDS = 300.0
CLIENTS = {
    "asyncio websockets": "tests.perf.peers.websockets_client",
    "plain Locust": "tests.perf.peers.plain_locust",
    "picows client": "tests.perf.peers.picows_client",
}
CELLS = 2


def load(run: Run) -> None:
    run.note(
        "4",
        "load workers from the order of a cell until it is on disk; `life_us` counts their start and end "
        f"too, over {CELLS} cells. The peers record nothing, and their start does not count",
    )
    for round_ in run.rounds():
        with serving(run, RAW, run.sizes.sessions) as server:
            run.settle()
            _kit(run, server, round_)
            for name, module in CLIENTS.items():
                run.settle()
                _peer(run, server, round_, name, module)


def _kit(run: Run, server: Server, round_: int) -> None:
    sessions, output = run.sizes.sessions, run.folder / f"load-{round_}"
    options = ("--url", server.url, "-n", str(sessions), "--wait", str(run.sizes.wait))
    arguments = grid_arguments(output, *options, "--reps", str(CELLS))
    watched = watch(run, output, arguments, None, SECONDS)
    life = watched.life.per_session(sessions * len(watched.cells))["cpu_us"]
    for number, cell in enumerate(watched.cells):
        values = cell["load workers"].per_session(sessions) | {"life_us": life}
        values["recorder_us"] = cell["launcher and master"].per_session(sessions)["cpu_us"]
        run.record("4", "kit", round_, values, watched.outcome(number))


def _peer(run: Run, server: Server, round_: int, name: str, module: str) -> None:
    sessions = run.sizes.sessions
    argv = python(module, server.websocket, str(sessions), str(run.sizes.wait))
    outcome = output_of(argv, SECONDS, run.log("client"))
    share = 1e6 / sessions
    values = {
        "cpu_us": (outcome["user"] + outcome["system"]) * share,
        "user_us": outcome["user"] * share,
        "system_us": outcome["system"] * share,
        "wall": outcome["wall"],
    }
    run.record("4", name, round_, values, outcome)
