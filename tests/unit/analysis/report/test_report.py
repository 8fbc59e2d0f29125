"""Reports: sentences from values, figures from panels, files from folders."""

import csv
import re
import sys
from collections.abc import Callable
from math import nan
from pathlib import Path
from typing import Any

import pytest

from analysis.errors import ResultsError
from analysis.report import (
    axes as report_axes,
)
from analysis.report import (
    figures,
)
from analysis.report import (
    style as report_style,
)
from analysis.report.report import Report, write
from analysis.report.series import (
    crossed,
    Curve,
    Line,
    Panel,
    panels,
    points,
    records,
    steepest,
    success,
    total,
)
from analysis.results.folder import CellDetails, load, Results
from analysis.scaling.criterion import Criterion
from tests.helpers.report_folders import beyond, Made
from tests.helpers.report_lines import ceiling_line, cell, law, panel

FIGURES = ["distribution", "heat", "latency", "open", "p99", "success"]


# Panels and points


def test_invalid_cells_are_in_no_point() -> None:
    lines = panel(
        cell(32), cell(32, repetition=2, error_rate=0.2), cell(32, repetition=3, valid=False)
    )
    (point,) = points(lines, 1.0, success)
    assert (point.mean, point.low, point.high, point.repetitions) == (0.9, 0.8, 1.0, 2)
    assert crossed(lines, 1.0, success) == [(32, 1.0)]


def test_largest_batches_come_first_each_by_its_first_valid_repetition() -> None:
    open_ = CellDetails(curve=([0.0, 1.0], [0, 3]))
    lines = (cell(32), cell(64, valid=False), cell(64, repetition=2), cell(128))
    chosen = steepest(Panel("", lines, (open_, open_, open_, CellDetails())), 5)
    assert [(line["batch_size"], line["repetition"]) for line, _ in chosen] == [(64, 2), (32, 1)]


def test_counts_are_added_up_in_the_order_of_their_numbers() -> None:
    assert list(total([{"load-10": 1, "load-2": 2}, {"load-1": 1, "load-2": 2}]).items()) == [
        ("load-1", 1),
        ("load-2", 4),
        ("load-10", 1),
    ]


def test_titles_of_panels_name_what_differs(tmp_path: Path) -> None:
    loaded = [load(Made(tmp_path / f"n{n}", servers=n, run_id=f"r{n}").write()) for n in (2, 1)]
    ceilings = [
        ceiling_line(folder=one.name, run_id=f"r{one.name[1]}", servers=int(one.name[1]))
        for one in loaded
    ]
    assert [one.title for one in panels(loaded, ceilings)] == ["1 server", "2 servers"]
    assert [one.title for one in panels(loaded[:1], ceilings)] == [""]
    same = [replace_servers(line) for line in ceilings]
    assert [one.title for one in panels(loaded, same)] == ["n2", "n1"]


def replace_servers(line: Line) -> Line:
    return line | {"servers": 2}


def test_arrival_rates_are_the_axis_of_an_open_shape_with_several() -> None:
    import pandas as pd

    lines = [cell(100, shape="open", arrival_rate=rate) for rate in (10.0, 20.0)]
    one = Results(Path("open"), {}, pd.DataFrame(lines).assign(run_id="r"), [CellDetails()] * 2, [])
    (shown,) = panels([one], [])
    assert (shown.x, shown.places, shown.x_name) == (
        "arrival_rate",
        [10.0, 20.0],
        "sessions per second",
    )


def test_missing_whole_numbers_are_none() -> None:
    import pandas as pd

    assert records(pd.DataFrame({"hosts": pd.array([1, None], dtype="Int64")})) == [
        {"hosts": 1},
        {"hosts": None},
    ]


# Figures


GRID = panel(
    cell(32), cell(64, error_rate=0.4), cell(128, error_rate=0.7),
    cell(256, valid=False, error_rate=0.9), cell(32, wait_seconds=5.0),
    details=CellDetails(([0.0, 1.0, 2.0], [0, 9, 0]), {"n1": 9}, {"load-1": 9}),
)  # fmt: skip

