"""The same OpenEnv apps under plain uvicorn and under the kit, directly and through Envoy; beside them the
kit's own environment and a bare WebSocket engine."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

from tests.perf.deployments import deployed
from tests.perf.figures.servers import speed
from tests.perf.processes import cpu, CpuTime, output_of, python, wait_until_still
from tests.perf.run import Run
from tests.perf.servers import held, KIT, kit, load, PICOWS, serving, STOCK, Subject, uvicorn

ASYNC, SIZED = "tests.perf.peers.stock_async:app", "tests.perf.peers.stock_sized:app"
KINDS = {"async": ASYNC, "blocking": STOCK}
STOCK_NAME, DIRECT, ENVOY, OWN = "stock OpenEnv", "kit", "kit, Envoy", "kit's own environment"
WARM, SECONDS = 64, 300.0
LATENCY_SESSIONS, LATENCY_STEPS, CORES = 64, 200, 2
# Bytes of an observation, sessions, steps of each.
PAGES = {"10 KB": (10_000, 64, 200), "200 KB": (200_000, 32, 40), "2 MB": (2_000_000, 8, 24)}


@dataclass(frozen=True)
class Place:
    """Where the load connects, and the processes behind it."""

    host: str
    port: int
    servers: Callable[[], list[int]]
    envoys: Callable[[], list[int]] = list

    @property
    def address(self) -> tuple[str, int]:
        return self.host, self.port

    def used(self) -> tuple[CpuTime, CpuTime]:
        return cpu(self.servers()), cpu(self.envoys())


Opened = contextlib.AbstractContextManager[Place]
Way = Callable[[Run, int], Opened]


def sessions(run: Run) -> None:
    """CPU of a session: connect, reset, one step, close; all of a burst are open at once."""
    for kind, app in KINDS.items():
        count = run.sizes.sessions if kind == "async" else run.sizes.own_sessions
        ways = _ways(app) | {OWN: _server(KIT), "picows": _server(PICOWS)}
        for round_, name, place in _alternating(run, ways, 2 * count):
            load(run, *place.address, min(WARM, count), "--wait", "0")
            _burst(run, f"session {kind}", name, round_, place, count, str(run.sizes.wait), 1)
    run.note("session", f"blocking: {run.sizes.own_sessions:,} sessions, each with its thread")


def episodes(run: Run) -> None:
    """CPU of a session of many steps that do not wait."""
    ways = _ways(ASYNC) | {OWN: _server(KIT), "picows": _server(PICOWS)}
    count, steps = run.sizes.stepping, run.sizes.steps
    for round_, name, place in _alternating(run, ways, 2 * count):
        load(run, *place.address, min(WARM, count), "--wait", "0")
        _burst(run, "episode", name, round_, place, count, "0", steps)


def speeds(run: Run) -> None:
    """Steps per second of one worker with many sessions."""
    count, steps = run.sizes.stepping, run.sizes.steps
    for kind, app in KINDS.items():
        ways = _ways(app) | (
            {OWN: _server(KIT), "picows": _server(PICOWS)} if kind == "async" else {}
        )
        for round_, name, place in _alternating(run, ways, 2 * count):
            _steps(run, f"speed {kind}", name, round_, place, count, steps)


def latencies(run: Run) -> None:
    """How long a step takes beside stock, with two workers each."""
    for kind, app in KINDS.items():
        for round_, name, place in _alternating(run, _ways(app, CORES), 2 * LATENCY_SESSIONS):
            steps = run.sizes.steps if run.quick else LATENCY_STEPS
            _steps(run, f"latency {kind}", name, round_, place, LATENCY_SESSIONS, steps)
    run.note("latency", f"{LATENCY_SESSIONS} sessions; {CORES} workers on either side")


def memory(run: Run) -> None:
    """Memory of an open session after its first step."""
    count = run.sizes.own_sessions
    for kind, app in KINDS.items():
        for round_, name, place in _alternating(run, _ways(app), 2 * count):
            load(run, *place.address, min(WARM, count), "--wait", "0")
            more = ("--wait", "0", "--steps", "2")
            outcome, growth, _ = held(run, *place.address, count, place.servers, *more, after=1)
            values = {"memory_kb": growth / count / 1e3}
            run.record(f"memory {kind}", name, round_, values, outcome)


def pages(run: Run) -> None:
    """Megabytes of observations per second, with two workers each."""
    for round_, name, place in _alternating(run, _ways(SIZED, CORES), 2 * WARM):
        for size, (length, count, steps) in PAGES.items():
            each = max(2, steps // 20) if run.quick else steps
            _pages(run, f"size {size}", name, round_, place, (count, each, length))
    run.note("size", f"{CORES} workers on either side; one client process")


def _pages(
    run: Run, figure: str, name: str, round_: int, place: Place, shape: tuple[int, int, int]
) -> None:
    module, numbers = "tests.perf.peers.page_client", map(str, shape)
    argv = python(module, place.host, str(place.port), *numbers)
    before = place.used()
    outcome = output_of(argv, SECONDS, run.log("client"))
    after, megabytes = place.used(), shape[0] * shape[1] * shape[2] / 1e6
    values = {
        "mb_per_s": megabytes / outcome["step_seconds"],
        "p50_ms": 1e3 * outcome["step_p50"],
        "server_us_per_mb": 1e6 * (after[0] - before[0]).total / megabytes,
        "envoy_us_per_mb": 1e6 * (after[1] - before[1]).total / megabytes,
        "load_us_per_mb": 1e6 * (outcome["user"] + outcome["system"]) / megabytes,
    }
    run.record(figure, name, round_, values, outcome)


def _burst(
    run: Run, figure: str, name: str, round_: int, place: Place, count: int, wait: str, steps: int
) -> None:
    before = place.used()
    outcome = load(run, *place.address, count, "--wait", wait, "--steps", str(steps))
    wait_until_still([*place.servers(), *place.envoys()])
    after = place.used()
    values = (after[0] - before[0]).per_session(count)
    values["envoy_us"] = (after[1] - before[1]).per_session(count)["cpu_us"]
    run.record(figure, name, round_, values, outcome)


def _steps(
    run: Run, figure: str, name: str, round_: int, place: Place, count: int, steps: int
) -> None:
    load(run, *place.address, min(WARM, count), "--wait", "0", "--steps", "4")
    more, before = ("--wait", "0", "--steps", str(steps)), cpu(place.envoys())
    outcome, _, spent = held(run, *place.address, count, place.servers, *more)
    values = speed(outcome, spent)
    if values.get("steps_per_s"):
        envoy = cpu(place.envoys()) - before
        values["envoy_cpu_us"] = 1e6 * envoy.total / outcome["steps"]
        values["steps_per_core_s"] = 1e6 / (values["step_cpu_us"] or 1e6)
    run.record(figure, name, round_, values, outcome)


def _alternating(run: Run, ways: dict[str, Way], places: int) -> Iterator[tuple[int, str, Place]]:
    """Each way in turn, newly started, as many times as the run has rounds."""
    for round_ in run.rounds():
        for name, way in ways.items():
            run.settle()
            with way(run, places) as place:
                yield round_, name, place


def _ways(app: str, workers: int = 1) -> dict[str, Way]:
    """The app under plain uvicorn, under the kit, and under the kit behind Envoy."""
    more = ("--workers", str(workers)) if workers > 1 else ()
    return {
        STOCK_NAME: _server(uvicorn(STOCK_NAME, app, *more)),
        DIRECT: _server(_kit(app, workers), WORKERS=str(workers)),
        ENVOY: lambda run, places: _through_envoy(run, app, places, workers),
    }


def _kit(app: str, workers: int) -> Subject:
    """One worker is loaded through its own port; several through the port that they share."""
    subject = kit(DIRECT, "--app", app)
    return subject if workers == 1 else Subject(DIRECT, subject.argv, 8000, subject.ready)


def _server(subject: Subject, **variables: str) -> Way:
    @contextlib.contextmanager
    def way(run: Run, places: int) -> Iterator[Place]:
        with serving(run, subject, places, **variables) as server:
            yield Place(server.address, subject.port, lambda: server.pids)

    return way


@contextlib.contextmanager
def _through_envoy(run: Run, app: str, places: int, workers: int) -> Iterator[Place]:
    name = f"apps-{len(run.measurements)}-{workers}"
    options = ("--app", app, "--workers-per-node", str(workers))
    options += ("--max-concurrent-envs", str(places))
    with deployed(run, name, 2, *options) as deployment:
        url = urlsplit(deployment.url)
        host, port = url.hostname or "", url.port or 80
        roles = deployment.pids
        yield Place(host, port, lambda: roles("server"), lambda: roles("envoy"))
