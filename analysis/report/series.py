"""The data of figures and sentences: panels of cells, points within them, curves of ceilings."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import nan
from typing import Any, cast, TYPE_CHECKING

from analysis.report.formatting import known, plural
from analysis.results.folder import CellDetails, natural, Results
from analysis.scaling.usl import NoFit, Usl

if TYPE_CHECKING:
    import pandas as pd

# A line of summary.csv, ceilings.csv or scaling.csv by its columns.
Line = dict[str, Any]


@dataclass(frozen=True)
class Panel:
    """The cells that share axes: those of one folder, mode and shape. `x` is the column on the
    horizontal axis: batch_size, or arrival_rate for the shape open."""

    title: str
    lines: tuple[Line, ...]
    details: tuple[CellDetails, ...]
    x: str = "batch_size"

    @property
    def waits(self) -> list[float]:
        return sorted({line["wait_seconds"] for line in self.lines})

    @property
    def places(self) -> list[float]:
        return sorted({line[self.x] for line in self.lines})

    @property
    def valid_cells(self) -> list[tuple[Line, CellDetails]]:
        cells = zip(self.lines, self.details, strict=True)
        return [(line, detail) for line, detail in cells if line["valid"]]

    def line(self, wait: float) -> Line:
        return next(line for line in self.lines if line["wait_seconds"] == wait)

    @property
    def x_name(self) -> str:
        return "sessions per second" if self.x == "arrival_rate" else "batch (sessions)"


@dataclass(frozen=True)
class Point:
    x: float
    mean: float
    low: float
    high: float
    repetitions: int


@dataclass(frozen=True)
class Curve:
    title: str
    lines: tuple[Line, ...]
    fit: Usl | NoFit

    @property
    def measured(self) -> int:
        return int(max(line["servers"] for line in self.lines))

    @property
    def farthest(self) -> int:
        return 2 * self.measured if isinstance(self.fit, Usl) else self.measured


def records(frame: "pd.DataFrame") -> list[Line]:
    """The lines of a table, with None for a missing whole number."""
    import pandas as pd

    lines = cast(list[Line], frame.to_dict("records"))
    return [
        {name: None if value is pd.NA else value for name, value in line.items()} for line in lines
    ]


def panels(results: Sequence[Results], ceilings: Sequence[Line]) -> list[Panel]:
    made: list[tuple[dict[str, str], Panel]] = []
    servers = [servers_of(one, ceilings) for one in results]
    for one, number in sorted(zip(results, servers, strict=True), key=lambda pair: pair[1] or 0):
        cells = list(zip(records(one.summary), one.details, strict=True))
        axes = _axes(line for line, _ in cells)
        for key in dict.fromkeys(axes(line) for line, _ in cells):
            lines, details = zip(*(pair for pair in cells if axes(pair[0]) == key), strict=True)
            panel = Panel("", lines, details, _horizontal(lines))
            made.append((_names(one, number, key), panel))
    return _titled(made)


def ceilings_of(one: Results, ceilings: Sequence[Line]) -> list[Line]:
    run = one.summary["run_id"].iloc[0]
    return [
        line
        for line in ceilings
        if line["folder"] == one.name and (line["run_id"] == run or not known(run))
    ]


def servers_of(one: Results, ceilings: Sequence[Line]) -> int | None:
    return next((line["servers"] for line in ceilings_of(one, ceilings)), None)


def _axes(lines: Iterable[Line]) -> Callable[[Line], tuple[Any, ...]]:
    """The key that separates the panels of one folder. The arrival rate is part of it only where each
    rate has several batches."""
    pairs = {(line["arrival_rate"], line["batch_size"]) for line in lines}
    rates = {rate for rate, _ in pairs if known(rate)}
    by_rate = len(rates) > 1 and len([rate for rate, _ in pairs if known(rate)]) > len(rates)

    def key(line: Line) -> tuple[Any, ...]:
        rate = line["arrival_rate"] if by_rate and known(line["arrival_rate"]) else None
        return line["mode"], line["shape"], line["steps"], rate

    return key


def _horizontal(lines: Sequence[Line]) -> str:
    rates = {line["arrival_rate"] for line in lines if known(line["arrival_rate"])}
    return "arrival_rate" if len(rates) > 1 else "batch_size"


def _names(one: Results, servers: int | None, key: tuple[Any, ...]) -> dict[str, str]:
    mode, shape, steps, rate = key
    return {
        "servers": plural(servers, "server") if servers else "",
        "folder": one.name,
        "mode": str(mode),
        "shape": str(shape),
        "steps": plural(int(steps), "step"),
        "rate": f"{rate:g} sessions/s" if rate is not None else "",
    }


def _titled(made: Sequence[tuple[dict[str, str], Panel]]) -> list[Panel]:
    if len(made) == 1:
        return [made[0][1]]
    varying = {part for part in made[0][0] if len({names[part] for names, _ in made}) > 1}

    def title(names: Mapping[str, str], parts: set[str]) -> str:
        return ", ".join(text for part, text in names.items() if part in parts and text)

    without = [title(names, varying - {"folder"}) for names, _ in made]
    if len(set(without)) < len(made) or not all(without):
        without = [title(names, varying | {"folder"}) for names, _ in made]
    return [replace(panel, title=text) for text, (_, panel) in zip(without, made, strict=True)]


def points(panel: Panel, wait: float, value: Callable[[Line], float]) -> list[Point]:
    groups: dict[float, list[float]] = {x: [] for x in panel.places}
    for x, number in _values(panel, wait, value, valid=True):
        groups[x].append(number)
    return [
        Point(x, sum(values) / len(values), min(values), max(values), len(values))
        for x, values in groups.items()
        if values
    ]


def crossed(panel: Panel, wait: float, value: Callable[[Line], float]) -> list[tuple[float, float]]:
    return _values(panel, wait, value, valid=False)


def _values(
    panel: Panel, wait: float, value: Callable[[Line], float], *, valid: bool
) -> list[tuple[float, float]]:
    lines = (line for line in panel.lines if bool(line["valid"]) is valid)
    drawn = [(line[panel.x], value(line)) for line in lines if line["wait_seconds"] == wait]
    return [(x, y) for x, y in drawn if known(y)]


def success(line: Line) -> float:
    return 1.0 - float(line["error_rate"])


def column(name: str) -> Callable[[Line], float]:
    return lambda line: float(line[name]) if known(line[name]) else nan


def steepest(panel: Panel, limit: int) -> list[tuple[Line, CellDetails]]:
    """The cells with the largest batches, each in its first valid repetition."""
    first: dict[tuple[float, float], tuple[Line, CellDetails]] = {}
    cells = sorted(
        zip(panel.lines, panel.details, strict=True),
        key=lambda cell: (not cell[0]["valid"], cell[0]["repetition"]),
    )
    for line, detail in cells:
        first.setdefault((line[panel.x], line["wait_seconds"]), (line, detail))
    drawn = [first[key] for key in sorted(first, reverse=True) if any(first[key][1].curve[1])]
    return drawn[:limit]


def total(details: Iterable[Mapping[str, int]]) -> dict[str, int]:
    sums: Counter[str] = Counter()
    for counts in details:
        sums.update(counts)
    return dict(sorted(sums.items(), key=lambda item: natural(item[0])))


def unevenness(counts: Mapping[str, int]) -> float:
    amounts = list(counts.values())
    return max(amounts) / (sum(amounts) / len(amounts)) if sum(amounts) else nan


def curve_key(line: Line) -> tuple[Any, ...]:
    return line["mode"], line["shape"], line["steps"], line["wait_seconds"]
