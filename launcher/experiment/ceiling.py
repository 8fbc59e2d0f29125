"""Finds ceilings: runs the batches of a search against one target, into one result folder."""

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, TYPE_CHECKING

from analysis.cells.reasons import Bound
from analysis.results.folder import load
from analysis.scaling.ceilings import ceilings, censored
from analysis.scaling.criterion import Criterion
from launcher.errors import LoadFailed, ResultInvalid
from launcher.experiment.cell_runner import CellRunner, ProgressListener
from launcher.experiment.grid import Cell, Grid, MAX_BATCH
from launcher.experiment.load_placement import LoadPlacement
from launcher.experiment.recorder import Recording
from launcher.experiment.search import Bracket, contradiction, find_brackets, Outcome, Range
from launcher.experiment.target import Target
from launcher.system.machine import Limits

if TYPE_CHECKING:
    import pandas as pd

Line = Mapping[str, Any]


@dataclass(frozen=True)
class CeilingSearch:
    """Which ceilings to find, and how exactly. The batches of `grid` are ignored."""

    grid: Grid
    criterion: Criterion
    start: int = 32
    max_batch: int | None = None
    precision: float = 0.05


@dataclass(frozen=True)
class BatchLimit:
    """The largest batch that can be tried, and the name and text of what limits it."""

    batch: int
    bound: Bound
    evidence: str


@dataclass(frozen=True)
class SearchResult:
    wait: float
    brackets: tuple[Bracket, ...]
    lines: tuple[Line, ...]
    limit: BatchLimit


def largest_batch(search: CeilingSearch, target: Target) -> int:
    """The largest batch to prepare for: --max-batch, or what the target can hold where known."""
    capacity = target.state.capacity if target.state else None
    known = [limit for limit in (capacity, target.envoy_sessions) if limit is not None]
    return max(search.start, search.max_batch or min(known, default=0))


def batch_limit(search: CeilingSearch, placement: LoadPlacement) -> BatchLimit:
    """Raises `LoadFailed` when the load cannot open a batch of `start`."""
    grid, target = search.grid, placement.target
    addresses = len(grid.sources) or len(placement.machines)
    with contextlib.closing(placement.runtime()) as runtime:
        runtime.prepare((), placement.programs().files, None)
        limits = load_limits(runtime.limits(), len(placement.nodes), addresses)
    if (held := target.envoy_sessions) is not None:
        limits.append(
            BatchLimit(held, Bound.DESCRIPTORS, f"Envoy can hold {held} sessions (ulimit -n)")
        )
    if search.max_batch is not None:
        text = f"the search was limited by --max-batch {search.max_batch}"
        limits.append(BatchLimit(search.max_batch, Bound.MAX_BATCH, text))
    lowest = min(limits, key=lambda limit: limit.batch)
    needed = max(search.start, grid.expected_hosts or 1)
    if lowest.batch < needed:
        raise LoadFailed(f"cannot start the search with batch {needed}: {lowest.evidence}")
    return lowest


def load_limits(limits: Limits, workers: int, addresses: int) -> list[BatchLimit]:
    """The limits on the sessions of this many load workers on this many source addresses."""
    held, ports = workers * limits.sessions_per_worker, addresses * limits.ports
    return [
        BatchLimit(
            held,
            Bound.DESCRIPTORS,
            f"{workers} load worker(s) can open {held} sessions (ulimit -n); give more --load-workers",
        ),
        BatchLimit(
            ports, Bound.PORTS, f"the load's {addresses} address(es) have {ports} ephemeral ports"
        ),
        BatchLimit(MAX_BATCH, Bound.UNKNOWN, f"no larger batch than {MAX_BATCH:,} is tried"),
    ]


def search_each_wait(
    search: CeilingSearch, limit: BatchLimit, run: Callable[[Cell], Line]
) -> list[SearchResult]:
    """`run` runs a cell and returns its line. Raises what `run` raises."""
    grid = search.grid
    within = Range(search.start, limit.batch, search.precision, grid.expected_hosts or 1)
    results = []
    for wait in grid.waits:
        lines: list[Line] = []
        ask = partial(_ask, search, wait, run, lines)
        results.append(
            SearchResult(wait, find_brackets(within, grid.reps, ask), tuple(lines), limit)
        )
    return results


