"""How the ceiling grows with the number of servers."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from enum import auto, Enum, IntEnum
from typing import Any, NamedTuple

import pandas as pd

from analysis.cells.reasons import Bound
from analysis.cells.summary import whole
from analysis.errors import ResultsError
from analysis.scaling.brackets import interval, means, parse
from analysis.scaling.ceilings import CeilingStatus, censored, GROUP, Line, LOWER_BOUNDS, status

COLUMNS = [
    "mode", "shape", "wait_seconds", "steps", "servers", "ceiling", "ceiling_low",
    "ceiling_high", "expected_linear", "scaling_factor", "factor_low", "factor_high",
    "efficiency", "efficiency_low", "efficiency_high", "interpretation", "bound",
    "efficiency_of_means",
]  # fmt: skip
CAPS = ("max_concurrent_envs", "workers_per_node")


class Band(IntEnum):
    OVERHEAD = 0
    GOOD = 1
    SUPERLINEAR = 2

    @classmethod
    def of(cls, efficiency: float) -> "Band":
        rounded = round(efficiency, 9)  # 0.9 / 1.0 and 1.8 / 2.0 are in the same band
        return cls.OVERHEAD if rounded < 0.9 else cls.GOOD if rounded <= 1 else cls.SUPERLINEAR


class Verdict(Enum):
    """What an efficiency shows. ABOVE_LINEAR is more than 100 %, with an interval that contains 100 %.
    AT_LEAST, AT_MOST and UNDETERMINED are for ceilings that are lower bounds."""

    BASELINE = auto()
    NO_BASELINE = auto()
    OVERHEAD = auto()
    GOOD = auto()
    ABOVE_LINEAR = auto()
    SUPERLINEAR = auto()
    AT_LEAST = auto()
    AT_MOST = auto()
    UNDETERMINED = auto()


class Cells(NamedTuple):
    mode: str
    shape: str
    wait_seconds: float
    steps: int


class LowerBound(NamedTuple):
    """A ceiling that is only known to be at least `ceiling`, and why."""

    servers: int
    ceiling: int
    status: CeilingStatus
    first_invalid: int | None


class Interval(NamedTuple):
    """A 95 % interval if `resampled`, or else everything that the brackets allow. `high` may be
    infinite; both ends are NaN when nothing is known."""

    low: float
    high: float
    resampled: bool

    def __truediv__(self, divisor: float) -> "Interval":
        return Interval(self.low / divisor, self.high / divisor, self.resampled)


NO_INTERVAL = Interval(math.nan, math.nan, False)


@dataclass(frozen=True)
class Interpretation:
    """`reaches` are the other bands that the interval reaches into, `skewed` is whether accept skew at
    the baseline explains more than 100 %, `lower_bounds` are of the baseline and of this ceiling."""

    verdict: Verdict
    efficiency: float
    reaches: tuple[Band, ...] = ()
    resampled: bool = True
    skewed: bool = False
    lower_bounds: tuple[LowerBound, ...] = ()


class CaveatCode(Enum):
    NO_VALID_CELL = auto()
    INVALID_BELOW = auto()
    SERVERS_UNKNOWN = auto()
    CAPS_UNKNOWN = auto()
    LOWER_BOUND = auto()
    ONE_REPETITION = auto()
    ONE_SERVER_COUNT = auto()


@dataclass(frozen=True)
class Caveat:
    """A limit on the comparison of the ceilings of `folder`. The other fields are set where the
    code needs them."""

    code: CaveatCode
    folder: str
    cells: Cells | None = None
    caps: tuple[str, ...] = ()
    lower_bound: LowerBound | None = None
    first_invalid: int | None = None


def scaling(ceilings: pd.DataFrame) -> pd.DataFrame:
    """Each ceiling relative to the baseline, which is the one with the fewest servers. The column
    `interpretation` holds an `Interpretation`.

    Raises `ResultsError` when they cannot be compared: other caps, or two folders with the same number
    of servers.
    """
    scaled = []
    for lines in _groups(ceilings):
        _check_comparable(lines)
        known = [line for line in lines if _is_known(line)]
        scaled += [_scaled(line, known[0]) for line in known]
    table = pd.DataFrame(scaled, columns=COLUMNS)
    return table.astype({"servers": "Int64", "ceiling": "Int64"})


def caveats(ceilings: pd.DataFrame) -> list[Caveat]:
    result: list[Caveat] = []
    for lines in _groups(ceilings):
        for line in lines:
            result += _caveats(line)
        if len(lines) == 1:
            result.append(Caveat(CaveatCode.ONE_SERVER_COUNT, lines[0]["folder"]))
    return list(dict.fromkeys(result))


def _check_comparable(lines: list[dict[str, Any]]) -> None:
    for name in CAPS:
        known = [line for line in lines if not pd.isna(line[name])]
        for line in known:
            if line[name] != known[0][name]:
                raise ResultsError(
                    f"{known[0]['folder']} has {name} {known[0][name]}, {line['folder']} has "
                    f"{line[name]}: their ceilings cannot be compared; measure both with the same value"
                )
    folders: dict[int, str] = {}
    for line in filter(_is_known, lines):
        other = folders.setdefault(line["servers"], line["folder"])
        if other != line["folder"]:
            raise ResultsError(
                f"{other} and {line['folder']} both have {line['servers']} server(s); give one folder "
                "for each number of servers"
            )


def _groups(ceilings: pd.DataFrame) -> Iterator[list[dict[str, Any]]]:
    for _, group in ceilings.groupby(GROUP, sort=False):
        yield group.sort_values("servers", kind="stable").to_dict("records")  # type: ignore[misc]


def _is_known(line: Line) -> bool:
    return not pd.isna(line["servers"]) and not pd.isna(line["ceiling"])


def _caveats(line: Line) -> Iterator[Caveat]:
    folder = line["folder"]
    cells = Cells(*(line[name] for name in GROUP))
    match status(line):
        case CeilingStatus.NO_VALID_CELL:
            yield Caveat(CaveatCode.NO_VALID_CELL, folder, cells)
            return
        case CeilingStatus.INVALID_BELOW:
            hidden = whole(line["first_invalid"])
            yield Caveat(CaveatCode.INVALID_BELOW, folder, cells, first_invalid=hidden)
            return
    if pd.isna(line["servers"]):
        yield Caveat(CaveatCode.SERVERS_UNKNOWN, folder)
        return
    if unknown := tuple(name for name in CAPS if pd.isna(line[name])):
        yield Caveat(CaveatCode.CAPS_UNKNOWN, folder, caps=unknown)
    for bound in _lower_bounds(line):
        yield Caveat(CaveatCode.LOWER_BOUND, folder, cells, lower_bound=bound)
    if line["repetitions"] == 1:
        yield Caveat(CaveatCode.ONE_REPETITION, folder, cells)


def _lower_bounds(*lines: Line) -> tuple[LowerBound, ...]:
    return tuple(
        LowerBound(int(line["servers"]), int(line["ceiling"]), known, whole(line["first_invalid"]))
        for line in lines
        if (known := status(line)) in LOWER_BOUNDS
    )


def _scaled(line: Line, base: Line) -> dict[str, Any]:
    times = line["servers"] / base["servers"]
    factor = line["ceiling"] / base["ceiling"] if base["ceiling"] else math.nan
    of_factor = _interval(line, base, factor)
    low, high = (
        end if of_factor.resampled and math.isfinite(end) else math.nan for end in of_factor[:2]
    )
    mean, base_mean = _mean_ceiling(line), _mean_ceiling(base)
    return {name: line[name] for name in COLUMNS if name in line} | {
        "expected_linear": base["ceiling"] * times,
        "scaling_factor": factor,
        "factor_low": low,
        "factor_high": high,
        "efficiency": factor / times,
        "efficiency_low": low / times,
        "efficiency_high": high / times,
        "interpretation": _interpretation(line, base, factor / times, of_factor / times),
        "efficiency_of_means": mean / base_mean / times if base_mean else math.nan,
    }


def _mean_ceiling(line: Line) -> float:
    each = [bracket.low for bracket in parse(line["brackets"])]
    return sum(each) / len(each) if each else math.nan


def _interval(line: Line, base: Line, factor: float) -> Interval:
    if line is base and not math.isnan(factor):
        return Interval(1.0, 1.0, True)
    if math.isnan(factor) or censored(line) or censored(base):
        return NO_INTERVAL
    ours, theirs = parse(line["brackets"]), parse(base["brackets"])
    smallest = min(theirs).low
    if min(len(ours), len(theirs)) > 1 and smallest > 0:
        seed = int(base["servers"])
        lows = means(ours) / means(theirs, seed, math.inf)
        highs = means(ours, beyond=math.inf) / means(theirs, seed)
        return Interval(*interval(lows, highs, factor), True)
    low = min(ours).low / max(bracket.max_ceiling for bracket in theirs)
    highest = max(bracket.max_ceiling for bracket in ours)
    high = highest / smallest if smallest else math.inf
    return Interval(min(low, factor), max(high, factor), False)


def _interpretation(line: Line, base: Line, efficiency: float, ends: Interval) -> Interpretation:
    if math.isnan(efficiency):
        return Interpretation(Verdict.NO_BASELINE, efficiency)
    if line is base:
        return Interpretation(Verdict.BASELINE, efficiency)
    if bounds := _lower_bounds(base, line):
        if len(bounds) == 2:
            verdict = Verdict.UNDETERMINED
        else:
            verdict = Verdict.AT_LEAST if censored(line) else Verdict.AT_MOST
        return Interpretation(verdict, efficiency, lower_bounds=bounds)
    skewed = base["bound"] == Bound.SKEW and Band.of(ends.high) is Band.SUPERLINEAR
    return interpret(efficiency, ends, skewed=skewed)


def interpret(efficiency: float, ends: Interval, *, skewed: bool = False) -> Interpretation:
    lowest, band, highest = map(Band.of, (ends.low, efficiency, ends.high))
    if lowest is Band.SUPERLINEAR:
        return Interpretation(Verdict.SUPERLINEAR, efficiency, skewed=skewed)
    verdict = (Verdict.OVERHEAD, Verdict.GOOD, Verdict.ABOVE_LINEAR)[band]
    # More than linear is not plausible, so it is neither the band nor another one within reach.
    plausible = min(band, Band.GOOD)
    reaches = tuple(
        Band(each) for each in range(lowest, min(highest, Band.GOOD) + 1) if each != plausible
    )
    return Interpretation(verdict, efficiency, reaches, ends.resampled, skewed)
