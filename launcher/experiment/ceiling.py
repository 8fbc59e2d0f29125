"""Finds ceilings: the batches of a search, run against one URL into one result folder."""

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, TYPE_CHECKING

from analysis.cells.codes import Bound
from analysis.results.folder import load
from analysis.scaling.ceilings import ceilings, censored
from analysis.scaling.criterion import Criterion
from launcher.errors import LoadFailed, ResultInvalid
from launcher.experiment.cell_runner import Bench, Watcher
from launcher.experiment.grid import Cell, Grid, MAX_BATCH
from launcher.experiment.grid_run import record
from launcher.experiment.load_placement import LoadPlace
from launcher.experiment.recorder import Recording
from launcher.experiment.search import contradiction, Found, Outcome, Range, search
from launcher.experiment.target import check_server, deployment_at
from launcher.system.limits import Limits, limits

if TYPE_CHECKING:
    import pandas as pd

Line = Mapping[str, Any]


@dataclass(frozen=True)
class Wanted:
    """Which ceilings to find, how exactly; of `grid` all counts but its batches."""

    grid: Grid
    criterion: Criterion
    start: int = 32
    max_batch: int | None = None
    precision: float = 0.05


@dataclass(frozen=True)
class Most:
    """The largest batch that can be tried, what keeps it there, by name, and in words."""

    batch: int
    by: Bound
    story: str


@dataclass(frozen=True)
class Sought:
    """What the search for the ceiling at one wait has come to."""

    wait: float
    found: tuple[Found, ...]
    lines: tuple[Line, ...]
    most: Most


def largest(wanted: Wanted) -> int:
    """The largest batch that is worth being prepared for: what was asked for, or what can be behind
    the URL at all, as far as that is known."""
    state = deployment_at(wanted.grid.url)
    known = [] if state is None else [int(state["capacity"]), int(state["envoy_sessions"])]
    return max(wanted.start, wanted.max_batch or min(known, default=0))


def most(wanted: Wanted, place: LoadPlace) -> Most:
    """Raises `LoadFailed` when the load cannot open a batch of `start`."""
    grid = wanted.grid
    bounds = opens(_limits(place), len(place.nodes), len(grid.sources) or len(place.machines))
    state = deployment_at(grid.url)
    if state is not None and state["url"] == grid.url:
        holds = int(state["envoy_sessions"])
        if state["connection"]["ENVOY_NODE"]:
            bounds.append(
                Most(holds, Bound.DESCRIPTORS, f"Envoy can hold {holds} sessions (ulimit -n)")
            )
    if wanted.max_batch is not None:
        asked = f"--max-batch {wanted.max_batch}"
        bounds.append(Most(wanted.max_batch, Bound.MAX_BATCH, f"it was searched up to {asked}"))
    lowest = min(bounds, key=lambda bound: bound.batch)
    needed = max(wanted.start, grid.expected_hosts or 1)
    if lowest.batch < needed:
        raise LoadFailed(f"a search that begins with batch {needed} is too much: {lowest.story}")
    return lowest


def opens(limits: Limits, workers: int, addresses: int) -> list[Most]:
    """What keeps so many load workers on so many addresses from opening more sessions."""
    held, ports = workers * limits.sessions_per_worker, addresses * limits.ports
    return [
        Most(
            held,
            Bound.DESCRIPTORS,
            f"{workers} load worker(s) can open {held} sessions (ulimit -n); give more --load-workers",
        ),
        Most(
            ports, Bound.PORTS, f"the load's {addresses} address(es) have {ports} ephemeral ports"
        ),
        Most(MAX_BATCH, Bound.UNKNOWN, f"no larger batch than {MAX_BATCH:,} is tried"),
    ]


def _limits(place: LoadPlace) -> Limits:
    if place.here:
        return limits()
    with contextlib.closing(place.runtime()) as runtime:
        runtime.prepare((), place.programs().files, None)
        return runtime.limits()


def seek(wanted: Wanted, most: Most, run: Callable[[Cell], Line]) -> list[Sought]:
    """A search for every wait. Raises what `run` raises."""
    grid = wanted.grid
    within = Range(wanted.start, most.batch, wanted.precision, grid.expected_hosts or 1)
    sought = []
    for wait in grid.waits:
        lines: list[Line] = []
        ask = partial(_ask, wanted, wait, run, lines)
        sought.append(Sought(wait, search(within, grid.reps, ask), tuple(lines), most))
    return sought


