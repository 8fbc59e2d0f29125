"""Changes between two results, from hand-written lines."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from analysis.compare import noise
from analysis.compare.comparable import DifferenceCode
from analysis.compare.compare import (
    Basis,
    Cell,
    Change,
    compare,
    Comparison,
    MEASURES,
    Missing,
    Verdict,
)
from analysis.errors import ResultsError
from analysis.report import texts
from analysis.results.folder import Results
from launcher.cli import report as cli_report
from tests.helpers.results import CAPS, cell, results


def of(measure: str, *values: float, name: str = "a", batch: int = 1000) -> Results:
    """One cell; its repetitions have these values."""
    name_in_line = "error_rate" if measure == "success" else measure
    cells = []
    for number, value in enumerate(values, 1):
        told = 1 - value if measure == "success" else value
        made = cell(batch, told if measure == "success" else 0.0, repetition=number)
        cells.append(made | {name_in_line: told})
    return results(*cells, name=name)


def notes(found: Comparison) -> list[str]:
    return list(texts.comparison(found)["notes"])


CELL = Cell("ws", "burst", 10, 1.0, 1, None)
BEYOND = (Verdict.WORSE, Verdict.BETTER)


def change(measure: str, a: list[float], b: list[float]) -> Change:
    found = compare(of(measure, *a), of(measure, *b, name="b"))
    (one,) = [one for one in found.changes if one.measure == measure]
    return one


def test_every_measure_of_every_cell_that_both_have() -> None:
    cells = [cell(batch, repetition=n) for batch in (10, 20) for n in (1, 2, 3)]
    found = compare(results(*cells), results(*cells))
    assert [one.measure for one in found.changes] == [*MEASURES, *MEASURES]
    assert {one.relative for one in found.changes} == {0.0}
    assert not found.worse
    assert found.notes == ()
    assert found.changes[0].cell == CELL
    assert {(one.basis, one.repetitions) for one in found.changes} == {(Basis.REPETITIONS, 3)}


@pytest.mark.parametrize(
    ("measure", "a", "b", "verdict"),
    [
        ("total_p99", [1.0, 1.01, 0.99], [1.5, 1.51, 1.49], Verdict.WORSE),
        ("total_p99", [1.5, 1.51, 1.49], [1.0, 1.01, 0.99], Verdict.BETTER),
        ("total_p99", [1.0, 1.001, 0.999], [1.04, 1.041, 1.039], Verdict.NOISE),  # below the floor
        ("total_p99", [1.0, 2.0, 3.0], [1.5, 2.5, 3.5], Verdict.NOISE),  # within the noise
        ("requests_per_second", [100, 101, 99], [50, 51, 49], Verdict.WORSE),
        ("requests_per_second", [50, 51, 49], [100, 101, 99], Verdict.BETTER),
        ("success", [1.0, 1.0, 1.0], [0.9, 0.91, 0.89], Verdict.WORSE),
        ("success", [1.0, 1.0, 1.0], [0.995, 0.995, 0.995], Verdict.NOISE),
        ("connect_p99", [0.1] * 3, [0.2] * 3, Verdict.WORSE),
    ],
)
def test_beyond_the_noise_is_a_large_change_that_repetitions_agree_on(
    measure: str, a: list[float], b: list[float], verdict: Verdict
) -> None:
    found = change(measure, a, b)
    assert (found.verdict, found.basis) == (verdict, Basis.REPETITIONS)


@pytest.mark.parametrize("repetitions", [1, 2])
def test_too_few_repetitions_are_not_tested(repetitions: int) -> None:
    a, b = of("total_p99", *[1.0] * repetitions), of("total_p99", *[9.0] * repetitions, name="b")
    found = compare(a, b)
    one = next(one for one in found.changes if one.measure == "total_p99")
    assert (one.verdict, one.relative, one.p) == (Verdict.NOT_TESTED, 8.0, None)
    assert (one.basis, one.repetitions) == (Basis.NONE, repetitions)
    told = texts.comparison(found)
    note = f"not tested: {repetitions} repetition{'s'[: repetitions - 1]}; give --reps 3 or more"
    assert next(one for one in told["changes"] if one["measure"] == "total_p99")["note"] == note
    assert told["untold"] == [
        f"total_p50, total_p99, connect_p99, step_p99, requests_per_second of 1 cell: {note}"
    ]


@pytest.mark.parametrize(("good", "worse"), [(0.9, True), (0.995, False), (1.0, False)])
def test_success_of_one_repetition_is_judged_by_its_sessions(good: float, worse: bool) -> None:
    found = change("success", [1.0], [good])
    assert (found.verdict is Verdict.WORSE) == worse
    assert (found.basis, found.repetitions) == (Basis.SESSIONS, 1)


def test_a_change_of_few_sessions_is_noise() -> None:
    found = compare(of("success", 1.0, batch=4), of("success", 0.5, batch=4, name="b"))
    assert not found.worse


def test_other_caps_are_refused() -> None:
    for name in ("max_concurrent_envs", "workers_per_node", "servers"):
        other = results(cell(10), name="b", caps=CAPS | {name: 77})
        with pytest.raises(ResultsError, match=rf"has {name} \d+, /exp/b has 77"):
            compare(results(cell(10)), other)


def test_unknown_caps_are_a_note() -> None:
    found = compare(results(cell(10), caps={}), results(cell(10)))
    assert {note.code for note in found.notes} == {DifferenceCode.CAP_UNKNOWN}  # type: ignore[union-attr]
    assert notes(found)[0] == "max_concurrent_envs is not known for both results, so it may differ"


def test_invalid_lines_are_left_out_with_a_note() -> None:
    bad = cell(10, total_p99=99.0, valid=False, repetition=2)
    found = compare(results(cell(10)), results(cell(10), bad, name="b"))
    assert notes(found) == ["b: 1 INVALID line left out: ws burst batch 10 wait 1 steps 1"]
    assert all(one.a == one.b for one in found.changes)


def test_cells_only_in_b_are_a_note() -> None:
    found = compare(results(cell(10)), results(cell(10), cell(20), name="b"))
    assert notes(found) == ["only b has valid lines of: ws burst batch 20 wait 1 steps 1"]
    assert not found.worse


@pytest.mark.parametrize(
    ("others", "told"),
    [
        ([cell(10)], "not in b"),
        ([cell(10), cell(20, valid=False, reasons="3 of 20 rows")], "INVALID in b (3 of 20 rows)"),
        ([cell(20, valid=False, reasons="3 of 20 rows")], "INVALID in b (3 of 20 rows)"),
    ],
)
def test_a_cell_that_is_valid_in_a_alone_is_worse(others: list[dict[str, Any]], told: str) -> None:
    found = compare(results(cell(10), cell(20)), results(*others, name="b"))
    assert f"ws burst batch 20 wait 1 steps 1: {told}" in texts.comparison(found)["missing"]
    assert found.worse


def test_a_search_chooses_its_own_batches() -> None:
    a, b = results(cell(10), cell(20), cell(30)), results(cell(10), cell(20, valid=False), name="b")
    a.run["search"] = {}
    found = compare(a, b)
    assert found.missing == (Missing(CELL._replace(batch_size=20), ""),)
    assert "only nodes-2 has valid lines of: ws burst batch 30 wait 1 steps 1" in notes(found)


def test_compare_fails_without_a_common_cell() -> None:
    with pytest.raises(ResultsError, match="have no cell in common"):
        compare(results(cell(10)), results(cell(20)))


def test_measures_missing_on_one_side_are_left_out() -> None:
    nothing: dict[str, Any] = {"total_p50": None, "total_p99": None}
    found = compare(results(cell(10)), results(cell(10, 1.0, **nothing)))
    assert {one.measure for one in found.changes}.isdisjoint(nothing)
    assert found.worse  # no session succeeded


def test_arrival_rates_are_cells_of_their_own() -> None:
    cells = [cell(10, shape="open", arrival_rate=rate) for rate in (5.0, 10.0)]
    found: Comparison = compare(results(*cells), results(*cells))
    assert len(found.changes) == 2 * len(MEASURES)
    told = texts.comparison(found)["changes"]
    assert told[0]["cell"] == "ws open batch 10 wait 1 steps 1 arrival rate 5"


def test_other_arrivals_are_refused() -> None:
    a, b = (results(cell(10, shape="open", arrival_rate=5.0), name=name) for name in "ab")
    unknown = "the arrivals of sessions are not known for both results, so they may differ"
    assert unknown in notes(compare(a, b))
    a.run["grid"], b.run["grid"] = {"arrivals": "poisson"}, {"arrivals": "constant"}
    with pytest.raises(
        ResultsError, match="/exp/a arrive with --arrivals poisson, those of /exp/b"
    ):
        compare(a, b)
    b.run["grid"] = {"arrivals": "poisson"}
    assert compare(a, b).notes == ()


def test_arrivals_do_not_matter_for_bursts() -> None:
    a, b = results(cell(10), name="a"), results(cell(10), name="b")
    a.run["grid"], b.run["grid"] = {"arrivals": "poisson"}, {"arrivals": "constant"}
    assert compare(a, b).notes == ()


def test_other_differences_are_notes() -> None:
    a, b = (results(cell(10, hardware=f"{name}-64cpu"), name=name) for name in "ab")
    a.run |= {"grid": {"timeout": 120.0}, "placement": {"load_nodes": ["n1"]}}
    b.run |= {"grid": {"timeout": 5.0}, "placement": {"load_nodes": ["n1", "n2"]}}
    a.run["versions"], b.run["versions"] = {"openenv-slurm": "1.0"}, {"openenv-slurm": "1.1"}
    assert notes(compare(a, b)) == [
        "timeout (s) differs: 120.0 in a, 5.0 in b",
        "number of load nodes differs: 1 in a, 2 in b",
        "hardware differs: a-64cpu in a, b-64cpu in b",
        "version of openenv-slurm differs: 1.0 in a, 1.1 in b",
    ]
    del b.run["grid"], b.run["placement"], b.run["versions"]
    assert len(compare(a, b).notes) == 1


def system(dice: np.random.Generator, slower: float = 1.0) -> Results:
    """12 cells, 3 repetitions, 10 % of noise in all that is measured."""
    lines = []
    for batch in range(100, 1300, 100):
        for repetition in (1, 2, 3):
            line = cell(batch, dice.binomial(batch, 0.03) / batch, repetition=repetition)
            line |= {name: dice.normal(1.0, 0.1) for name in MEASURES if name != "success"}
            line["total_p99"] *= slower
            lines.append(line)
    return results(*lines)


def test_equal_systems_rarely_differ() -> None:
    dice = np.random.default_rng(20260301)
    found = [compare(system(dice), system(dice)) for _ in range(100)]
    assert sum(any(one.verdict in BEYOND for one in pair.changes) for pair in found) <= 8
    assert sum(pair.worse for pair in found) <= 8


@pytest.mark.parametrize("slower", [2.0, 1.3])
def test_a_slowdown_of_all_cells_is_detected(slower: float) -> None:
    dice = np.random.default_rng(20260301)
    for _ in range(10):
        found = compare(system(dice), system(dice, slower))
        worse = [one for one in found.changes if one.verdict is Verdict.WORSE]
        assert {one.measure for one in worse} == {"total_p99"}
        assert (worse[-1].cell, worse[-1].cells, worse[-1].basis) == (None, 12, Basis.CELLS)
        assert worse[-1].relative == pytest.approx(slower - 1, rel=0.5)
        assert slower < 2 or len(worse) > 5


def test_a_change_of_all_cells_is_the_mean_over_them() -> None:
    def made(p99s: list[float], errors: list[float], name: str) -> Results:
        cells = zip((10, 20, 40), p99s, errors, strict=True)
        return results(
            *(
                cell(batch, error, total_p99=p99, repetition=n)
                for batch, p99, error in cells
                for n in (1, 2, 3)
            ),
            name=name,
        )

    found = compare(made([1, 2, 4], [0, 0, 0.3], "a"), made([2, 4, 8], [0.2, 0.2, 0.5], "b"))
    of_all = {one.measure: one for one in found.changes if one.cells == 3}
    success, p99 = of_all["success"], of_all["total_p99"]
    assert (success.a, success.b) == (pytest.approx(0.9), pytest.approx(0.7))
    assert (p99.a, p99.b, p99.relative) == tuple(map(pytest.approx, (2.0, 4.0, 1.0)))
    assert p99.verdict is Verdict.WORSE


@pytest.mark.parametrize(
    ("t", "freedom", "p"),
    [
        (12.706, 1, 0.05),
        (4.303, 2, 0.05),
        (-3.182, 3, 0.05),
        (2.776, 4, 0.05),
        (2.0096, 49, 0.05),
        (0.0, 5, 1.0),
        (8.610, 4, 0.001),
    ],
)
def test_chances_are_those_of_students_tables(t: float, freedom: int, p: float) -> None:
    assert noise.students(t, freedom) == pytest.approx(p, rel=1e-3)


def test_two_groups_have_the_larger_spread() -> None:
    a, b = np.array([1.0, 2.0, 3.0]), np.array([3.0, 4.0, 5.0])
    own = noise.spread((a, b))
    assert (own.variance, own.freedom) == (1.0, 4)
    small, large = noise.Spread(0.01, 40), noise.Spread(4.0, 40)
    t = 2 / math.sqrt(2 / 3)
    assert noise.of_two(a, b, small) == noise.students(t, 4)
    assert noise.of_two(a, b, large) == noise.students(t / 2, 40)


def test_without_any_spread_every_difference_is_one() -> None:
    a, nothing = np.array([1.0, 1.0, 1.0]), noise.Spread(0.0, 4)
    assert noise.of_two(a, a + 1, nothing) == noise.of_pairs([1.0, 1.0, 1.0]) == 0.0
    assert noise.of_two(a, a, nothing) == noise.of_pairs([0.0, 0.0, 0.0]) == 1.0


def test_shares_of_sessions_differ_beyond_chance() -> None:
    assert noise.of_shares(1000, 900, 1000, 1000) < 1e-9
    assert noise.of_shares(1000, 998, 1000, 1000) == 1.0
    assert noise.of_shares(1000, 1000, 1000, 1000) == 1.0
    assert noise.of_shares(0, 0, 5, 5) == 1.0
    # z = (0.95 − 0.90 − 0.001) / sqrt(2 · 0.925 · 0.075 / 1000)
    expected = noise.CLUSTERED * math.erfc(0.049 / math.sqrt(0.00013875) / math.sqrt(2))
    assert noise.of_shares(950, 900, 1000, 1000) == pytest.approx(expected)


def test_each_test_is_corrected_for_all() -> None:
    assert noise.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert noise.holm([0.5, 0.9]) == [1.0, 1.0]
    assert noise.holm([]) == []


def shown(found: Comparison, capsys: pytest.CaptureFixture[str]) -> str:
    cli_report._print_comparison(texts.comparison(found))
    return capsys.readouterr().out


def test_nothing_changed_appears_only_when_everything_was_tested(
    capsys: pytest.CaptureFixture[str],
) -> None:
    told = compare(of("success", 1.0, 1.0, 1.0), of("success", 1.0, 1.0, 1.0, name="b"))
    assert shown(told, capsys) == "nothing changed beyond the noise from a to b\n"
    untold = shown(compare(of("success", 1.0), of("success", 1.0, name="b")), capsys)
    assert "nothing changed" not in untold
    assert "of 1 cell: not tested: 1 repetition; give --reps 3 or more" in untold
    gone = shown(replace(told, missing=(Missing(CELL, None),)), capsys)
    assert gone == "WORSE: valid in a only: ws burst batch 10 wait 1 steps 1: not in b\n"


def test_the_json_of_a_comparison_has_every_field() -> None:
    told = texts.comparison(compare(of("success", 1.0, 1.0, 1.0), of("success", 0.5, 0.5, 0.5)))
    assert set(told) == {"a", "b", "changes", "notes", "missing", "untold", "worse"}
    assert told["changes"][0] == {
        "cell": "ws burst batch 1000 wait 1 steps 1",
        "measure": "success",
        "a": 1.0,
        "b": 0.5,
        "relative": -0.5,
        "beyond_noise": True,
        "worse": True,
        "note": "",
        "p": 0.0,
    }


def test_a_change_from_zero_has_no_relative_size() -> None:
    assert change("success", [0.0] * 3, [1.0] * 3).relative is None
