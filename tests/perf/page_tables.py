"""The tables of the performance page and the sentences below them, computed from the JSON of a run."""

from collections.abc import Sequence

from tests.perf.table import markdown, number
from tests.perf.targets import median, Result, subjects

CPU = ("user_us", "system_us", "cpu_us")
CPU_HEAD = ("user µs", "kernel µs", "CPU µs per session")


def servers(run: Result) -> str:
    names = list(dict.fromkeys((*subjects(run, "1"), *subjects(run, "2"))))
    body = []
    for name in names:
        memory, speed = median(run, "3", name, "memory_kb"), median(run, "2", name, "steps_per_s")
        p99 = median(run, "2", name, "p99_ms")
        cells = [name, *_medians(run, "1", name, CPU), number(memory), number(speed), number(p99)]
        body.append(cells)
    head = ("server", *CPU_HEAD, "KB per open session", "steps/s", "p99 of a step, ms")
    return markdown(head, body) + _sentences(
        _times(
            run,
            "1",
            "cpu_us",
            "kit",
            ("picows", "stock OpenEnv", "plain FastAPI"),
            "CPU per session",
        ),
        _bound_by_load(run),
    )


def loads(run: Result) -> str:
    body = [[name, *_medians(run, "4", name, CPU)] for name in subjects(run, "4")]
    peers = [name for name in subjects(run, "4") if name != "kit"]
    life, recorder = median(run, "4", "kit", "life_us"), median(run, "4", "kit", "recorder_us")
    more = None
    if life is not None:
        more = (
            f"Including the start and stop of its load workers, the kit needs {number(life)} µs; the Locust "
            f"master and the recorder add {number(recorder)} µs per session."
        )
    return markdown(("load", *CPU_HEAD), body) + _sentences(
        _times(run, "4", "cpu_us", "kit", peers, "CPU per session"), more
    )


def envoys(run: Result) -> str:
    body = []
    for name in subjects(run, "5"):
        memory = median(run, "5 memory", name, "memory_kb")
        body.append([name, *_medians(run, "5", name, CPU), number(memory)])
    return markdown(("Envoy", *CPU_HEAD, "KB per open session"), body) + _sentences(
        _times(run, "5", "cpu_us", "kit", ("plain Envoy",), "CPU per session"),
        _times(run, "5 memory", "memory_kb", "kit", ("plain Envoy",), "memory per open session"),
    )


def ways(run: Result) -> str:
    body = []
    for name in subjects(run, "ways"):
        memory = median(run, "ways memory", name, "memory_kb")
        body.append([name, *_medians(run, "ways", name, CPU), number(memory)])
    intro = (
        "Each line is the kit's configuration with one change, on one thread, in front of the same servers. "
        "A saving counts only if it costs nothing: retries find the last free place, and operators read the "
        "statistics. A TCP proxy, which does not parse HTTP, is the floor.\n\n"
    )
    return intro + markdown(("change", *CPU_HEAD, "KB per open session"), body)


def whole(run: Result) -> str:
    sizes, body = run["sizes"], []
    for figure, sessions, what, value in (
        ("6", sizes["sessions"], "burst, wall time in s", "wall"),
        ("7", sizes["large"], "burst, wall time in s", "wall"),
        ("8", sizes["held"], "held open, seconds until all are open", "opened_s"),
        ("8", sizes["held"], "held open, GiB of the whole machine", "memory_gib"),
        ("9", sizes["large"], "burst, max/mean sessions per worker", "max_over_mean"),
    ):
        for name in subjects(run, figure):
            measured = number(median(run, figure, name, value))
            body.append([f"{sessions:,}", what, name, measured])
    return markdown(("sessions", "what", "by", "median"), body) + _sentences(
        _times(run, "6", "wall", "kit", ("asyncio client + stock",), "wall time of a burst")
    )


def scaling(run: Result) -> str:
    body = []
    bounds = {each["of"]: each["note"] for each in run["measurements"] if each["figure"] == "10"}
    for name in subjects(run, "10"):
        ceiling, efficiency = (
            median(run, "10", name, "ceiling"),
            median(run, "10", name, "efficiency"),
        )
        low, high = median(run, "10", name, "low"), median(run, "10", name, "high")
        interval = f"{_percent(low)}–{_percent(high)}"
        body.append([name, number(ceiling), _percent(efficiency), interval, bounds[name]])
    if not body:
        return f"Not measured: {run['figures']['10']['error']}.\n"
    other = [name for name, bound in bounds.items() if "server CPU" not in bound]
    caution = (
        f"The servers were not the limit with {', '.join(other)}, "
        "so the efficiency does not describe the servers."
        if other
        else None
    )
    head = ("", "ceiling, sessions", "efficiency", "interval", "limited by")
    return markdown(head, body) + _sentences(caution)


