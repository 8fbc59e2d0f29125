"""The targets, and whether a run meets them: from the JSON of a run to the lines of a table."""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Result = Mapping[str, Any]
Measured = Mapping[str, Any]


@dataclass(frozen=True)
class Target:
    """A limit for one value: at most `most`, at least `least`, or at most `ratio` times a peer's value (at
    least, where more is better)."""

    number: str
    what: str
    figure: str
    value: str
    unit: str
    of: str = "kit"
    most: float | None = None
    least: float | None = None
    peer: str | None = None
    ratio: float | None = None
    more_is_better: bool = False
    against: str | None = None  # the figure of the peer's value, where it differs
    every: bool = False  # the worst measurement counts instead of the median

    @property
    def limit_text(self) -> str:
        if self.ratio is not None:
            return f"{'≥' if self.more_is_better else '≤'} {_number_text(self.ratio)} ×"
        if self.most is not None:
            return f"≤ {_number_text(self.most)} {self.unit}".strip()
        return f"≥ {_number_text(self.least or 0)} {self.unit}".strip()


STOCK, OWN, ENVOY = "stock OpenEnv", "kit's own environment", "kit, Envoy"
KINDS, SIZES = ("async", "blocking"), ("10 KB", "200 KB", "2 MB")
SESSION, LONG = "CPU of a session (connect, reset, step, close)", "CPU of a session of 100 steps"


def _app(
    figure: str, what: str, value: str, unit: str, peer: str, ratio: float, of: str = "kit"
) -> Target:
    number, more = figure.partition(" ")[0], unit.endswith("/s")
    return Target(
        *(number, what, figure, value, unit), of=of, peer=peer, ratio=ratio, more_is_better=more
    )


def _latency(workers: str = "") -> Iterable[Target]:
    for kind in KINDS:
        for name in ("p50", "p99"):
            what = f"{name} of a step, 64 sessions, {kind} app{workers}"
            yield _app(f"latency {kind}{workers}", what, f"{name}_ms", "ms", STOCK, 1, ENVOY)


def _size(workers: str = "") -> Iterable[Target]:
    for size in SIZES:
        what = f"observations of {size}{workers}"
        yield _app(f"size {size}{workers}", what, "mb_per_s", "MB/s", STOCK, 1.5, ENVOY)


# A user's app under the kit and the same app under plain uvicorn, each with one process.
APPS = (
    _app("session async", f"{SESSION}, async app", "cpu_us", "µs", OWN, 1.5),
    _app("session async", f"{SESSION}, async app", "cpu_us", "µs", STOCK, 0.2),
    _app("session blocking", f"{SESSION}, blocking app", "cpu_us", "µs", STOCK, 0.35),
    _app("speed async", "steps, 1,000 sessions × 100, async app", "steps_per_s", "/s", STOCK, 8),
    _app(
        *("speed blocking", "steps, 1,000 sessions × 100, blocking app", "steps_per_s", "/s"),
        *(STOCK, 3),
    ),
    *_latency(),
    _app("episode", f"{LONG}, own environment", "cpu_us", "µs", "picows", 1.3, OWN),
    _app("episode", f"{LONG}, async app", "cpu_us", "µs", "picows", 2),
    _app(
        "memory blocking", "memory of an open session, blocking app", "memory_kb", "KB", STOCK, 0.5
    ),
    *_size(),
)
# The same with two workers on either side: they, Envoy and the load share the two cores.
TWO_WORKERS = (*_latency(", 2 workers"), *_size(", 2 workers"))
SERVER, STEPS = "server, CPU per session", "server, steps"
KIT = (
    Target("1", SERVER, "1", "cpu_us", "µs", peer="picows", ratio=1.5),
    Target("1", SERVER, "1", "cpu_us", "µs", peer="stock OpenEnv", ratio=1 / 6),
    Target(
        "2", STEPS, "2", "steps_per_s", "/s", peer="stock OpenEnv", ratio=5, more_is_better=True
    ),
    Target("2", "server, p99 of a step", "2", "p99_ms", "ms", peer="stock OpenEnv", ratio=1 / 5),
    Target("3", "server, memory per open session", "3", "memory_kb", "KB", most=15),
    Target(
        *("3", "server, memory per open session", "3", "memory_kb", "KB"),
        peer="stock OpenEnv",
        ratio=1 / 5,
    ),
    Target("4", "load, CPU per recorded session", "4", "cpu_us", "µs", most=500),
    Target(
        *("4", "load, CPU per recorded session", "4", "cpu_us", "µs"),
        peer="asyncio websockets",
        ratio=0.5,
    ),
    Target("5", "Envoy, CPU per session", "5", "cpu_us", "µs", most=300),
    Target("5", "Envoy, memory per open session", "5 memory", "memory_kb", "KB", most=30),
    Target("6", "whole kit, wall time of a burst", "6", "wall", "s", most=4),
    Target(
        *("6", "whole kit, wall time of a burst", "6", "wall", "s"),
        peer="asyncio client + stock",
        ratio=0.33,
    ),
    Target("7", "whole kit, wall time of a large burst", "7", "wall", "s", most=13),
    Target(
        *("7", "large burst relative to the small one", "7", "wall", "s"),
        peer="kit",
        ratio=4.4,
        against="6",
    ),
    Target("7", "large burst, success", "7", "success", "", least=1, every=True),
    Target("8", "held open at the same time, success", "8", "success", "", least=1, every=True),
    Target("8", "held open, time until all are open", "8", "opened_s", "s", most=150),
    Target("8", "held open, memory of the whole machine", "8", "memory_gib", "GiB", most=22),
    Target(
        "9",
        "balance, max/mean sessions per worker",
        "9",
        "max_over_mean",
        "",
        most=1.05,
        every=True,
    ),
    Target("10", "efficiency at 2 nodes", "10", "efficiency", "", of="2 servers", least=0.95),
    Target("10", "efficiency at 4 nodes", "10", "efficiency", "", of="4 servers", least=0.95),
    Target("11", "time until ready, 4 servers", "11", "ready_s", "s", most=3),
)
TARGETS = (*APPS, *KIT)


