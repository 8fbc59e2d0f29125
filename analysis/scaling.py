"""How the ceiling grows with the number of servers."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd

from analysis.ceilings import by_repetition, GROUP, interval, means
from analysis.errors import ResultsError
from analysis.usl import no_usl, Usl, usl

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
]
CAPS = ("max_concurrent_envs", "workers_per_node")
GOOD, LINEAR = 0.9, 1.0
"""The bands of the runbook."""

OVERHEAD = "significant overhead, investigate load balancer"
SUPERLINEAR = (
    "superlinear: not plausible without a cause; check that caps and criterion are the same, that the "
    "baseline's ceiling is its server's and not the load's, and that every server answered"
)

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
        return [f"{folder}: no valid cell of {_name(line)}, so no ceiling"]
    if pd.isna(line["servers"]):
        return [f"{folder}: the number of servers is not known, so it is left out"]
    unknown = [name for name in CAPS if pd.isna(line[name])]
    if unknown:
        found.append(f"{folder}: {' and '.join(unknown)} not known: phases may differ in caps")
    if not line["reached"]:
        found.append(
            f"{folder}: no batch of {_name(line)} above {line['ceiling']} failed: the ceiling is at "
            "least that"
        )
    if line["repetitions"] == 1:
        found.append(f"{folder}: one repetition of {_name(line)}, so no interval")
    return found


def _name(line: Line) -> str:
    return f"{line['mode']} {line['shape']}, wait {line['wait_seconds']:g} s, steps {line['steps']}"


def _scaled(line: Line, base: Line) -> dict[str, Any]:
    times = line["servers"] / base["servers"]
    factor = line["ceiling"] / base["ceiling"] if base["ceiling"] else math.nan
    low, high = (1.0, 1.0) if line is base and base["ceiling"] else _interval(line, base, factor)
    found = {name: line[name] for name in COLUMNS if name in line}
    return found | {
        "expected_linear": base["ceiling"] * times,
        "scaling_factor": factor,
        "factor_low": low,
        "factor_high": high,
        "efficiency": factor / times,
        "efficiency_low": low / times,
        "efficiency_high": high / times,
        "interpretation": _interpretation(line, base, factor / times, low / times),
    }


def _interval(line: Line, base: Line, factor: float) -> tuple[float, float]:
    """95 % by resampling the repetitions of both; none where one has a single repetition."""
    ours, theirs = by_repetition(line["by_repetition"]), by_repetition(base["by_repetition"])
    if min(len(ours), len(theirs)) < 2 or min(theirs) == 0:
        return math.nan, math.nan
    ratios = means(ours) / means(theirs, seed=int(base["servers"]))
    return interval(ratios, factor)


def _interpretation(line: Line, base: Line, efficiency: float, low: float) -> str:
    if math.isnan(efficiency):
        return "the baseline met the criterion at no batch: nothing to compare with"
    if line is base:
        return "baseline"
    at_least = "" if line["reached"] else " (at least: no batch above the ceiling failed)"
    return interpretation(efficiency, low) + at_least


def interpretation(efficiency: float, low: float = math.nan) -> str:
    """The runbook's words; `low` is the lower end of the interval, NaN without one."""
    if efficiency < GOOD:
        return OVERHEAD
    if efficiency <= LINEAR:
        return "good linear scaling"
    if low <= LINEAR:
        return "good linear scaling (100 % lies within the interval)"
    return SUPERLINEAR + ("; there is no interval" if np.isnan(low) else "")
