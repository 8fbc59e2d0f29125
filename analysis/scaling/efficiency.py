"""How the ceiling grows with the number of servers."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

from analysis.cells.codes import Bound
from analysis.errors import ResultsError
from analysis.scaling.brackets import interval, means, parse
from analysis.scaling.ceilings import censored, GROUP, whole
from analysis.scaling.usl import no_usl, Usl, usl
from analysis.words import count, percent, plural

__all__ = ["Usl", "caveats", "interpretation", "no_usl", "scaling", "usl"]

COLUMNS = [
    *GROUP,
    "servers",
    "ceiling",
    "ceiling_low",
    "ceiling_high",
    "expected_linear",
    "scaling_factor",
    "factor_low",
    "factor_high",
    "efficiency",
    "efficiency_low",
    "efficiency_high",
    "interpretation",
    "bound",
    "efficiency_of_means",
]
CAPS = ("max_concurrent_envs", "workers_per_node")
GOOD, LINEAR = 0.9, 1.0
"""The bands of the runbook."""

BANDS = (
    "significant overhead (below 90 %)",
    "good linear scaling (90 to 100 %)",
    "superlinear (above 100 %)",
)
OVERHEAD = "significant overhead, investigate load balancer"
FINE = "good linear scaling"
SUPERLINEAR = (
    "superlinear: not plausible without a cause; check that caps and criterion are the same, that the "
    "baseline's ceiling is its server's and not the load's, and that every server answered"
)
SKEWED = (
    f"the baseline's bound is {Bound.SKEW}, which is a cause of more than 100 %: one node without Envoy "
    "refuses while a sibling is free; --baseline envoy avoids it"
)
UNBANDED = ("at least ", "at most ", "cannot be told")
"""How the interpretation begins where a ceiling is a lower bound only."""

Line = Mapping[str, Any]


def scaling(ceilings: pd.DataFrame) -> pd.DataFrame:
    """Each ceiling against the one of the fewest servers, which is the baseline.

    Raises `ResultsError` when they cannot be compared: other caps, another criterion, two folders with
    as many servers.
    """
    lines = []
    for lines_of_one in _groups(ceilings):
        check(lines_of_one)
        known = [line for line in lines_of_one if _comparable(line)]
        lines += [_scaled(line, known[0]) for line in known]
    table = pd.DataFrame(lines, columns=COLUMNS)
    return table.astype({"servers": "Int64", "ceiling": "Int64"})


def caveats(ceilings: pd.DataFrame) -> list[str]:
    """What to know of these ceilings before their ratios are believed; each once."""
    found = []
    for lines in _groups(ceilings):
        for line in lines:
            found += _caveats(line)
        if len(lines) == 1:
            found.append(f"{lines[0]['folder']}: the only number of servers, so nothing scales")
    return list(dict.fromkeys(found))


def check(lines: list[dict[str, Any]]) -> None:
    """Raises `ResultsError` when ceilings of these lines cannot be compared."""
    for name in (*CAPS, "criterion"):
        known = [line for line in lines if not pd.isna(line[name])]
        for line in known:
            if line[name] != known[0][name]:
                raise ResultsError(
                    f"{known[0]['folder']} has {name} {known[0][name]}, {line['folder']} has "
                    f"{line[name]}: their ceilings cannot be compared; measure both with the same"
                )
    seen: dict[int, str] = {}
    for line in filter(_comparable, lines):
        other = seen.setdefault(line["servers"], line["folder"])
        if other != line["folder"]:
            raise ResultsError(
                f"{other} and {line['folder']} both have {line['servers']} server(s); give one folder "
                "for each number of servers"
            )


def _groups(ceilings: pd.DataFrame) -> Iterator[list[dict[str, Any]]]:
    for _, group in ceilings.groupby(GROUP, sort=False):
        yield group.sort_values("servers", kind="stable").to_dict("records")  # type: ignore[misc]


def _comparable(line: Line) -> bool:
    return not pd.isna(line["servers"]) and not pd.isna(line["ceiling"])


def _caveats(line: Line) -> list[str]:
    folder = line["folder"]
    found: list[str] = []
    if pd.isna(line["ceiling"]):
        if pd.isna(line["first_invalid"]):
            return [f"{folder}: no valid cell of {_name(line)}, so no ceiling"]
        hidden = f"{count(line['first_invalid'])} is INVALID and no batch met the criterion"
        return [f"{folder}: {hidden}, so no ceiling of {_name(line)}"]
    if pd.isna(line["servers"]):
        return [f"{folder}: the number of servers is not known, so it is left out"]
    unknown = [name for name in CAPS if pd.isna(line[name])]
    if unknown:
        found.append(f"{folder}: {' and '.join(unknown)} not known: phases may differ in caps")
    if censored(line):
        found.append(f"{folder}: {_name(line)}: {_lower_bound(line)}")
    if line["repetitions"] == 1:
        found.append(f"{folder}: one repetition of {_name(line)}, so no interval")
    return found


def _name(line: Line) -> str:
    return f"{line['mode']} {line['shape']}, wait {line['wait_seconds']:g} s, steps {line['steps']}"


def _lower_bound(line: Line) -> str:
    """Why no more is known of a ceiling."""
    number = count(line["ceiling"])
    of = f"the ceiling of {plural(int(line['servers']), 'server')}"
    if line["reached"]:
        return f"{of} is the {Bound.LOAD}'s, so that the servers' is at least {number}"
    hidden = whole(line["first_invalid"])
    why = "no larger batch failed" if hidden is None else f"{count(hidden)} is INVALID"
    return f"{of} is only known to be at least {number}: {why}"


def _scaled(line: Line, base: Line) -> dict[str, Any]:
    times = line["servers"] / base["servers"]
    factor = line["ceiling"] / base["ceiling"] if base["ceiling"] else math.nan
    low, high, sampled = _ends(line, base, factor)
    told = (low, high if math.isfinite(high) else math.nan) if sampled else (math.nan, math.nan)
    found = {name: line[name] for name in COLUMNS if name in line}
    return found | {
        "expected_linear": base["ceiling"] * times,
        "scaling_factor": factor,
        "factor_low": told[0],
        "factor_high": told[1],
        "efficiency": factor / times,
        "efficiency_low": told[0] / times,
        "efficiency_high": told[1] / times,
        "interpretation": _interpretation(
            line, base, factor / times, (low / times, high / times), sampled
        ),
        "efficiency_of_means": _mean(line) / _mean(base) / times if _mean(base) else math.nan,
    }


def _mean(line: Line) -> float:
    """Of the repetitions' ceilings."""
    each = [bracket.low for bracket in parse(line["brackets"])]
    return sum(each) / len(each) if each else math.nan


