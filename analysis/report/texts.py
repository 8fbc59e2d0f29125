"""The texts of codes: each verdict, status, caveat and note has its text here and nowhere else."""

from collections.abc import Iterable, Mapping
from typing import Any

from analysis.cells.reasons import Bound
from analysis.compare import compare
from analysis.compare.comparable import Difference, DifferenceCode
from analysis.report.formatting import count, listed, percent, plural
from analysis.scaling.ceilings import CeilingStatus
from analysis.scaling.efficiency import (
    Band,
    Caveat,
    CaveatCode,
    Cells,
    Interpretation,
    LowerBound,
    Verdict,
)
from analysis.scaling.usl import MIN_SERVER_COUNTS, NoFit, NoFitCode

CEILINGS: Mapping[CeilingStatus, str] = {
    CeilingStatus.MEASURED: "ceiling {ceiling} sessions with mean success {success}",
    CeilingStatus.NONE_PASSED: "no batch met the criterion",
    CeilingStatus.NO_FAILURE: "at least {ceiling} sessions; no larger batch failed, so the ceiling was "
    "not reached",
    CeilingStatus.INVALID_ABOVE: "at least {ceiling} sessions; {first_invalid} is INVALID, so the ceiling "
    "is unknown",
    CeilingStatus.LOAD_LIMITED: f"at least {{ceiling}} sessions; the {Bound.LOAD} was the limit, so the "
    "servers may hold more",
    CeilingStatus.NO_VALID_CELL: "no ceiling, because no cell is VALID",
    CeilingStatus.INVALID_BELOW: "no ceiling, because {first_invalid} is INVALID",
}

LOWER_BOUNDS: Mapping[CeilingStatus, str] = {
    CeilingStatus.NO_FAILURE: "is only known to be at least {ceiling}: no larger batch failed",
    CeilingStatus.INVALID_ABOVE: "is only known to be at least {ceiling}: {first_invalid} is INVALID",
    CeilingStatus.LOAD_LIMITED: f"is the {Bound.LOAD}'s, so the servers' ceiling is at least {{ceiling}}",
}

BANDS: Mapping[Band, str] = {
    Band.OVERHEAD: "significant overhead (below 90 %)",
    Band.GOOD: "good linear scaling (90 to 100 %)",
    Band.SUPERLINEAR: "superlinear (above 100 %)",
}

VERDICTS: Mapping[Verdict, str] = {
    Verdict.BASELINE: "baseline",
    Verdict.NO_BASELINE: "no batch met the criterion at the baseline, so there is nothing to compare with",
    Verdict.OVERHEAD: "significant overhead, investigate load balancer",
    Verdict.GOOD: "good linear scaling",
    Verdict.ABOVE_LINEAR: "good linear scaling: not distinguishable from 100 %",
    Verdict.SUPERLINEAR: "superlinear: not plausible without a cause; check that caps and criterion are "
    "the same, that the baseline's ceiling is its server's and not the load generator's, and that every "
    "server answered",
    Verdict.AT_LEAST: "at least {efficiency}: {why}",
    Verdict.AT_MOST: "at most {efficiency}: {why}",
    Verdict.UNDETERMINED: "unknown: {why}",
}

SKEWED = (
    f"the baseline's bound is {Bound.SKEW}, which explains more than 100 %: without Envoy, a node refuses "
    "sessions while one of its workers still has places; --baseline envoy avoids this"
)

CAVEATS: Mapping[CaveatCode, str] = {
    CaveatCode.NO_VALID_CELL: "{folder}: no valid cell of {cells}, so no ceiling",
    CaveatCode.INVALID_BELOW: "{folder}: {first_invalid} is INVALID and no batch met the criterion, so no "
    "ceiling of {cells}",
    CaveatCode.SERVERS_UNKNOWN: "{folder}: left out, because the number of servers is unknown",
    CaveatCode.CAPS_UNKNOWN: "{folder}: unknown {caps}: caps may differ between phases",
    CaveatCode.LOWER_BOUND: "{folder}: {cells}: {lower_bound}",
    CaveatCode.ONE_REPETITION: "{folder}: one repetition of {cells}, so no interval",
    CaveatCode.ONE_SERVER_COUNT: "{folder}: the only number of servers, so there is no scaling",
}

NO_FITS: Mapping[NoFitCode, str] = {
    NoFitCode.TOO_FEW_SERVER_COUNTS: f"the law has {MIN_SERVER_COUNTS} parameters, but ceilings are known "
    "for {known} only{lower_bounds}",
    NoFitCode.NOT_THE_LAW: "the ceilings do not follow the scalability law: they fall steeply as servers "
    "are added",
    NoFitCode.NO_SCIPY: 'the fit needs scipy: pip install -e ".[analysis]"',
}

