"""The figure of ceilings against servers."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from analysis.report.axes import handle, legend, new_axes
from analysis.report.formatting import count, known
from analysis.report.series import Curve
from analysis.report.style import COLOURS, INK, PANELS, styled
from analysis.scaling.ceilings import censored
from analysis.scaling.usl import Usl


@styled
def scaling(curves: Sequence[Curve]) -> Figure:
    """Ceilings by the number of servers, the linear line, and the fit with its band."""
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
        _fit(ax, curve.fit, curve.farthest)
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


def _fit(ax: Axes, fit: Usl, farthest: float) -> None:
    fewest, measured = min(fit.servers), max(fit.servers)
    for low, high, dash in ((fewest, measured, "-"), (measured, farthest, (0, (5, 2.5)))):
        if high <= low:
            continue
        at = np.linspace(low, high, 40)
        band = [fit.band(n) for n in at]
        ax.plot(at, [fit.at(n) for n in at], color=COLOURS[1], linestyle=dash)
        lows, highs = zip(*band, strict=True)
        if np.isnan(lows).any():
            continue
        ax.fill_between(at, lows, highs, color=COLOURS[1], alpha=0.15, linewidth=0)
