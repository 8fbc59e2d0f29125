"""Tables of ceilings and of how they scale."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from rich.table import Table

from launcher.cli.display.console import out

Line = Mapping[str, Any]


def scaling_summary(folder: Path) -> dict[str, Any]:
    """The tables of a report, for `print_scaling` and for JSON."""
    import pandas as pd

    from analysis.report.sentences import nodes_sentence
    from analysis.report.texts import caveat
    from analysis.results.file_names import CEILINGS, SCALING
    from analysis.scaling.ceilings import read
    from analysis.scaling.efficiency import caveats
    from analysis.scaling.usl import usl
    from launcher.experiment.ceiling import table_lines

    measured = read(folder / CEILINGS)
    several = (folder / SCALING).exists()
    nodes = [
        f"wait {wait:g} s: {nodes_sentence(usl(lines))}"
        for wait, lines in (measured.groupby("wait_seconds") if several else ())
    ]
    return {
        "ceilings": table_lines(measured),
        "scaling": table_lines(pd.read_csv(folder / SCALING)) if several else [],
        "nodes": nodes,
        "caveats": [caveat(one) for one in caveats(measured)] if several else [],
    }


def print_scaling(summary: Line) -> None:
    names = ("servers", "ceiling", "scaling factor", "efficiency", "interpretation", "bound")
    table = Table("wait s", *names, box=None)
    for line in summary["scaling"] or summary["ceilings"]:
        efficiency = line.get("efficiency")
        table.add_row(
            f"{line['wait_seconds']:g}",
            _number(line["servers"]),
            _number(line["ceiling"]) + _interval(line, "ceiling", _number),
            _number(line.get("scaling_factor"), ".2f"),
            _percent(efficiency) + _means(line) + _interval(line, "efficiency", _percent),
            str(line.get("interpretation") or "-"),
            line["bound"] or "-",
        )
    out.print(table)
    for text in [*summary["caveats"], *summary["nodes"]]:
        out.print(text)


def _number(value: Any, form: str = ",.0f") -> str:
    return "-" if value is None else f"{value:{form}}"


_percent = partial(_number, form=".1%")


def _interval(line: Line, name: str, text: Callable[[Any], str]) -> str:
    low, high = line.get(f"{name}_low"), line.get(f"{name}_high")
    if low is None:
        return ""
    return f" [{text(low)}–{text(high) if high is not None else ''}]"


def _means(line: Line) -> str:
    """The efficiency of the means if it differs noticeably."""
    from analysis.report.sentences import MEANS_DIFFER

    best, means = line.get("efficiency"), line.get("efficiency_of_means")
    if best is None or means is None or abs(best - means) <= MEANS_DIFFER:
        return ""
    return f" (by means {_percent(means)})"


def print_answers(answers: Sequence[Line]) -> None:
    from launcher.experiment.ceiling import sentence, verdict

    names = ("wait s", "ceiling", "next that failed", "by repetition", "success", "p99 s", "rps")
    table = Table(*names, "hosts", "bound", box=None)
    for line in answers:
        table.add_row(
            f"{line['wait_seconds']:g}",
            verdict(line) + _interval(line, "ceiling", _number),
            _number(line["next_failing"]),
            str(line["by_repetition"]),
            _percent(line["success_at_ceiling"]),
            _number(line["p99_at_ceiling"], ".2f"),
            _number(line["rps_at_ceiling"]),
            _number(line["unique_hosts"]),
            line["bound"] or "-",
        )
    out.print(table)
    for line in answers:
        out.print(sentence(line))
        if line["bound"]:
            out.print(f"bound by {line['bound']}: {line['bound_evidence']}")
        for note in line["notes"]:
            out.print(note)