DIFFERENCES: Mapping[DifferenceCode, str] = {
    DifferenceCode.CAP_UNKNOWN: "{name} is not known for both results, so it may differ",
    DifferenceCode.ARRIVALS_UNKNOWN: "the arrivals of sessions are not known for both results, so they "
    "may differ",
    DifferenceCode.SETTING: "{name} differs: {ours} in {a}, {theirs} in {b}",
}

BASES: Mapping[compare.Basis, str] = {
    compare.Basis.REPETITIONS: "",
    compare.Basis.CELLS: "by the means of cells",
    compare.Basis.SESSIONS: "by sessions: {repetitions}",
    compare.Basis.NONE: f"not tested: {{repetitions}}; give --reps {compare.MIN_REPETITIONS} or more",
}


def interpretation(one: Interpretation) -> str:
    why = "; ".join(map(lower_bound, one.lower_bounds))
    text = VERDICTS[one.verdict].format(efficiency=percent(one.efficiency), why=why)
    if one.reaches:
        source = "the interval" if one.resampled else "the bracket of one repetition"
        bands = " and ".join(BANDS[band] for band in one.reaches)
        text += f", but {source} reaches into {bands}"
    return f"{text}; {SKEWED}" if one.skewed else text


def lower_bound(one: LowerBound) -> str:
    text = LOWER_BOUNDS[one.status].format(
        ceiling=count(one.ceiling), first_invalid=_count(one.first_invalid)
    )
    return f"the ceiling of {plural(one.servers, 'server')} {text}"


def caveat(one: Caveat) -> str:
    return CAVEATS[one.code].format(
        folder=one.folder,
        cells=_cells(one.cells) if one.cells else "",
        caps=" and ".join(one.caps),
        lower_bound=lower_bound(one.lower_bound) if one.lower_bound else "",
        first_invalid=_count(one.first_invalid),
    )


def no_fit(one: NoFit) -> str:
    bounds = [f"{number:,}" for number in one.lower_bounds]
    return NO_FITS[one.code].format(
        known=plural(one.known, "number") + " of servers",
        lower_bounds=f"; for {listed(bounds)} servers they are lower bounds" if bounds else "",
    )


def _cells(cells: Cells) -> str:
    return f"{cells.mode} {cells.shape}, wait {cells.wait_seconds:g} s, steps {cells.steps}"


def _count(number: Any) -> str:
    return "" if number is None else count(number)


def comparison(result: compare.Comparison) -> dict[str, Any]:
    """The comparison with its texts, as `launcher compare --json` prints it."""
    return {
        "a": result.a,
        "b": result.b,
        "changes": [_change(change) for change in result.changes],
        "notes": [_note(note) for note in result.notes],
        "missing": sorted(_missing(missing, result.b) for missing in result.missing),
        "untold": _not_tested(result.changes),
        "worse": result.worse,
    }


def _change(change: compare.Change) -> dict[str, Any]:
    return {
        "cell": f"all {change.cells} cells" if change.cell is None else _cell(change.cell),
        "measure": change.measure,
        "a": change.a,
        "b": change.b,
        "relative": change.relative,
        "beyond_noise": change.verdict in (compare.Verdict.WORSE, compare.Verdict.BETTER),
        "worse": change.verdict is compare.Verdict.WORSE,
        "note": _basis(change.basis, change.repetitions),
        "p": change.p,
    }


def _basis(basis: compare.Basis, repetitions: int) -> str:
    return BASES[basis].format(repetitions=plural(repetitions, "repetition"))


def _not_tested(changes: Iterable[compare.Change]) -> list[str]:
    groups: dict[int, list[compare.Change]] = {}
    for change in changes:
        if change.basis is compare.Basis.NONE:
            groups.setdefault(change.repetitions, []).append(change)
    return [
        f"{', '.join(dict.fromkeys(change.measure for change in some))} of "
        f"{plural(len({change.cell for change in some}), 'cell')}: {_basis(compare.Basis.NONE, repetitions)}"
        for repetitions, some in groups.items()
    ]


def _note(note: Difference | compare.LeftOut) -> str:
    if isinstance(note, Difference):
        return DIFFERENCES[note.code].format(**vars(note))
    cells = ", ".join(sorted(map(_cell, note.cells)))
    if note.lines:
        return f"{note.folder}: {plural(note.lines, 'INVALID line')} left out: {cells}"
    return f"only {note.folder} has valid lines of: {cells}"


def _missing(missing: compare.Missing, b: str) -> str:
    why = f"not in {b}" if missing.reasons is None else f"INVALID in {b} ({missing.reasons})"
    return f"{_cell(missing.cell)}: {why}"


def _cell(cell: compare.Cell) -> str:
    rate = "" if cell.arrival_rate is None else f" arrival rate {cell.arrival_rate:g}"
    return (
        f"{cell.mode} {cell.shape} batch {cell.batch_size} wait {cell.wait_seconds:g} steps "
        f"{cell.steps}{rate}"
    )