def _ask(
    wanted: Wanted,
    wait: float,
    run: Callable[[Cell], Line],
    lines: list[Line],
    repetition: int,
    batch: int,
) -> Outcome:
    line = run(wanted.grid.cell(wanted.grid.modes[0], batch, wait, repetition))
    lines.append(line)
    if not line["valid"]:
        return Outcome(False, f"batch {batch} is INVALID: {line['reasons']}")
    return Outcome(wanted.criterion.met(line))


def begin(wanted: Wanted, place: LoadPlace, settings: Mapping[str, Any]) -> Recording:
    """The result folder; `settings` are kept in run.json, to go on with. Raises `UsageError`."""
    return record(wanted.grid, place, {"search": dict(settings)})


def find(
    wanted: Wanted, place: LoadPlace, most: Most, recording: Recording, watcher: Watcher
) -> list[dict[str, Any]]:
    """Runs the search; the lines of the ceilings, one for each wait, each with its `limit` and `notes`.

    Raises what `Bench.run` raises, and `ResultInvalid`."""
    with Bench(wanted.grid, place, recording, watcher) as bench:
        sought = seek(wanted, most, partial(_run, bench))
        if wanted.grid.require_valid:
            bench.require_valid()
    table = ceilings([load(recording.folder)], wanted.criterion)
    lines = {line["wait_seconds"]: line for line in table_lines(table)}
    answers = [answer(one, lines[one.wait], wanted.criterion) for one in sought]
    for line in answers:
        if line["ceiling"] is None:
            raise ResultInvalid(f"{sentence(line)}: {'; '.join(line['notes'])}")
    return answers


def _run(bench: Bench, cell: Cell) -> Line:
    """A deployment that has ended is no ceiling. Raises `PreflightFailed`."""
    line = bench.run(cell)
    if not line["successful"]:
        check_server(str(line["url"]))
    return line


def answer(sought: Sought, line: Line, criterion: Criterion) -> dict[str, Any]:
    """`line` of the ceilings, and what the search knows besides. `next_failing` is the smallest batch
    above the ceiling that failed."""
    ceiling = line["ceiling"] or 0
    above = [batch for batch, _, met in _outcomes(sought, criterion) if not met and batch > ceiling]
    stopped = limit(sought)
    story = stopped.story if stopped else ""
    bound = {"bound": stopped.by, "bound_evidence": story} if stopped else {}
    return {
        **line,
        **bound,
        "next_failing": min(above, default=None),
        "limit": story,
        "notes": notes(sought, criterion),
    }


def table_lines(table: "pd.DataFrame") -> list[dict[str, Any]]:
    """What is missing is None."""
    plain = table.astype(object).where(table.notna(), None)
    return [{str(name): value for name, value in row.items()} for row in plain.to_dict("records")]


def limit(sought: Sought) -> Most | None:
    """What the search could not go beyond, when no batch failed before."""
    ended = any(found.failing is not None or found.trouble for found in sought.found)
    return None if ended else sought.most


def notes(sought: Sought, criterion: Criterion) -> list[str]:
    """What could not be told, and what does not fit together."""
    told = dict.fromkeys(map(_trouble, sought.found))
    told[contradiction(_outcomes(sought, criterion))] = None
    return [text for text in told if text]


def _outcomes(sought: Sought, criterion: Criterion) -> list[tuple[int, int, bool]]:
    return [
        (int(line["batch_size"]), int(line["repetition"]), criterion.met(line))
        for line in sought.lines
        if line["valid"]
    ]


def _trouble(found: Found) -> str | None:
    if found.trouble is None or found.ceiling == 0:
        return found.trouble
    return f"cannot be told beyond {found.ceiling}: {found.trouble}"


def verdict(line: Line) -> str:
    """A number, or the least that the ceiling is."""
    if line["ceiling"] is None:
        return "cannot be told"
    return f"at least {line['ceiling']}" if censored(line) else f"{line['ceiling']}"


def sentence(line: Line) -> str:
    """The ceiling in the words of the runbook."""
    return (
        f"max_batch where {line['criterion']} at wait {line['wait_seconds']:g} s: {verdict(line)}"
    )