DRAWN: dict[str, Callable[[], Any]] = {
    "success": lambda: figures.success_by_batch([GRID], 0.95),
    "p99": lambda: figures.p99_by_batch([GRID], lambda _: 2.0),
    "latency": lambda: figures.latency_parts([GRID]),
    "heat": lambda: figures.heat_map([GRID]),
    "open": lambda: figures.open_sessions([GRID]),
    "distribution": lambda: figures.distribution([GRID]),
    "scaling": lambda: figures.scaling([CURVE]),
}
CURVE = Curve(
    "wait 1 s",
    tuple(
        ceiling_line(
            servers=n,
            ceiling=1000 * n,
            ceiling_low=990.0 * n,
            ceiling_high=1010.0 * n,
            reached=n < 4,
        )
        for n in (1, 2, 4)
    ),
    law(),
)


def test_an_invalid_cell_is_drawn_and_not_joined() -> None:
    (ax,) = figures.success_by_batch([GRID], 0.95).axes
    joined = [line for line in ax.get_lines() if line.get_linestyle() != "None"]
    assert 256 not in {x for line in joined for x in list(line.get_xdata())}
    (cross,) = [line for line in ax.get_lines() if line.get_marker() == "X"]
    assert (list(cross.get_xdata()), cross.get_fillstyle()) == ([256], "none")
    assert ax.get_xscale() == "log"


def test_waits_differ_in_more_than_colour() -> None:
    waits = panel(*(cell(wait_seconds=float(wait)) for wait in range(6)))
    looks = report_axes.looks([waits])
    assert len({colour for colour, _, _ in looks.values()}) == 6
    assert len({marker for _, marker, _ in looks.values()}) == 6