def where(run: Result) -> str:
    names = subjects(run, "where")
    total = sum(median(run, "where", name, "cpu_us") or 0.0 for name in names)
    body = []
    for name in names:
        share = (median(run, "where", name, "cpu_us") or 0.0) / total if total else None
        body.append([name, *_medians(run, "where", name, CPU), _percent(share)])
    text = None
    if total:
        sessions, cores = run["sizes"]["sessions"], run["machine"]["cores"]
        busy = sessions * total / 1e6 / cores
        wall = median(run, "6", "kit", "wall")
        text = (
            f"In total, a session takes {number(total)} µs of CPU: a burst of {sessions:,} keeps {cores} "
            f"cores busy for {number(busy)} of the {number(wall)} s that it takes, which include the "
            f"step's wait of {run['sizes']['wait']:g} s."
        )
    return markdown(("", *CPU_HEAD, "share"), body) + _sentences(text)


def layers(run: Result) -> str:
    body: list[list[str]] = []
    floor: float | None = None
    for name in subjects(run, "layers"):
        used = median(run, "layers", name, "cpu_us")
        more = None if floor is None or used is None else used - floor
        body.append([name, *_medians(run, "layers", name, CPU), number(more)])
        floor = used if floor is None else floor
    return markdown(("layer", *CPU_HEAD, "more than the first layer"), body)


def own(run: Result) -> str:
    names, body = subjects(run, "own"), []
    for name in names:
        memory = median(run, "own memory", name, "memory_kb")
        speed = median(run, "own steps", name, "steps_per_s")
        cells = [*_medians(run, "own", name, CPU), number(memory), number(speed)]
        body.append([name, *cells, number(median(run, "own steps", name, "p99_ms"))])
    head = ("", *CPU_HEAD, "KB per open session", "steps/s", "p99 of a step, ms")
    intro = (
        "The same app, made by OpenEnv's `create_app` with a blocking step, runs under plain uvicorn and "
        "under the kit (`launcher up --app module:app`).\n\n"
    )
    return (
        intro
        + markdown(head, body)
        + _sentences(*(_carried(run, *each) for each in CARRIED if len(names) > 1))
    )


CARRIED = (
    ("own", "cpu_us", "CPU per session"),
    ("own memory", "memory_kb", "memory per open session"),
    ("own steps", "steps_per_s", "steps per second"),
)


def _carried(run: Result, figure: str, value: str, what: str) -> str | None:
    names = subjects(run, figure)
    return _times(run, figure, value, names[0], names[1:], what) if names else None


def own_work(run: Result) -> str:
    sample, share = (median(run, "sampling", "kit", name) for name in ("sample_ms", "core_percent"))
    seconds, peak, rows = (
        median(run, "summary", "kit", n) for n in ("seconds", "peak_mib", "rows")
    )
    body = []
    if sample is not None:
        what = f"a sample of all processes, {run['sizes']['sampled']:,} sessions open"
        body.append([what, f"{number(sample)} ms of CPU", f"{number(share)} % of a core"])
    if seconds is not None:
        what = f"the summary of {rows:,.0f} rows"
        body.append([what, f"{number(seconds)} s", f"{number(peak)} MiB in the largest process"])
    return markdown(("what", "time", "and"), body)


def _medians(run: Result, figure: str, name: str, values: Sequence[str]) -> list[str]:
    return [number(median(run, figure, name, value)) for value in values]


def _times(
    run: Result, figure: str, value: str, name: str, peers: Sequence[str], what: str
) -> str | None:
    """A sentence that compares a figure with those of its peers, or None without both."""
    own = median(run, figure, name, value)
    comparisons = [
        f"{own / other:.3g} × that of {peer}"
        for peer in peers
        if own is not None and (other := median(run, figure, peer, value)) and other > 0
    ]
    return (
        f"{what[0].upper()}{what[1:]} of {name}: {', '.join(comparisons)}." if comparisons else None
    )


def _bound_by_load(run: Result) -> str | None:
    """A caution about servers that the one core of the client could not saturate."""
    busy = [n for n in subjects(run, "2") if (median(run, "2", n, "load_busy") or 0) > 0.9]
    if not busy:
        return None
    servers = ", ".join(busy)
    return f"The steps per second of {servers} are a lower bound, because the load was at its own limit."


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.0f} %"


def _sentences(*texts: str | None) -> str:
    joined = " ".join(each for each in texts if each)
    return f"\n{joined}\n" if joined else ""