def _ask(
    search: CeilingSearch,
    wait: float,
    run: Callable[[Cell], Line],
    lines: list[Line],
    repetition: int,
    batch: int,
) -> Outcome:
    line = run(search.grid.cell(search.grid.modes[0], batch, wait, repetition))
    lines.append(line)
    if not line["valid"]:
        return Outcome(False, f"batch {batch} is INVALID: {line['reasons']}")
    return Outcome(search.criterion.met(line))


def find_ceilings(
    search: CeilingSearch,
    placement: LoadPlacement,
    limit: BatchLimit,
    recording: Recording,
    listener: ProgressListener,
) -> list[dict[str, Any]]:
    """Runs the search. Returns a ceiling line for each wait, with its `limit` and `notes`.

    Raises what `CellRunner.run` raises, and `ResultInvalid`."""
    with CellRunner(search.grid, placement, recording, listener) as runner:
        results = search_each_wait(search, limit, partial(_run, runner, placement.target))
        runner.check_valid()
    table = ceilings([load(recording.folder)], search.criterion)
    lines = {line["wait_seconds"]: line for line in table_lines(table)}
    answers = [answer(result, lines[result.wait], search.criterion) for result in results]
    for line in answers:
        if line["ceiling"] is None:
            raise ResultInvalid(f"{sentence(line)}: {'; '.join(line['notes'])}")
    return answers


def _run(runner: CellRunner, target: Target, cell: Cell) -> Line:
    """Raises `PreflightFailed` when the target has stopped, which is not a ceiling."""
    line = runner.run(cell)
    if not line["successful"]:
        target.check_server()
    return line


def answer(result: SearchResult, line: Line, criterion: Criterion) -> dict[str, Any]:
    """The ceiling `line` with what only the search knows. `next_failing` is the smallest batch above
    the ceiling that failed."""
    ceiling = line["ceiling"] or 0
    above = [batch for batch, _, met in _outcomes(result, criterion) if not met and batch > ceiling]
    limit = limit_reached(result)
    bound = {"bound": limit.bound, "bound_evidence": limit.evidence} if limit else {}
    return {
        **line,
        **bound,
        "next_failing": min(above, default=None),
        "limit": limit.evidence if limit else "",
        "notes": notes(result, criterion),
    }


def table_lines(table: "pd.DataFrame") -> list[dict[str, Any]]:
    """The rows of a table, with None for missing values."""
    plain = table.astype(object).where(table.notna(), None)
    return [{str(name): value for name, value in row.items()} for row in plain.to_dict("records")]


def limit_reached(result: SearchResult) -> BatchLimit | None:
    """The limit that stopped the search; None when a batch failed or was inconclusive before it."""
    ended = any(bracket.failing is not None or bracket.problem for bracket in result.brackets)
    return None if ended else result.limit


def notes(result: SearchResult, criterion: Criterion) -> list[str]:
    """Notes on inconclusive or contradictory outcomes."""
    texts = dict.fromkeys(map(_inconclusive, result.brackets))
    texts[contradiction(_outcomes(result, criterion))] = None
    return [text for text in texts if text]


def _outcomes(result: SearchResult, criterion: Criterion) -> list[tuple[int, int, bool]]:
    return [
        (int(line["batch_size"]), int(line["repetition"]), criterion.met(line))
        for line in result.lines
        if line["valid"]
    ]


def _inconclusive(bracket: Bracket) -> str | None:
    if bracket.problem is None or bracket.ceiling == 0:
        return bracket.problem
    return f"unknown above {bracket.ceiling}: {bracket.problem}"


def verdict(line: Line) -> str:
    if line["ceiling"] is None:
        return "unknown"
    return f"at least {line['ceiling']}" if censored(line) else f"{line['ceiling']}"


def sentence(line: Line) -> str:
    """The ceiling in the format of the runbook."""
    return (
        f"max_batch where {line['criterion']} at wait {line['wait_seconds']:g} s: {verdict(line)}"
    )
