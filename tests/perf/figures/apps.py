"""The same OpenEnv apps under plain uvicorn and under the kit, directly and through Envoy; beside them the
kit's own environment and a bare WebSocket engine."""

import contextlib
from collections.abc import Callable, Iterator, Set
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
LATENCY_SESSIONS, LATENCY_STEPS = 64, 200
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


def apps(run: Run) -> None:
    """Each server is started once per round, for all figures: starting them takes longer than measuring."""
    engines = {OWN: _server(KIT), "picows": _server(PICOWS)}
    for kind, app in KINDS.items():
        wanted = run.only & {"memory", "session", "speed", "latency"}
        ways = _ways(app)
        if kind == "async":
            wanted |= run.only & {"episode"}
            ways |= engines
        for round_, name, place in _alternating(run, ways if wanted else {}, _most(run)):
            _one_worker(run, wanted, kind, name, round_, place)
    if "size" in run.only:
        for round_, name, place in _alternating(run, _ways(SIZED), 2 * WARM):
            _sizes(run, "", name, round_, place)
    _two_workers(run)
    _note(run)


def _one_worker(
    run: Run, wanted: Set[str], kind: str, name: str, round_: int, place: Place
) -> None:
    """Memory first, because only a few warm-up sessions have been open by then."""
    sizes, subject = run.sizes, (name, round_, place)
    many = sizes.sessions if kind == "async" else sizes.own_sessions
    is_app = name in (STOCK_NAME, DIRECT, ENVOY)
    load(run, *place.address, min(WARM, many), "--wait", "0")
    if "memory" in wanted and is_app:
        _memory(run, f"memory {kind}", *subject, sizes.own_sessions)
    if "session" in wanted:
        _burst(run, f"session {kind}", *subject, many, str(sizes.wait), 1)
    if "episode" in wanted:
        _burst(run, "episode", *subject, sizes.stepping, "0", sizes.steps)
    if "speed" in wanted:
        _steps(run, f"speed {kind}", *subject, sizes.stepping, sizes.steps)
    if "latency" in wanted and is_app:
        _steps(run, f"latency {kind}", *subject, LATENCY_SESSIONS, _latency_steps(run))


def _two_workers(run: Run) -> None:
    """Once: these have no target."""
    if "latency" in run.only:
        for kind, app in KINDS.items():
            for round_, name, place in _alternating(run, _ways(app, 2), 2 * LATENCY_SESSIONS, 1):
                figure = f"latency {kind}, 2 workers"
                steps = _latency_steps(run)
                _steps(run, figure, name, round_, place, LATENCY_SESSIONS, steps)
    if "size" in run.only:
        for round_, name, place in _alternating(run, _ways(SIZED, 2), 2 * WARM, 1):
            _sizes(run, ", 2 workers", name, round_, place)


def _note(run: Run) -> None:
    if "session" in run.only:
        count = f"{run.sizes.own_sessions:,}"
        run.note("session", f"the bursts of the blocking app are {count} sessions, each a thread")
    if "latency" in run.only:
        run.note("latency", f"{LATENCY_SESSIONS} sessions, {_latency_steps(run)} steps each")


def _most(run: Run) -> int:
    return 2 * max(run.sizes.sessions, run.sizes.stepping, LATENCY_SESSIONS)


def _latency_steps(run: Run) -> int:
    return run.sizes.steps if run.quick else LATENCY_STEPS


def _memory(run: Run, figure: str, name: str, round_: int, place: Place, count: int) -> None:
    """Measures the memory of an open session after its first step."""
    more = ("--wait", "0", "--steps", "2")
    outcome, growth, _ = held(run, *place.address, count, place.servers, *more, after=1)
    run.record(figure, name, round_, {"memory_kb": growth / count / 1e3}, outcome)


def _sizes(run: Run, workers: str, name: str, round_: int, place: Place) -> None:
    for size, (length, count, steps) in PAGES.items():
        each = max(2, steps // 20) if run.quick else steps
        _pages(run, f"size {size}{workers}", name, round_, place, (count, each, length))


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


def _alternating(
    run: Run, ways: dict[str, Way], places: int, rounds: int | None = None
) -> Iterator[tuple[int, str, Place]]:
    """Each way in turn, newly started, as many times as the run has rounds."""
    for round_ in range(1, (rounds or run.sizes.rounds) + 1):
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