def _ends(line: Line, base: Line, factor: float) -> tuple[float, float, bool]:
    """Between which values the factor is, the upper may be infinite: 95 % by resampling both (True);
    all that the brackets allow where one has a single repetition. NaN where nothing is known."""
    if math.isnan(factor) or (line is not base and (censored(line) or censored(base))):
        return math.nan, math.nan, False
    if line is base:
        return 1.0, 1.0, True
    ours, theirs = parse(line["brackets"]), parse(base["brackets"])
    least = min(theirs).low
    if min(len(ours), len(theirs)) > 1 and least > 0:
        seed = int(base["servers"])
        lows = means(ours) / means(theirs, seed, math.inf)
        highs = means(ours, beyond=math.inf) / means(theirs, seed)
        return *interval(lows, highs, factor), True
    low = min(ours).low / max(each.most for each in theirs)
    high = max(each.most for each in ours) / least if least else math.inf
    return min(low, factor), max(high, factor), False


def _interpretation(
    line: Line, base: Line, efficiency: float, ends: tuple[float, float], sampled: bool
) -> str:
    if math.isnan(efficiency):
        return "the baseline met the criterion at no batch: nothing to compare with"
    if line is base:
        return "baseline"
    if censored(line) or censored(base):
        return _bounded(line, base, efficiency)
    found = interpretation(efficiency, *ends, sampled=sampled)
    skewed = base["bound"] == Bound.SKEW and _band(ends[1]) == len(BANDS) - 1
    return f"{found}; {SKEWED}" if skewed else found


def _bounded(line: Line, base: Line, efficiency: float) -> str:
    """Of an efficiency of which one ceiling, or both, is a lower bound only: no band."""
    why = "; ".join(_lower_bound(one) for one in (base, line) if censored(one))
    if censored(line) and censored(base):
        return f"cannot be told: {why}"
    return f"at {'least' if censored(line) else 'most'} {percent(efficiency)}: {why}"


def interpretation(efficiency: float, low: float, high: float, *, sampled: bool = True) -> str:
    """The runbook's words, and what else the efficiency may be, which is from `low` to `high`: by an
    interval if `sampled`, else by brackets."""
    first, band, last = map(_band, (low, efficiency, high))
    if first == len(BANDS) - 1:
        return SUPERLINEAR
    told = (OVERHEAD, FINE, f"{FINE}: cannot be told from 100 %")[band]
    own = min(band, 1)  # and more than linear is not plausible: nothing that it might be, too
    others = [BANDS[each] for each in range(first, min(last, 1) + 1) if each != own]
    if not others:
        return told
    reaches = "the interval reaches" if sampled else "the bracket of one repetition reaches"
    return f"{told}, but {reaches} into {' and '.join(others)}"


def _band(efficiency: float) -> int:
    """Which of BANDS."""
    rounded = round(efficiency, 9)  # 0.9 is 0.9, however it was computed
    return 0 if rounded < GOOD else 1 if rounded <= LINEAR else 2
