"""The sections of a report that have figures: each figure with its caption and its file."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure

from analysis.report import (
    captions as report_captions,
)
from analysis.report import (
    figures,
    text,
)
from analysis.report import (
    scaling_figure as report_curves,
)
from analysis.report import (
    setup as report_setup,
)
from analysis.report import (
    style as report_style,
)
from analysis.report import (
    tables as report_tables,
)
from analysis.report.page import Content, Drawn, Section
from analysis.report.series import Line, Panel
from analysis.scaling.ceilings import Criterion
from analysis.words import plural

Limit = Callable[[Line], float | None]
"""Seconds of p99 that the criterion allows a cell; None when it has no such limit."""


@dataclass(frozen=True)
class Drawing:
    name: str
    figure: Figure
    caption: Sequence[str]
    alt: str


def sections(content: Content, criterion: Criterion, pictures: Path) -> list[Section]:
    """All sections as they are read; every figure is written into `pictures` too."""
    limit: Limit = criterion.limit if criterion.p99 else lambda _: None
    numbered = enumerate(_drawings(content, criterion.success, limit), 1)
    drawn = {drawing.name: _placed(drawing, number, pictures) for number, drawing in numbered}
    found = [report_tables.verdict(content)]
    found += [
        Section(name, title, figures=[drawn[name]])
        for name, title in TITLES.items()
        if name in drawn
    ]
    found += [report_tables.bounds(content)]
    shown = [drawn["scaling"]] if "scaling" in drawn else []
    found += [Section("scaling", "Scaling", scaling_answers(content), figures=shown)]
    found += [report_tables.cells(content), report_setup.environment(content)]
    return [*found, report_setup.definitions()]


TITLES = {
    "success": "Success against batch",
    "p99": "p99 against batch",
    "latency": "Latency of connect, reset and step",
    "heat": "Success by batch and wait",
    "open": "Sessions open over time",
    "distribution": "Distribution over hosts and load workers",
}


def scaling_answers(content: Content) -> list[str]:
    """What is said of scaling, figure or none."""
    said = text.efficiency_sentences(content.scaling)
    for curve in content.curves:
        name = f"{curve.title.capitalize()}: " if len(content.curves) > 1 else ""
        if curve.fit:
            said.append(name + text.fit_sentence(curve.fit))
        said.append(name + text.nodes_sentence(curve.fit, curve.no_fit))
    if not content.curves:
        said.append(text.nodes_sentence(None, None))
    return [*said, *content.caveats]


def _drawings(content: Content, least: float, limit: Limit) -> list[Drawing]:
    panels = content.panels
    made = [
        _success(panels, least),
        _p99(panels, limit),
        _latency(panels),
        _heat(panels),
        _open(panels),
        _distribution(panels),
    ]
    curves = [curve for curve in content.curves if len(curve.lines) > 1]
    if curves:
        made.append(_scaling(content))
    return made


def _placed(drawing: Drawing, number: int, pictures: Path) -> Drawn:
    report_style.png(drawing.figure, pictures / f"{drawing.name}.png")
    drawn = report_style.element(drawing.figure, f"fig-{drawing.name}")
    caption = " ".join(sentence for sentence in drawing.caption if sentence)
    return Drawn(drawing.name, drawn, caption, drawing.alt, number)


def _success(panels: Sequence[Panel], least: float) -> Drawing:
    shown = report_captions.success_text(panels, least)
    caption = [
        f"Share of sessions that succeeded; one line for each wait; dashed: criterion "
        f"{100 * least:g} %.",
        shown,
        *_common(panels),
    ]
    alt = f"Success against batch. {shown}"
    return Drawing("success", figures.success_by_batch(panels, least), caption, alt)


def _p99(panels: Sequence[Panel], limit: Limit) -> Drawing:
    shown = report_captions.p99_text(panels, limit)
    limited = any(limit(panel.line(wait)) is not None for panel in panels for wait in panel.waits)
    lines = (
        "dashed: what the criterion allows." if limited else "the criterion limits success only."
    )
    caption = [f"p99 of whole sessions that succeeded; {lines}", shown, *_common(panels)]
    figure = figures.p99_by_batch(panels, limit)
    return Drawing("p99", figure, caption, f"p99 against batch. {shown}")


def _latency(panels: Sequence[Panel]) -> Drawing:
    shown = report_captions.latency_text(panels)
    caption = [
        "Where the time of a session goes: p99 solid, p50 dashed, means over valid repetitions; "
        "the step contains its wait; each part has an axis of its own.",
        shown,
        _left_out(panels),
    ]
    figure = figures.latency_parts(panels)
    return Drawing("latency", figure, caption, f"Latency of each part against batch. {shown}")


def _heat(panels: Sequence[Panel]) -> Drawing:
    caption = [
        "Success in percent, mean over valid repetitions, from 0 (dark) to 100 (light). "
        "×: INVALID cells only; blank: not measured.",
        report_captions.partly_text(panels),
        _left_out(panels),
    ]
    alt = f"Heat map of success by batch and wait. {report_captions.heat_text(panels)}"
    return Drawing("heat", figures.heat_map(panels), caption, alt)


def _open(panels: Sequence[Panel]) -> Drawing:
    shown = report_captions.open_text(panels, report_style.CURVES)
    caption = [
        "Sessions open at each moment: connected, and not yet ended; as the rows tell. The first "
        "valid repetition of each cell (batch × wait).",
        shown,
        _left_out(panels),
    ]
    figure = figures.open_sessions(panels)
    return Drawing("open", figure, caption, f"Open sessions over time. {shown}")


def _distribution(panels: Sequence[Panel]) -> Drawing:
    shown = report_captions.distribution_text(panels)
    caption = ["All valid cells together; dashed: the mean.", shown, _left_out(panels)]
    figure = figures.distribution(panels)
    return Drawing(
        "distribution", figure, caption, f"Bars of sessions by host and load worker. {shown}"
    )


def _scaling(content: Content) -> Drawing:
    curves = content.curves
    fitted = any(curve.fit for curve in curves)
    fit = (
        "The fit is through the ceilings of all repetitions, solid within the measured range and "
        "dashed beyond it (extrapolation); its band is 95 %, where there are repetitions."
        if fitted
        else "No fit is drawn."
    )
    caption = [
        "Ceiling against servers; bars: 95 % bootstrap intervals over repetitions, none with one "
        "repetition; dotted: linear from the fewest servers.",
        fit,
    ]
    alt = f"Ceiling against servers. {' '.join(text.efficiency_sentences(content.scaling))}"
    return Drawing("scaling", report_curves.scaling(curves), caption, alt)


def _common(panels: Sequence[Panel]) -> list[str]:
    return [
        report_captions.interval_text(panels),
        report_captions.invalid_text(panels),
        _left_out(panels),
    ]


def _left_out(panels: Sequence[Panel]) -> str:
    if len(panels) <= report_style.PANELS:
        return ""
    return f"The first {report_style.PANELS} of {plural(len(panels), 'group')} of cells are drawn."
