"""The style of figures, and how they are saved."""

import io
import re
from base64 import b64encode
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure

# The page replaces these two with its own colours, which differ in dark mode.
INK, GRID = "#111111", "#b9b9b9"

# The colours of Okabe and Ito. Lines are distinguishable without colour as well.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
MARKERS = ("o", "s", "^", "D", "v", "P")
DASHES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1, 1.2)), (0, (5, 1.5, 1, 1.5)))

WIDTH = 10.5

# An SVG with more characters than this becomes a bitmap in the page.
MAX_SVG = 600_000

PLAIN: Any = {"Software": None}

# The most panels of a figure, curves of a panel, bars with names, and columns with numbers in them.
PANELS, CURVES, BARS, NUMBERED = 9, 6, 24, 12

TEXT_COLOURS = ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color")
STYLE: Any = dict.fromkeys(TEXT_COLOURS, INK) | {
    "svg.fonttype": "none", "svg.hashsalt": "openenv-slurm",
    "font.family": "sans-serif", "font.size": 9,
    "font.sans-serif": ["DejaVu Sans", "Verdana", "Liberation Sans", "Arial"],
    "axes.titlesize": 9, "axes.labelsize": 9, "axes.linewidth": 0.8,
    "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "axes.axisbelow": True,
    "grid.color": GRID, "grid.linewidth": 0.4, "lines.linewidth": 1.6, "lines.markersize": 5,
    "legend.frameon": False, "legend.fontsize": 9,
}  # fmt: skip

styled = matplotlib.rc_context(STYLE)


def svg(figure: Figure, name: str) -> str:
    with matplotlib.rc_context(STYLE | {"svg.hashsalt": name}):
        text = io.StringIO()
        figure.savefig(text, format="svg", transparent=True, metadata={"Date": None})
        figure.set_layout_engine("none")  # keep this layout
    drawn = text.getvalue()
    drawn = drawn[drawn.index("<svg") :]
    drawn = re.sub(r"<metadata>.*?</metadata>", "", drawn, flags=re.DOTALL)
    drawn = re.sub(r"<!--.*?-->\s*", "", drawn, flags=re.DOTALL)
    drawn = re.sub(r' id="(?:figure|axes|patch|line2d|text|xtick|ytick|matplotlib\.axis|legend|'
                   r'LineCollection|PathCollection|FillBetweenPolyCollection|QuadMesh|Poly\w+)_\d+"',
                   "", drawn)  # fmt: skip
    drawn = re.sub(r'(id="|url\(#|xlink:href="#)', rf"\g<1>{name}-", drawn)
    drawn = re.sub(r"'?(?:DejaVu|Verdana|Liberation)[^;\"]*?sans-serif", "sans-serif", drawn)
    drawn = re.sub(r"\n\s*", "\n", drawn)
    return drawn.replace(INK, "currentColor").replace(GRID, "var(--line)").strip()


def element(figure: Figure, name: str) -> str:
    drawn = svg(figure, name)
    if len(drawn) < MAX_SVG:
        return drawn
    picture = io.BytesIO()
    with matplotlib.rc_context(STYLE):
        figure.savefig(picture, format="png", dpi=110, facecolor="white", metadata=PLAIN)
    return f'<img alt="" src="data:image/png;base64,{b64encode(picture.getvalue()).decode()}">'


def png(figure: Figure, path: Path) -> None:
    with matplotlib.rc_context(STYLE):
        figure.savefig(path, format="png", dpi=150, facecolor="white", metadata=PLAIN)