@dataclass(frozen=True)
class Line:
    """A target and the run's value for it; `met` is None, with the reason in `why`, if it is unknown."""

    target: Target
    figure: float | None = None
    low: float | None = None
    high: float | None = None
    peer: float | None = None
    ratio: float | None = None
    met: bool | None = None
    why: str = ""

    @property
    def verdict(self) -> str:
        return {True: "met", False: "NOT MET", None: "not measured"}[self.met]


def lines(run: Result, targets: Iterable[Target] = TARGETS) -> list[Line]:
    """One line for each target of a requested figure."""
    requested = set(run["figures"])
    return [line(run, each) for each in targets if each.number in requested]


def line(run: Result, target: Target) -> Line:
    measured = values(run, target.figure, target.of, target.value)
    if not measured:
        return Line(target, why=_why_not(run, target, target.figure, target.of))
    figure = _worst(target, measured) if target.every else statistics.median(measured)
    low, high = _spread(run, target, measured)
    if target.peer is None:
        return Line(target, figure, low, high, met=_within(target, figure))
    others = values(run, target.against or target.figure, target.peer, target.value)
    if not others:
        why = _why_not(run, target, target.against or target.figure, target.peer)
        return Line(target, figure, low, high, why=why)
    peer = statistics.median(others)
    if peer <= 0:
        return Line(target, figure, low, high, peer, why=f"{target.peer} measured {peer:g}")
    ratio, limit = figure / peer, target.ratio or 0.0
    met = ratio >= limit if target.more_is_better else ratio <= limit
    return Line(target, figure, low, high, peer, ratio, met)


def values(run: Result, figure: str, of: str, value: str) -> list[float]:
    """The valid measurements: those without failed sessions, except for the success share itself."""
    if value == "success":
        return [
            1 - each["failed"] / each["sessions"]
            for each in _measurements(run, figure, of)
            if each["sessions"]
        ]
    return [
        each["values"][value]
        for each in _measurements(run, figure, of)
        if not each["failed"] and each["values"].get(value) is not None
    ]


def median(run: Result, figure: str, of: str, value: str) -> float | None:
    measured = values(run, figure, of, value)
    return statistics.median(measured) if measured else None


def subjects(run: Result, figure: str) -> list[str]:
    """The subjects measured for a figure, in the order of the run."""
    names = [each["of"] for each in run["measurements"] if each["figure"] == figure]
    return list(dict.fromkeys(names))


def failures(run: Result) -> list[str]:
    """One line for each measurement with failed sessions."""
    return [
        f"{each['figure']}, {each['of']}, round {each['round']}: {each['failed']} of "
        f"{each['sessions']} sessions failed ({_errors(each['errors'])}), so the measurement does not count"
        for each in run["measurements"]
        if each["failed"]
    ]


def _measurements(run: Result, figure: str, of: str) -> Sequence[Measured]:
    return [m for m in run["measurements"] if m["figure"] == figure and m["of"] == of]


def _spread(run: Result, target: Target, measured: list[float]) -> tuple[float, float]:
    """The lowest and the highest value; for an efficiency, its interval."""
    low = values(run, target.figure, target.of, "low")
    high = values(run, target.figure, target.of, "high")
    return (low[0], high[0]) if low and high else (min(measured), max(measured))


def _worst(target: Target, measured: list[float]) -> float:
    return min(measured) if target.least is not None else max(measured)


def _within(target: Target, figure: float) -> bool:
    if target.most is not None:
        return figure <= target.most
    return figure >= (target.least or 0.0)


def _why_not(run: Result, target: Target, figure: str, of: str) -> str:
    failed = sum(each["failed"] for each in _measurements(run, figure, of))
    if failed:
        return f"{of}: sessions failed in every measurement"
    error = run["figures"].get(target.number, {}).get("error")
    return error or f"{of} was not measured in this run"


def _errors(errors: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in errors.items()) or "unknown"


def _number_text(number: float) -> str:
    return f"{number:,.3g}"
