"""Functions that several figures share for their axes."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, NullLocator

from analysis.report.formatting import count
from analysis.report.series import crossed, Line, Panel, points
from analysis.report.style import COLOURS, DASHES, INK, MARKERS, PANELS, WIDTH


def new_figure(height: float) -> Figure:
    return Figure(figsize=(WIDTH, height), layout="constrained")


def new_axes(number: int, height: float) -> tuple[Figure, list[Axes]]:
    columns = 2 if number == 4 else min(3, max(1, number))
    rows = -(-number // columns)
    figure = new_figure(height * rows if columns > 1 else height + 0.3)
    return figure, [figure.add_subplot(rows, columns, place + 1) for place in range(number)]


def panel_axes(panels: Sequence[Panel], shared: bool = True) -> tuple[Figure, list[Axes]]:
    shown = panels[:PANELS]
    figure, axes = new_axes(len(shown), 3.3)
    for panel, ax in zip(shown, axes, strict=True):
        ax.set_title(panel.title if len(panels) > 1 else "", loc="left")
        if shared:
            ticks_at_cells(ax, panel)
            ax.set_xlabel(panel.x_name)
    return figure, axes


def draw_waits(
    panel: Panel, ax: Axes, value: Callable[[Line], float], styles: dict[float, Any]
) -> None:
    for wait in panel.waits:
        colour, marker, dash = styles[wait]
        draw_points(ax, points(panel, wait, value), colour, marker, dash, bars=True)
        for x, y in crossed(panel, wait, value):
            ax.plot(x, y, marker="X", color=colour, markersize=8, fillstyle="none", linestyle="")
    note_empty(ax)


def draw_points(
    ax: Axes, series: Sequence[Any], colour: str, marker: str, dash: Any, bars: bool = False
) -> None:
    if not series:
        return
    x, y = [point.x for point in series], [point.mean for point in series]
    ax.plot(x, y, color=colour, marker=marker, linestyle=dash)
    if bars and any(point.high > point.low for point in series):
        error = [[p.mean - p.low for p in series], [p.high - p.mean for p in series]]
        ax.errorbar(x, y, yerr=error, fmt="none", ecolor=colour, elinewidth=1.2, capsize=3)


def ticks_at_cells(ax: Axes, panel: Panel) -> None:
    places = panel.places
    ratio = places[-1] / places[0] if places[0] > 0 else 1
    logarithmic = len(places) > 2 and ratio >= 8
    if logarithmic:
        ax.set_xscale("log", base=2)
    ax.xaxis.set_minor_locator(NullLocator())
    at = np.log2(places) if logarithmic else np.array(places, dtype=float)
    spec = ax.get_subplotspec()
    width = WIDTH * 0.85 / (spec.get_gridspec().ncols if spec else 1)
    longest = max(len(count(x)) for x in places)
    rotated = len(_apart(places, at, (0.08 * longest + 0.1) / width)) < len(places)
    ticks = _apart(places, at, (0.2 if rotated else 0) / width)
    ax.set_xticks(ticks, [count(x) for x in ticks])
    if rotated:
        ax.tick_params(axis="x", rotation=45)


def _apart(places: Sequence[float], at: Any, least: float) -> list[float]:
    """Drops the places that are closer to the next one than this share of the axis."""
    span = max(float(at[-1] - at[0]), 1e-9)
    kept: list[tuple[float, float]] = []
    for place, where in reversed(list(zip(places, at, strict=True))):
        if not kept or (kept[-1][1] - where) / span >= least:
            kept.append((place, where))
    return [place for place, _ in reversed(kept)]


def in_seconds(axes: Sequence[Axes]) -> None:
    lines = [line for ax in axes for line in ax.get_lines()]
    heights = [float(y) for line in lines for y in np.asarray(line.get_ydata()) if y > 0]
    drawn = [ax for ax in axes if ax.get_lines()]
    if heights and max(heights) / min(heights) >= 4:
        for ax in drawn:
            ax.set_yscale("log")
            ax.set_ylim(min(heights) / 1.6, max(heights) * 1.6)
            if max(heights) / min(heights) < 50:
                ax.yaxis.set_minor_formatter(FuncFormatter(_some))
    elif heights:
        for ax in drawn:
            ax.set_ylim(0, max(heights) * 1.15)
    for ax in drawn:
        ax.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:g}"))


def _some(y: float, _: Any) -> str:
    return f"{y:g}" if f"{y:e}"[0] in "25" else ""


def note_empty(ax: Axes, why: str = "no session succeeded") -> None:
    if not ax.get_lines():
        note(ax, why)


def note(ax: Axes, text: str) -> None:
    ax.text(0.5, 0.5, text, ha="center", va="center", transform=ax.transAxes)
    ax.set_xticks([])
    ax.set_yticks([])
    ax.grid(visible=False)


def name_heights(axes: Sequence[Axes], text: str) -> None:
    columns = {ax.get_subplotspec(): ax for ax in axes}
    for spec, ax in columns.items():
        if spec is None or spec.is_first_col():
            ax.set_ylabel(text)


def looks(panels: Sequence[Panel]) -> dict[float, tuple[str, str, Any]]:
    waits = sorted({wait for panel in panels for wait in panel.waits})
    return {
        wait: (COLOURS[n % len(COLOURS)], MARKERS[n % len(MARKERS)], DASHES[n % len(DASHES)])
        for n, wait in enumerate(waits)
    }


def wait_handles(panels: Sequence[Panel], invalid: bool = True) -> list[Line2D]:
    handles = [handle(f"wait {wait:g} s", *style) for wait, style in looks(panels[:PANELS]).items()]
    if invalid and any(not line["valid"] for panel in panels for line in panel.lines):
        cross = Line2D([], [], color=INK, marker="X", fillstyle="none", linestyle="", markersize=8)
        cross.set_label("INVALID cell")
        handles.append(cross)
    return handles


def handle(label: str, colour: str, marker: str, dash: Any) -> Line2D:
    return Line2D([], [], color=colour, marker=marker, linestyle=dash or "none", label=label)


def legend(figure: Figure, handles: Sequence[Line2D]) -> None:
    figure.legend(handles=list(handles), loc="outside upper center", ncols=min(6, len(handles)))
