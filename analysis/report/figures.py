"""The figures of a report. Their captions are in captions.py."""

from collections.abc import Callable, Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from analysis.report.axes import (
    draw_points,
    draw_waits,
    handle,
    in_seconds,
    legend,
    looks,
    name_heights,
    new_axes,
    new_figure,
    note,
    note_empty,
    panel_axes,
    ticks_at_cells,
    wait_handles,
)  # fmt: skip
from analysis.report.formatting import count, known
from analysis.report.series import column, Curve, Line, Panel, points, steepest, success, total
from analysis.report.style import BARS, COLOURS, CURVES, DASHES, GRID, INK, NUMBERED, PANELS, styled
from analysis.scaling.ceilings import censored
from analysis.scaling.usl import Usl


@styled
def success_by_batch(panels: Sequence[Panel], least: float) -> Figure:
    figure, axes = panel_axes(panels)
    for panel, ax in zip(panels, axes, strict=False):
        draw_waits(panel, ax, success, looks(panels))
        ax.axhline(least, color=INK, linewidth=0.9, linestyle=(0, (2, 2)))
        ax.set_ylim(-0.04, 1.06)
        ax.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{100 * y:.0f} %"))
    name_heights(axes, "success")
    legend(figure, [*wait_handles(panels), handle("criterion", INK, "", (0, (2, 2)))])
    return figure


@styled
def p99_by_batch(panels: Sequence[Panel], limit: Callable[[Line], float | None]) -> Figure:
    figure, axes = panel_axes(panels)
    styles = looks(panels)
    limited = False
    for panel, ax in zip(panels, axes, strict=False):
        draw_waits(panel, ax, column("total_p99"), styles)
        for wait in panel.waits:
            most = limit(panel.line(wait))
            limited |= most is not None
            if most is not None:
                ax.axhline(most, color=styles[wait][0], linewidth=1, linestyle=(0, (2, 2)))
    in_seconds(axes)
    name_heights(axes, "p99 of a session (s)")
    criteria = [handle("criterion of the wait", INK, "", (0, (2, 2)))] if limited else []
    legend(figure, [*wait_handles(panels), *criteria])
    return figure


@styled
def latency_parts(panels: Sequence[Panel]) -> Figure:
    shown = panels[:PANELS]
    figure = new_figure(2.5 * len(shown) + 0.6)
    rows = figure.subplots(len(shown), 3, squeeze=False)
    styles = looks(panels)
    for panel, row in zip(shown, rows, strict=True):
        for part, ax in zip(("connect", "reset", "step"), row, strict=True):
            for wait in panel.waits:
                colour, marker, _ = styles[wait]
                p99, p50 = (points(panel, wait, column(f"{part}_p{n}")) for n in (99, 50))
                draw_points(ax, p99, colour, marker, "-")
                draw_points(ax, p50, colour, "", (0, (4, 2)))
            ax.set_title(f"{part} ({panel.title})" if panel.title else part, loc="left")
            ticks_at_cells(ax, panel)
            note_empty(ax)
    for part in rows.T:
        in_seconds(list(part))
    name_heights(list(rows[:, 0]), "latency (s)")
    for ax in rows[-1]:
        ax.set_xlabel(shown[-1].x_name)
    kinds = [handle("p99", INK, "", "-"), handle("p50", INK, "", (0, (4, 2)))]
    legend(figure, [*wait_handles(panels, invalid=False), *kinds])
    return figure


@styled
def heat_map(panels: Sequence[Panel]) -> Figure:
    shown = panels[:PANELS]
    heights = [0.42 * len(panel.waits) + 0.75 for panel in shown]
    figure = new_figure(sum(heights) + 0.2)
    for ax, panel in zip(
        figure.subplots(len(shown), 1, squeeze=False, gridspec_kw={"height_ratios": heights})[:, 0],
        shown,
        strict=True,
    ):
        _heat(ax, panel)
    return figure


def _heat(ax: Axes, panel: Panel) -> None:
    values = np.full((len(panel.waits), len(panel.places)), np.nan)
    tried = {(line["wait_seconds"], line[panel.x]) for line in panel.lines}
    for row, wait in enumerate(panel.waits):
        by_x = {point.x: point for point in points(panel, wait, success)}
        for col, x in enumerate(panel.places):
            if x in by_x:
                values[row, col] = by_x[x].mean
                _number(ax, row, col, by_x[x].mean, len(panel.places))
            elif (wait, x) in tried:
                ax.text(col, row, "×", ha="center", va="center", color=INK)
    colours = matplotlib.colormaps["cividis"]
    ax.imshow(values, cmap=colours, vmin=0, vmax=1, aspect="auto", interpolation="nearest")
    ax.set_xticks(range(len(panel.places)), [count(x) for x in panel.places])
    ax.set_yticks(range(len(panel.waits)), [f"{wait:g}" for wait in panel.waits])
    ax.set_ylabel("wait (s)")
    ax.set_xlabel(panel.x_name)
    ax.grid(visible=False)
    ax.set_title(panel.title, loc="left")
    for edge in range(1, max(values.shape)):
        for draw, size in ((ax.axvline, values.shape[1]), (ax.axhline, values.shape[0])):
            if edge < size:
                draw(edge - 0.5, color=GRID, linewidth=0.8)
    if len(panel.places) > NUMBERED:
        ax.tick_params(axis="x", rotation=60)


def _number(ax: Axes, row: int, col: int, share: float, columns: int) -> None:
    text = f"{100 * share:.0f}" if share in (0, 1) else f"{100 * share:.1f}"
    size = 9 if columns <= NUMBERED else 6
    colour = "#000000" if share > 0.5 else "#ffffff"
    ax.text(col, row, text, ha="center", va="center", color=colour, fontsize=size)


