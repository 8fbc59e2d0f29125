"""The table of targets and the page on performance: a run's JSON in, text out."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.perf import page, table, targets


def measured(figure: str, of: str, failed: int = 0, **values: float) -> dict[str, Any]:
    return {
        "figure": figure,
        "of": of,
        "round": 1,
        "values": values,
        "sessions": 100,
        "failed": failed,
        "errors": {"TIMEOUT": failed} if failed else {},
        "idle": True,
        "at": "",
        "note": "",
    }


def run(*measurements: dict[str, Any], errors: dict[str, str] | None = None) -> dict[str, Any]:
    asked = {each["figure"] for each in measurements} | set(errors or {})
    figures = {
        name: {"title": f"figure {name}", "error": (errors or {}).get(name), "seconds": 1.0}
        for name in asked
    }
    sizes = {"rounds": 3, "sessions": 100, "wait": 1.0, "stepping": 10, "steps": 5}
    machine = {"cores": 2, "cpu": "abacus", "memory_gib": 8.0, "kernel": "6.1"}
    return {
        "figures": figures,
        "measurements": list(measurements),
        "notes": {},
        "sizes": sizes | {"large": 400, "held": 1000, "sampled": 5},
        "machine": machine,
        "versions": {"python": "3.11"},
        "commit": "abc",
        "dirty": False,
        "begun": "2026-01-01T00:00:00Z",
        "quick": False,
    }


def verdicts(result: dict[str, Any]) -> list[tuple[str, str]]:
    return [(line.target.peer or "", line.verdict) for line in targets.lines(result)]


def test_a_figure_is_the_median_and_a_ratio_that_of_medians() -> None:
    costs = [measured("1", "kit", cpu_us=cost) for cost in (140, 150, 900)]
    result = run(
        *costs, measured("1", "picows", cpu_us=100), measured("1", "stock OpenEnv", cpu_us=600)
    )
    picows, stock = targets.lines(result)
    assert (picows.figure, picows.low, picows.high, picows.ratio, picows.met) == (
        *(150, 140, 900),
        *(1.5, True),
    )
    assert (stock.ratio, stock.met) == (0.25, False)


def test_where_more_is_better_the_ratio_is_a_least_one() -> None:
    kit, slow = (
        measured("2", "kit", steps_per_s=500),
        measured("2", "stock OpenEnv", steps_per_s=100),
    )
    assert ("stock OpenEnv", "met") in verdicts(run(kit, slow))
    slow["values"]["steps_per_s"] = 101
    assert ("stock OpenEnv", "met") not in verdicts(run(kit, slow))


def test_a_measurement_in_which_sessions_failed_is_no_figure() -> None:
    result = run(
        measured("6", "kit", failed=3, wall=1.0), measured("6", "asyncio client + stock", wall=9)
    )
    assert [line.verdict for line in targets.lines(result)] == ["not measured"] * 2
    assert "3 of 100 sessions failed (3 TIMEOUT)" in page.page(result, "bench.json")


def test_success_counts_what_failed_and_the_worst_measurement() -> None:
    result = run(measured("8", "kit", opened_s=9), measured("8", "kit", failed=1, opened_s=1))
    success, opened, memory = targets.lines(result)
    assert (success.figure, success.met) == (0.99, False)
    assert (opened.figure, opened.met) == (9, True)
    assert memory.met is None


def test_what_could_not_be_measured_says_why() -> None:
    result = run(errors={"10": "needs root"})
    assert {line.why for line in targets.lines(result)} == {"needs root"}
    text = page.page(result, "bench.json")
    assert "Could not be measured: figure 10: needs root." in text
    assert "not measured: needs root" in table.text(result)


def test_the_page_says_what_wrote_it_and_holds_only_what_was_asked() -> None:
    text = page.page(run(measured("11", "kit", ready_s=2.5)), "some.json")
    assert "Written by `python -m tests.perf.page some.json`" in text
    assert "Of 1 conditions 1 met." in text
    assert "| 11 | time to ready, 4 servers | 2.5 s | 2.5–2.5 | ≤ 3 s |" in text
    assert "Load generators" not in text
    assert "commit abc," in text


def test_where_the_time_goes_adds_up() -> None:
    parts = [
        measured("where", name, user_us=user, system_us=10, cpu_us=user + 10)
        for name, user in (("server", 90), ("envoy", 290))
    ]
    text = page.page(run(*parts), "bench.json")
    assert "| server | 90 | 10 | 100 | 25 % |" in text
    assert "Together 400 µs of CPU a session: a burst of 100 keeps 2 cores busy for 0.02 s" in text


@pytest.mark.parametrize("content", ["", "no JSON", None])
def test_a_file_that_is_none(tmp_path: Path, content: str | None, capsys: Any) -> None:
    file = tmp_path / "bench.json"
    if content is not None:
        file.write_text(content)
    assert page.main([str(file)]) == 1
    assert capsys.readouterr().err.startswith(f"error: {file}: ")


def test_the_page_goes_into_a_file(tmp_path: Path) -> None:
    file, written = tmp_path / "bench.json", tmp_path / "PAGE.md"
    file.write_text(json.dumps(run(measured("11", "kit", ready_s=4))))
    assert page.main([str(file), "--output", str(written)]) == 0
    assert "Not met: 11." in written.read_text()


def test_another_run_adds_the_figures_that_are_missing() -> None:
    first = run(measured("1", "kit", cpu_us=100))
    further = run(
        measured("1", "kit", cpu_us=900),
        measured("ways", "as it is", cpu_us=300),
        measured("ways memory", "as it is", memory_kb=50),
    ) | {"commit": "def"}
    written = page.page(page.joined(first, [further]), "a.json b.json")
    assert "900" not in written  # the first run has that figure
    assert "| as it is | - | - | 300 | 50 |" in written
    assert "Measured by itself, at commit def on 2026-01-01T00:00:00Z: ways" in written