@pytest.mark.parametrize("name", DRAWN)
def test_figures_are_the_same_every_time_and_their_text_is_text(name: str, tmp_path: Path) -> None:
    first, second = (report_style.svg(DRAWN[name](), f"fig-{name}") for _ in range(2))
    assert first == second
    assert "<text" in first
    assert "currentColor" in first
    assert not re.search(r"<metadata|<!DOCTYPE|dc:date", first)
    assert all(name.startswith("fig-") for name in re.findall(r' id="([^"]*)"', first))
    report_style.png(DRAWN[name](), tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("name", list(DRAWN)[:-1])
def test_empty_figures_have_a_note(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    missing = dict.fromkeys([key for key in cell() if "_p" in key], nan)
    none = panel(cell(error_rate=1.0, valid=False, **missing))
    monkeypatch.setitem(globals(), "GRID", none)
    drawn = report_style.svg(DRAWN[name](), "fig-x")
    if name not in ("success", "heat"):
        assert re.search("no session succeeded|no session was open|none known", drawn)


def test_the_fit_is_solid_only_where_something_was_measured() -> None:
    (ax,) = figures.scaling([CURVE]).axes
    fits = [line for line in ax.get_lines() if line.get_color() == report_style.COLOURS[1]]
    spans = {line.get_linestyle(): (min(line.get_xdata()), max(line.get_xdata())) for line in fits}
    assert spans == {"-": (1, 4), "--": (4, 8)}


def test_a_huge_figure_becomes_a_bitmap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report_style, "MAX_SVG", 10)
    assert report_style.element(DRAWN["heat"](), "heat").startswith(
        '<img alt="" src="data:image/png;base64,'
    )


def test_ticks_do_not_overlap() -> None:
    ticks = [32, 1024, 3072, 4096]
    assert report_axes._apart(ticks, [5, 10, 11.6, 12], 0.1) == [32, 1024, 4096]
    assert report_axes._apart([8], [3], 0.1) == [8]


# Files


@pytest.fixture(scope="module")
def experiment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("experiment")
    for servers in (1, 2, 4):
        batches = tuple(servers * batch for batch in (64, 96, 128, 160))
        refused = beyond(100 * servers)
        run_id = f"run-{servers}"
        Made(
            folder / f"nodes-{servers}", batches, (1.0,), 3, servers, refused, run_id=run_id
        ).write()
    return folder


def made(*folders: Path, output: Path | None = None) -> Report:
    return write(folders, output, Criterion())


def test_all_files_of_a_report(tmp_path: Path) -> None:
    folder = Made(tmp_path / "grid", waits=(1.0, 5.0), reps=2).write()
    report = made(folder)
    pictures = [f"figures/{name}.png" for name in FIGURES]
    names = ["LOG_ENTRY.md", "ceilings.csv", *pictures, "report.html", "summary.csv"]
    assert sorted(str(path.relative_to(folder)) for path in report.files) == names
    assert report.warnings == []
    assert (report.cells, report.invalid, report.missing) == (12, 0, None)
    for picture in pictures:
        assert (folder / picture).stat().st_size > 5000


def test_the_page_is_one_file_that_needs_nothing_else(tmp_path: Path) -> None:
    made(folder := Made(tmp_path / "grid", invalid=[(512, 1.0, 1)]).write())
    page = (folder / "report.html").read_text()
    links = re.findall(r'(?:href|src)="([^"]*)"', page)
    files = {"raw.jsonl", "summary.csv", "run.json"}
    assert {link for link in links if not link.startswith(("#", "data:"))} == files
    assert "<script" not in page
    assert not re.search(r"@import|@font-face|url\((?!#)", page)
    assert len(page) < 3_000_000
    assert [int(n) for n in re.findall(r"<h2>(\d+)\.", page)] == list(range(1, 13))
    assert page.index("Verdict") < page.index("<figure")
    assert page.count("<figcaption><b>Figure") == page.count("<figure id=") == len(FIGURES)
    assert "2 of 3 cells are VALID, 1 INVALID." in page
    assert page.count('class="bad"') == 1


def test_a_report_of_the_same_files_is_the_same(tmp_path: Path) -> None:
    folder = Made(tmp_path / "grid", reps=2).write()
    made(folder)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert made(folder).warnings == []
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


@pytest.fixture
def no_page(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hides matplotlib, so that no page is drawn and tests of other files are faster."""
    monkeypatch.setitem(sys.modules, "matplotlib", None)


def test_a_modified_summary_is_rewritten_and_kept(tmp_path: Path, no_page: None) -> None:
    folder = Made(tmp_path / "grid").write()
    made(folder)
    honest = (folder / "summary.csv").read_text()
    with (folder / "summary.csv").open() as file:
        lines = list(csv.DictReader(file))
    tampered = honest.replace(lines[1]["total_p99"], "0.5")
    (folder / "summary.csv").write_text(tampered)
    warned = made(folder).warnings
    assert any("rewritten; the previous file is summary.csv.before" in text for text in warned)
    assert any("total_p99 is 0.5, by the rows" in text for text in warned)
    assert (folder / "summary.csv").read_text() == honest
    assert (folder / "summary.csv.before").read_text() == tampered
    assert "disagrees with the rows" in (folder / "LOG_ENTRY.md").read_text()
    (folder / "summary.csv").write_text("another\n1\n")
    made(folder)
    assert (folder / "summary.csv.before").read_text() == tampered
    assert (folder / "summary.csv.before-2").read_text() == "another\n1\n"


def test_a_summary_without_its_last_cells_is_completed_silently(
    tmp_path: Path, no_page: None
) -> None:
    folder = Made(tmp_path / "grid").write()
    made(folder)
    honest = (folder / "summary.csv").read_text()
    (folder / "summary.csv").write_text("".join(honest.splitlines(keepends=True)[:-1]))
    made(folder)
    assert (folder / "summary.csv").read_text() == honest
    assert not (folder / "summary.csv.before").exists()


def test_an_experiment_is_one_report_with_its_scaling(experiment: Path) -> None:
    report = made(experiment)
    assert report.output == experiment
    names = {str(path.relative_to(experiment)) for path in report.files}
    assert {"scaling.csv", "ceilings.csv", "figures/scaling.png", "nodes-2/summary.csv"} <= names
    page = (experiment / "report.html").read_text()
    assert "times the ceiling of 1 server" in page
    assert "How many nodes for 100,000 sessions?" in page
    assert "EXTRAPOLATION" in page
    assert 'href="nodes-2/raw.jsonl"' in page
    for servers in ("1 server", "2 servers", "4 servers"):
        assert f">{servers}</text>" in page


def test_folders_that_cannot_be_compared_still_have_a_report(tmp_path: Path) -> None:
    one = Made(tmp_path / "one", servers=1).write()
    two = Made(tmp_path / "two", servers=1, run_id="r2").write()
    other = Made(tmp_path / "three", servers=2, run_id="r3").write()
    (tmp_path / "scaling.csv").write_text("of an earlier report")
    report = made(one, two, other)
    assert report.output == tmp_path
    assert any("no scaling.csv: one and two both have 1 server" in text for text in report.warnings)
    assert not (tmp_path / "scaling.csv").exists()
    assert "No scaling: one and two both have" in (tmp_path / "report.html").read_text()


@pytest.mark.parametrize(
    "unusual",
    [
        {"refused": lambda batch, *_: batch},
        {"old_columns": True, "facts": False},
        {"shape": "open", "rate": 50.0},
        {"batches": (1,)},
        {"invalid": [(batch, 1.0, 1) for batch in (32, 128, 512)]},
        {"waits": (0.0,)},
    ],
    ids=["all failed", "of another tool", "open", "one session", "all invalid", "no wait"],
)
def test_reports_of_unusual_folders(unusual: dict[str, Any], tmp_path: Path) -> None:
    report = made(Made(tmp_path / "grid", **unusual).write())
    page = (tmp_path / "grid" / "report.html").read_text()
    assert len(re.findall("<figure id=", page)) == len(FIGURES)
    assert not re.search(
        r"\bnan\b|None|&lt;NA&gt;", re.sub(r"<svg.*?</svg>", "", page, flags=re.DOTALL)
    )
    assert report.missing is None


def test_without_matplotlib_all_but_the_page_is_written(tmp_path: Path, no_page: None) -> None:
    folder = Made(tmp_path / "grid").write()
    report = made(folder)
    assert report.missing == "matplotlib"
    assert sorted(path.name for path in report.files) == [
        "LOG_ENTRY.md",
        "ceilings.csv",
        "summary.csv",
    ]


def test_folders_without_results_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(ResultsError, match="holds no results"):
        made(tmp_path)
    with pytest.raises(ResultsError, match="is not a folder"):
        made(tmp_path / "none")


def test_a_report_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    folder = Made(tmp_path / "grid").write()
    (tmp_path / "file").write_text("")
    with pytest.raises(ResultsError, match="cannot write"):
        made(folder, output=tmp_path / "file")


# Commands


def command(monkeypatch: pytest.MonkeyPatch, name: str, *arguments: object) -> int:
    from launcher.cli import main as cli
    from launcher.cli import report as cli_report

    monkeypatch.setattr(sys, "argv", ["launcher", *map(str, arguments)])
    try:
        cli.run(getattr(cli_report, name), f"launcher {name}")
    except SystemExit as ending:
        assert isinstance(ending.code, int)
        return ending.code
    return 0


def test_report_lists_the_files_that_it_wrote(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = Made(tmp_path / "a grid [1]").write()
    assert command(monkeypatch, "report", folder, "--output", tmp_path / "out") == 0
    written = capsys.readouterr().out.splitlines()
    assert all(Path(path).is_file() for path in written)
    assert str(tmp_path / "out" / "report.html") in written


def test_require_valid_fails_after_the_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = Made(tmp_path / "grid", invalid=[(32, 1.0, 1)]).write()
    assert command(monkeypatch, "report", folder) == 0
    capsys.readouterr()
    assert command(monkeypatch, "report", folder, "--require-valid") == 1
    assert "1 of 3 cell(s) are INVALID" in capsys.readouterr().err
    assert (folder / "report.html").exists()


@pytest.mark.parametrize(
    "arguments",
    [["--success", "2"], ["--p99", "wait.x"], ["--p99", "__import__('os')"], ["--success", "0"]],
)
def test_invalid_criteria_fail_with_one_line(
    arguments: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = Made(tmp_path / "grid").write()
    assert command(monkeypatch, "report", folder, *arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error:")


def test_missing_matplotlib_fails_with_one_line(
    tmp_path: Path,
    no_page: None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert command(monkeypatch, "report", Made(tmp_path / "grid").write()) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert 'pip install -e ".[analysis]"' in line


def test_compare_shows_what_got_worse(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    a = Made(tmp_path / "a", reps=3).write()
    b = Made(tmp_path / "b", reps=3, refused=beyond(300)).write()
    assert command(monkeypatch, "compare", a, a) == 0
    assert "nothing changed beyond the noise" in capsys.readouterr().out
    assert command(monkeypatch, "compare", a, b) == 1
    shown = capsys.readouterr().out
    assert "success" in shown
    assert "WORSE" in shown
    assert command(monkeypatch, "compare", b, a) == 0
    assert "better" in capsys.readouterr().out
    other = Made(tmp_path / "c", servers=1).write()
    assert command(monkeypatch, "compare", a, other) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_compare_as_json(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import json

    a = Made(tmp_path / "a", reps=3).write()
    assert command(monkeypatch, "compare", a, a, "--json") == 0
    compared = json.loads(capsys.readouterr().out)
    assert (compared["a"], compared["worse"]) == ("a", False)
