"""The captions of figures: what they show, in numbers."""

from collections.abc import Callable, Iterator, Sequence

from analysis.report.formatting import count, listed, percent, plural, seconds
from analysis.report.sentences import cell_name
from analysis.report.series import (
    column,
    Line,
    Panel,
    Point,
    points,
    steepest,
    success,
    total,
    unevenness,
)  # fmt: skip

PARTS = ("connect", "reset", "step")


def interval_text(panels: Sequence[Panel]) -> str:
    most = max((p.repetitions for p in _all_points(panels)), default=0)
    if most == 0:
        return ""
    if most == 1:
        return "One repetition: no interval."
    return f"Points are means over up to {most} valid repetitions, bars span their lowest and highest value."


def _all_points(panels: Sequence[Panel]) -> list[Point]:
    return [point for _, _, _, series in _by_wait(panels, success) for point in series]


def invalid_text(panels: Sequence[Panel]) -> str:
    bad = sum(not line["valid"] for panel in panels for line in panel.lines)
    if not bad:
        return ""
    return f"{plural(bad, 'INVALID cell')} drawn as hollow crosses where there is a value, never joined."


def _by_wait(
    panels: Sequence[Panel], value: Callable[[Line], float]
) -> Iterator[tuple[str, Panel, float, list[Point]]]:
    """The name, panel, wait and points of each line that is drawn."""
    for panel in panels:
        for wait in panel.waits:
            if series := points(panel, wait, value):
                name = f"wait {wait:g} s"
                yield f"{panel.title}, {name}" if panel.title else name, panel, wait, series


def success_text(panels: Sequence[Panel], least: float) -> str:
    texts = []
    for name, _, _, series in _by_wait(panels, success):
        worst = min(series, key=lambda point: point.mean)
        if worst.mean == 1:
            texts.append(f"{name}: 100 % at every batch")
        elif worst.mean >= least:
            texts.append(f"{name}: at least {percent(worst.mean)} at every batch")
        else:
            texts.append(f"{name}: down to {percent(worst.mean)} at {count(worst.x)}")
    return _semicolons(texts) or "No valid cell."


def p99_text(panels: Sequence[Panel], limit: Callable[[Line], float | None]) -> str:
    texts = []
    for name, panel, wait, (*_, last) in _by_wait(panels, column("total_p99")):
        allowed = limit(panel.line(wait))
        criterion = f" (criterion {seconds(allowed)})" if allowed is not None else ""
        texts.append(f"{name}: {seconds(last.mean)} at {count(last.x)}{criterion}")
    return _semicolons(texts) or "No session succeeded in a valid cell."


def latency_text(panels: Sequence[Panel]) -> str:
    texts = []
    for name, panel, wait, (*_, last) in _by_wait(panels, column("step_p99")):
        parts = ((part, points(panel, wait, column(f"{part}_p99"))) for part in PARTS)
        latencies = [f"{part} {seconds(some[-1].mean)}" for part, some in parts if some]
        texts.append(f"{name} at {count(last.x)}: {', '.join(latencies)}")
    return f"p99 at the largest batch: {_semicolons(texts)}" if texts else "No session succeeded."


def partly_text(panels: Sequence[Panel]) -> str:
    fields: dict[tuple[str, float, float], list[bool]] = {}
    for panel in panels:
        for line in panel.lines:
            field = (panel.title, line[panel.x], line["wait_seconds"])
            fields.setdefault(field, []).append(bool(line["valid"]))
    partly = [
        f"{f'{title}, ' if title else ''}{count(x)} × {wait:g} s ({sum(valid)} of {len(valid)})"
        for (title, x, wait), valid in fields.items()
        if 0 < sum(valid) < len(valid)
    ]
    return f"Fewer valid repetitions: {listed(partly)}." if partly else ""


def heat_text(panels: Sequence[Panel]) -> str:
    all_points = _all_points(panels)
    if not all_points:
        return "No valid cell."
    low, high = min(p.mean for p in all_points), max(p.mean for p in all_points)
    return f"{plural(len(all_points), 'field')}, from {percent(low)} to {percent(high)}."


def open_text(panels: Sequence[Panel], limit: int) -> str:
    texts = []
    for panel in panels:
        every = steepest(panel, len(panel.lines))
        if not every:
            continue
        highest = max(every, key=lambda cell: max(cell[1].curve[1]))
        most = max(highest[1].curve[1])
        name = f"{panel.title}: at" if panel.title else "At"
        drawn = (
            f"; the {limit} largest of {len(every)} curves are drawn" if len(every) > limit else ""
        )
        texts.append(f"{name} most {count(most)} open, in {cell_name(highest[0])}{drawn}")
    return _semicolons(texts) or "No session was open."


def _semicolons(texts: Sequence[str], most: int = 6) -> str:
    more = [f"and {len(texts) - most} more"] if len(texts) > most else []
    return f"{'; '.join([*texts[:most], *more])}." if texts else ""


def distribution_text(panels: Sequence[Panel]) -> str:
    return " ".join(filter(None, (_distributed(panel) for panel in panels)))


def _distributed(panel: Panel) -> str:
    cells, texts = panel.valid_cells, []
    for name, counts in (
        ("host", [detail.hosts for _, detail in cells]),
        ("load worker", [detail.load_workers for _, detail in cells]),
    ):
        together = total(counts)
        if not sum(together.values()):
            texts.append(f"{name}s unknown".capitalize())
            continue
        text = f"{plural(len(together), name)}, max/mean {unevenness(together):.2f}"
        worst, line = max(
            ((unevenness(one), line) for one, (line, _) in zip(counts, cells, strict=True) if one),
            key=lambda pair: pair[0],
        )
        most = (
            f"most uneven cell {cell_name(line)}: {worst:.2f}"
            if worst >= 1.005
            else "every cell even"
        )
        texts.append(f"{text}; {most}")
    where = f"{panel.title}: " if panel.title else ""
    return f"{where}{'. '.join(texts)}."
