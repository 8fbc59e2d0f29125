"""The progress of an experiment on a terminal, and its summary."""

import math
from datetime import datetime, timedelta
from typing import Any

from rich.progress import BarColumn, TextColumn
from rich.progress import Progress as Bar
from rich.table import Table

from analysis.cells.reasons import Counts, Findings
from launcher.cli.display.console import err, out, print_json, say, warn
from launcher.experiment.cell_runner import ProgressListener
from launcher.experiment.grid import Cell
from launcher.experiment.load_processes import Progress


class Display(ProgressListener):
    """A bar for the running cell on a terminal, and a line for each cell that has ended."""

    def __init__(self) -> None:
        self.bar = Bar(
            TextColumn("{task.description}"),
            BarColumn(bar_width=10),
            TextColumn("{task.fields[state]}"),
            console=err,
            disable=not err.is_terminal,
        )
        self._task = self.bar.add_task("starting", total=None, state="")
        self._position = self._ends = ""

    def cell_started(self, cell: Cell, number: int, of: int, left: float | None) -> None:
        self._position = f"[{number}/{of}]" if of else f"[{number}]"
        more = left is not None and number < of
        self._ends = f"  (all done about {_clock(left or 0.0)})" if more else ""
        description = f"{self._position} {cell.label}"
        self.bar.reset(self._task, total=cell.batch, description=description, state="")

    def pause(self) -> None:
        self.bar.stop()

    def progress(self, progress: Progress) -> None:
        self.bar.start()  # starts a thread, so not before the load's processes are forked
        state = f"{progress.open} open, {progress.done} done, {progress.failed} failed{self._ends}"
        self.bar.update(self._task, completed=progress.done, state=state)

    def cell_ended(self, cell: Cell, line: dict[str, Any]) -> None:
        verdict = "" if line["valid"] else f"  INVALID: {line['reasons']}"
        if line["warnings"]:
            verdict += f"  warning: {line['warnings']}"
        say(
            f"{self._position} {cell}: {line['successful']} of {line['batch_size']} succeeded in "
            f"{line['total_wall_time']:.1f} s  {line['errors']}{verdict}{self._ends}".rstrip()
        )

    def warn(self, text: str) -> None:
        warn(text)


def _clock(left: float) -> str:
    end = datetime.now() + timedelta(seconds=left)
    return end.strftime("%H:%M" if end.date() == datetime.now().date() else "%Y-%m-%d %H:%M")


def print_summary(lines: list[dict[str, Any]], *, as_json: bool) -> None:
    if as_json:
        print_json([{key: _plain(value) for key, value in line.items()} for line in lines])
        return
    names = ("mode", "batch", "wait s", "rep", "success", "wall s", "p50 s", "p99 s", "rps")
    table = Table(*names, "hosts", "valid", box=None)
    for line in lines:
        table.add_row(
            line["mode"],
            str(line["batch_size"]),
            f"{line['wait_seconds']:g}",
            str(line["repetition"]),
            f"{1 - line['error_rate']:.1%}",
            _seconds(line["total_wall_time"]),
            _seconds(line["total_p50"]),
            _seconds(line["total_p99"]),
            _seconds(line["requests_per_second"], 0),
            str(line["unique_hosts"]),
            "yes" if line["valid"] else f"NO: {line['reasons']}",
        )
    if lines:
        out.print(table)


def _seconds(value: float, digits: int = 2) -> str:
    return "-" if math.isnan(value) else f"{value:.{digits}f}"


def _plain(value: Any) -> Any:
    """The value for JSON: codes as texts, NaN as null."""
    value = value.item() if hasattr(value, "item") else value
    if isinstance(value, (Counts, Findings)):
        return str(value)
    return None if isinstance(value, float) and math.isnan(value) else value