@styled
def open_sessions(panels: Sequence[Panel]) -> Figure:
    figure, axes = panel_axes(panels, shared=False)
    for panel, ax in zip(panels, axes, strict=False):
        for number, (line, detail) in enumerate(steepest(panel, CURVES)):
            times, counts = detail.curve
            label = f"{count(line[panel.x])} × {line['wait_seconds']:g} s"
            label += "" if line["valid"] else " INVALID"
            dash = DASHES[number % len(DASHES)] if line["valid"] else (0, (1, 3))
            colour = COLOURS[number % len(COLOURS)]
            ax.step(times, counts, where="post", color=colour, linestyle=dash, label=label)
        ax.set_ylim(bottom=0)
        ax.set_ylabel("open sessions")
        ax.yaxis.set_major_formatter(FuncFormatter(lambda y, _: count(y)))
        ax.yaxis.set_major_locator(MaxNLocator(6, integer=True))
        ax.set_xlabel("seconds since the start of the cell")
        note_empty(ax, "no session was open")
        if ax.get_lines() and len(panels) > 1:
            ax.legend(loc="upper center", bbox_to_anchor=(0.45, -0.2), ncols=2, fontsize=8)
        elif ax.get_lines():
            ax.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), fontsize=8)
    return figure


@styled
def distribution(panels: Sequence[Panel]) -> Figure:
    shown = panels[:PANELS]
    cells = [[detail for _, detail in panel.valid_cells] for panel in shown]
    sides = [(total(c.hosts for c in some), total(c.load_workers for c in some)) for some in cells]
    heights = [0.22 * min(max(len(a), len(b), 3), BARS) + 0.8 for a, b in sides]
    figure = new_figure(sum(heights) + 0.2)
    rows = figure.subplots(len(shown), 2, squeeze=False, gridspec_kw={"height_ratios": heights})
    for panel, side, row in zip(shown, sides, rows, strict=True):
        names = ("sessions by host", "sessions by load worker")
        for counts, name, ax in zip(side, names, row, strict=True):
            _bars(ax, counts)
            ax.set_title(f"{name} ({panel.title})" if panel.title else name, loc="left")
    return figure


def _bars(ax: Axes, counts: dict[str, int]) -> None:
    if not sum(counts.values()):
        note(ax, "none known")
        return
    named = len(counts) <= BARS
    amounts = list(counts.values()) if named else sorted(counts.values(), reverse=True)
    ax.barh(range(len(amounts)), amounts, color=COLOURS[0], height=0.7 if named else 1.0)
    ax.axvline(sum(amounts) / len(amounts), color=INK, linewidth=1, linestyle=(0, (2, 2)))
    ax.set_yticks(range(len(counts)), list(counts)) if named else ax.set_yticks([])
    ax.set_ylabel("" if named else f"{len(counts)} of them, by number")
    ax.set_ylim(len(amounts) - 0.4, -0.6)
    ax.xaxis.set_major_formatter(FuncFormatter(lambda x, _: count(x)))
    ax.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    ax.grid(visible=False, axis="y")


@styled
def scaling(curves: Sequence[Curve]) -> Figure:
    shown = curves[:PANELS]
    figure, axes = new_axes(len(shown), 3.4)
    for curve, ax in zip(shown, axes, strict=True):
        _curve(ax, curve)
        ax.set_title(curve.title, loc="left")
        ax.set_xlabel("servers")
    axes[0].set_ylabel("ceiling (sessions)")
    handles = [handle("ceiling", COLOURS[0], "o", "")]
    if any(censored(line) for curve in shown for line in curve.lines):
        handles += [handle("lower bound of a ceiling", COLOURS[0], "^", "")]
    handles += [handle("linear", INK, "", (0, (1, 1.5)))]
    if any(isinstance(curve.fit, Usl) for curve in shown):
        handles += [handle("USL fit, within what was measured", COLOURS[1], "", "-")]
        handles += [handle("extrapolation", COLOURS[1], "", (0, (5, 2.5)))]
    legend(figure, handles)
    return figure


def _curve(ax: Axes, curve: Curve) -> None:
    base = curve.lines[0]
    if known(base["ceiling"]):
        each = base["ceiling"] / base["servers"]
        ends = [base["servers"], curve.farthest]
        ax.plot(ends, [each * end for end in ends], color=INK, linewidth=1, linestyle=(0, (1, 1.5)))
    if isinstance(curve.fit, Usl):
        _draw_fit(ax, curve.fit, curve.farthest)
    for line in curve.lines:
        if not known(line["ceiling"]):
            continue
        height = float(line["ceiling"])
        low, high = (line[f"ceiling_{end}"] for end in ("low", "high"))
        error = [[height - low], [high - height]] if known(low) and known(high) else None
        marker = "^" if censored(line) else "o"
        ax.errorbar(
            line["servers"], height, yerr=error, fmt=marker, color=COLOURS[0], capsize=3, zorder=3
        )
    ax.set_ylim(bottom=0)
    ax.set_xlim(0, curve.farthest + 0.5)
    ax.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda y, _: count(y)))


def _draw_fit(ax: Axes, fit: Usl, farthest: float) -> None:
    min_servers, measured = min(fit.servers), max(fit.servers)
    for low, high, dash in ((min_servers, measured, "-"), (measured, farthest, (0, (5, 2.5)))):
        if high <= low:
            continue
        at = np.linspace(low, high, 40)
        band = [fit.band(n) for n in at]
        ax.plot(at, [fit.at(n) for n in at], color=COLOURS[1], linestyle=dash)
        lows, highs = zip(*band, strict=True)
        if np.isnan(lows).any():
            continue
        ax.fill_between(at, lows, highs, color=COLOURS[1], alpha=0.15, linewidth=0)
