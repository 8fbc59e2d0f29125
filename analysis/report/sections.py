"""The sections of a report in their order, and its figures with their captions and files."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from matplotlib.figure import Figure

from analysis.report import captions, figures, sentences, setup, style, tables
from analysis.report.formatting import plural
from analysis.report.page import Content, Drawn, Section
from analysis.report.series import Line, Panel
from analysis.scaling.criterion import Criterion
from analysis.scaling.usl import Usl

# Seconds of p99 that the criterion allows for a cell; None without such a limit.
Limit = Callable[[Line], float | None]


class Drawing(NamedTuple):
    name: str
    figure: Figure
    alt: str
    caption: Sequence[str]


def sections(content: Content, criterion: Criterion, pictures: Path) -> list[Section]:
    """All sections in their order. Writes every figure into the folder `pictures` as well."""
    limit: Limit = criterion.limit if criterion.p99 else lambda _: None
    numbered = enumerate(_drawings(content, criterion.success, limit), 1)
    drawn = {drawing.name: _placed(drawing, number, pictures) for number, drawing in numbered}
    result = [tables.verdict(content)]
    result += [
        Section(name, title, figures=[drawn[name]])
        for name, title in TITLES.items()
        if name in drawn
    ]
    result += [tables.bounds(content)]
    shown = [drawn["scaling"]] if "scaling" in drawn else []
    result += [Section("scaling", "Scaling", scaling_answers(content), figures=shown)]
    result += [tables.cells(content), setup.environment(content)]
    return [*result, setup.definitions()]


TITLES = {
    "success": "Success against batch",
    "p99": "p99 against batch",
    "latency": "Latency of connect, reset and step",
    "heat": "Success by batch and wait",
    "open": "Sessions open over time",
    "distribution": "Distribution over hosts and load workers",
}


def scaling_answers(content: Content) -> list[str]:
    answers = sentences.efficiency_sentences(content.scaling)
    for curve in content.curves:
        name = f"{curve.title.capitalize()}: " if len(content.curves) > 1 else ""
        if isinstance(curve.fit, Usl):
            answers.append(name + sentences.fit_sentence(curve.fit))
        answers.append(name + sentences.nodes_sentence(curve.fit))
    if not content.curves:
        answers.append(sentences.nodes_sentence(None))
    return [*answers, *content.caveats]


def _drawings(content: Content, least: float, limit: Limit) -> list[Drawing]:
    panels = content.panels
    drawings = [
        _success(panels, least),
        _p99(panels, limit),
        _latency(panels),
        _heat(panels),
        _open(panels),
        _distribution(panels),
    ]
    if len(panels) > style.PANELS:
        groups = plural(len(panels), "group")
        left_out = f"The first {style.PANELS} of {groups} of cells are drawn."
        drawings = [one._replace(caption=[*one.caption, left_out]) for one in drawings]
    if any(len(curve.lines) > 1 for curve in content.curves):
        drawings.append(_scaling(content))
    return drawings


def _placed(drawing: Drawing, number: int, pictures: Path) -> Drawn:
    style.png(drawing.figure, pictures / f"{drawing.name}.png")
    drawn = style.element(drawing.figure, f"fig-{drawing.name}")
    return Drawn(drawing.name, drawn, " ".join(filter(None, drawing.caption)), drawing.alt, number)


def _success(panels: Sequence[Panel], least: float) -> Drawing:
    shown = captions.success_text(panels, least)
    lines = f"one line for each wait; dashed: criterion {100 * least:g} %."
    caption = [f"Share of sessions that succeeded; {lines}", shown, *_common(panels)]
    figure = figures.success_by_batch(panels, least)
    return Drawing("success", figure, f"Success against batch. {shown}", caption)


def _p99(panels: Sequence[Panel], limit: Limit) -> Drawing:
    shown = captions.p99_text(panels, limit)
    limited = any(limit(panel.line(wait)) is not None for panel in panels for wait in panel.waits)
    lines = "dashed: what the criterion allows" if limited else "the criterion limits success only"
    caption = [f"p99 of whole sessions that succeeded; {lines}.", shown, *_common(panels)]
    figure = figures.p99_by_batch(panels, limit)
    return Drawing("p99", figure, f"p99 against batch. {shown}", caption)


def _latency(panels: Sequence[Panel]) -> Drawing:
    shown = captions.latency_text(panels)
    lines = (
        "Where the time of a session goes: p99 solid, p50 dashed, means over valid repetitions; the step "
        "contains its wait; each part has an axis of its own."
    )
    alt = f"Latency of each part against batch. {shown}"
    return Drawing("latency", figures.latency_parts(panels), alt, [lines, shown])


def _heat(panels: Sequence[Panel]) -> Drawing:
    fields = (
        "Success in percent, mean over valid repetitions, from 0 (dark) to 100 (light). ×: INVALID cells "
        "only; blank: not measured."
    )
    alt = f"Heat map of success by batch and wait. {captions.heat_text(panels)}"
    return Drawing("heat", figures.heat_map(panels), alt, [fields, captions.partly_text(panels)])


def _open(panels: Sequence[Panel]) -> Drawing:
    shown = captions.open_text(panels, style.CURVES)
    lines = (
        "Sessions that are connected and have not ended, over time, from the rows. The first valid "
        "repetition of each cell (batch × wait)."
    )
    figure = figures.open_sessions(panels)
    return Drawing("open", figure, f"Open sessions over time. {shown}", [lines, shown])


def _distribution(panels: Sequence[Panel]) -> Drawing:
    shown = captions.distribution_text(panels)
    alt = f"Bars of sessions by host and load worker. {shown}"
    caption = ["All valid cells together; dashed: the mean.", shown]
    return Drawing("distribution", figures.distribution(panels), alt, caption)


def _scaling(content: Content) -> Drawing:
    fit = "No fit is drawn."
    if any(isinstance(curve.fit, Usl) for curve in content.curves):
        fit = (
            "The fit is through the ceilings of all repetitions, solid within the measured range and "
            "dashed beyond it (extrapolation), with a band of 95 % where there are repetitions."
        )
    lines = (
        "Ceiling against servers; bars: 95 % bootstrap intervals over repetitions, none with one "
        "repetition; dotted: linear growth from the fewest servers."
    )
    alt = f"Ceiling against servers. {' '.join(sentences.efficiency_sentences(content.scaling))}"
    return Drawing("scaling", figures.scaling(content.curves), alt, [lines, fit])


def _common(panels: Sequence[Panel]) -> list[str]:
    return [captions.interval_text(panels), captions.invalid_text(panels)]
