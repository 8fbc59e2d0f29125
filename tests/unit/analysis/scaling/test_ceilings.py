"""Ceilings from lines made by hand."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from analysis.errors import ResultsError
from analysis.scaling.brackets import Bracket, interval, means, parse, resamples
from analysis.scaling.ceilings import (
    ceilings,
    CeilingStatus,
    censored,
    COLUMNS,
    LOWER_BOUNDS,
    read,
    status,
    whole,
)
from analysis.scaling.criterion import Criterion
from tests.helpers.results import cell, repeated, results


def ceiling(*cells: dict[str, Any], criterion: Criterion | None = None) -> dict[str, Any]:
    (line,) = ceilings([results(*cells)], criterion or Criterion()).to_dict("records")
    return {str(name): value for name, value in line.items()}


@pytest.mark.parametrize(
    ("rates", "expected"),
    [
        ([0.0, 0.05, 0.06], 200),
        ([0.0, 0.2, 0.04], 400),
        ([0.0, 0.0, 0.0], 400),
        ([0.9, 0.9, 0.9], 0),
    ],
)
def test_the_ceiling_is_what_the_runbooks_snippet_finds(rates: list[float], expected: int) -> None:
    cells = [cell(batch, rate) for batch, rate in zip((100, 200, 400), rates, strict=True)]
    df = pd.DataFrame(cells)
    passing = df[df["error_rate"] <= 0.05]
    snippet = passing["batch_size"].max() if len(passing) > 0 else 0
    assert ceiling(*cells)["ceiling"] == snippet == expected


def test_a_line_has_every_column_of_a_ceiling() -> None:
    line = ceiling(cell(100), cell(200, 0.01), cell(400, 0.3, bound="ports", bound_evidence="all"))
    assert list(line) == COLUMNS
    assert (line["folder"], line["run_id"], line["servers"]) == ("nodes-2", "run", 2)
    assert (line["workers_per_node"], line["max_concurrent_envs"]) == (4, 100)
    assert (line["ceiling"], line["first_failing"], line["reached"]) == (200, 400, True)
    assert (line["success_at_ceiling"], line["p99_at_ceiling"]) == (0.99, 1.5)
    assert (line["rps_at_ceiling"], line["unique_hosts"]) == (100.0, 2)
    assert (line["bound"], line["bound_evidence"]) == ("ports", "all")
    assert line["criterion"] == "success >= 95 %"


def test_a_ceiling_is_not_reached_when_no_batch_failed() -> None:
    line = ceiling(cell(100), cell(200))
    assert not line["reached"]
    assert pd.isna(line["first_failing"])


def test_one_repetition_has_no_interval() -> None:
    line = ceiling(cell(100), cell(200, 0.3))
    assert (line["repetitions"], line["by_repetition"]) == (1, "100")
    assert math.isnan(line["ceiling_low"]) and math.isnan(line["ceiling_high"])


def test_the_interval_is_of_the_mean_of_repetitions_and_contains_the_ceiling() -> None:
    line = ceiling(*repeated(200, 300, 400))
    assert (line["ceiling"], line["repetitions"], line["by_repetition"]) == (400, 3, "200 300 400")
    assert line["brackets"] == "200-300 300-400 400-500"
    assert 200 <= line["ceiling_low"] < 300
    assert 400 < line["ceiling_high"] < 499
    assert line == pytest.approx(ceiling(*repeated(200, 300, 400)), nan_ok=True)
    exact = [cell(300 + more, 0.5 * more, repetition=n) for n in (1, 2, 3) for more in (0, 1)]
    same = ceiling(*exact)
    assert (same["ceiling_low"], same["ceiling_high"]) == (300, 300)


def test_the_interval_covers_the_bracket_of_a_search() -> None:
    """The position within [300, 400) stays unknown, however often the search stops there."""
    line = ceiling(*repeated(300, 300, 300))
    assert line["brackets"] == "300-400 300-400 300-400"
    assert line["ceiling_low"] == 300  # widened to the ceiling
    assert 395 < line["ceiling_high"] < 399


def test_a_bracket_is_open_where_nothing_failed() -> None:
    open_ended = [cell(100, repetition=2), cell(200, repetition=2)]
    line = ceiling(*repeated(200), *open_ended)
    assert (line["brackets"], line["ceiling"], line["reached"]) == ("200-300 200-", 200, True)
    assert line["ceiling_low"] == 200
    assert math.isnan(line["ceiling_high"])


def test_brackets_are_read_as_they_are_written() -> None:
    assert parse("336-352 704-") == [Bracket(336, 352), Bracket(704, None)]
    assert " ".join(str(bracket) for bracket in parse("336-352 704-")) == "336-352 704-"
    assert parse("") == parse(math.nan) == parse(None) == []
    assert [
        Bracket(20, 21).max_ceiling,
        Bracket(20, 30).max_ceiling,
        Bracket(20, None).max_ceiling,
    ] == [
        20,
        29,
        math.inf,
    ]


def test_means_of_resamples_are_within_the_brackets_and_the_same_every_time() -> None:
    brackets = parse("100-111 200-221")
    drawn = means(brackets)
    assert 100 < drawn.min() < 102 and 218 < drawn.max() <= 220
    assert drawn.mean() == pytest.approx(157.5, abs=3)
    assert (drawn == means(brackets)).all() and (drawn != means(brackets, seed=1)).any()
    assert set(means(parse("100-101 100-101"))) == {100.0}
    low, high = interval(means(parse("100- 100-")), means(parse("100- 100-"), beyond=math.inf), 90)
    assert (low, high) == (90, math.inf)


def test_batches_beyond_the_first_failure_do_not_count() -> None:
    line = ceiling(cell(100), cell(200, 0.5), cell(400))
    assert (line["ceiling"], line["by_repetition"], line["reached"]) == (400, "100", False)


def test_invalid_lines_do_not_count() -> None:
    line = ceiling(cell(100), cell(200, valid=False), cell(400, 0.9, valid=False))
    assert (line["ceiling"], line["reached"]) == (100, False)


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        # ceiling, reached, first_failing, first_invalid, brackets
        ([cell(512), cell(1024, valid=False)], (512, False, None, 1024, "")),
        (
            [cell(512), cell(1024, valid=False), cell(2048, 0.9)],
            (512, False, 2048, 1024, ""),
        ),
        # the batch that failed is below the INVALID one
        (
            [cell(512), cell(1024, 0.9), cell(2048, valid=False)],
            (512, True, 1024, None, "512-1024"),
        ),
        # a repetition that another one's INVALID cell does not touch
        (
            [*repeated(100), cell(100, repetition=2), cell(150, repetition=2, valid=False)],
            (100, True, 200, None, "100-200"),
        ),
        # only a repetition that does not count has met it at the ceiling
        (
            [*repeated(100), cell(150, repetition=2), cell(175, repetition=2, valid=False)],
            (150, False, 200, 175, "100-200"),
        ),
        # nothing passed, and what might have is INVALID
        ([cell(256, valid=False), cell(512, 0.9)], (None, False, 512, 256, "")),
    ],
)
def test_an_invalid_cell_above_the_ceiling_hides_it(
    cells: list[dict[str, Any]], expected: tuple[Any, ...]
) -> None:
    line = ceiling(*cells)
    names = ("ceiling", "reached", "first_failing", "first_invalid", "brackets")
    assert tuple(None if pd.isna(line[name]) else line[name] for name in names) == expected


def test_a_ceiling_of_the_load_or_below_no_failure_is_a_lower_bound() -> None:
    line = {"ceiling": 64, "first_invalid": None, "reached": True, "bound": "admission cap"}
    assert not censored(line)
    assert censored(line | {"bound": "load generator"})
    assert censored(line | {"reached": False})
    assert not censored(line | {"reached": False, "ceiling": None})


def test_a_table_is_read_again_as_it_was(tmp_path: Path) -> None:
    numbers = [results(*repeated(3000), name=name) for name in ("001", "nan")]
    invalid = results(cell(100, valid=False, run_id="12345678e901"), name="none", caps={})
    for folders in ([*numbers, invalid], [invalid], numbers):
        made = ceilings(folders, Criterion())
        made.to_csv(tmp_path / "ceilings.csv", index=False)
        again = read(tmp_path / "ceilings.csv")
        pd.testing.assert_frame_equal(again, made, check_dtype=False)


def test_without_a_valid_line_the_ceiling_is_unknown() -> None:
    line = ceiling(cell(100, valid=False))
    assert pd.isna(line["ceiling"])
    assert (line["repetitions"], line["by_repetition"]) == (0, "")


def test_modes_shapes_waits_and_steps_have_ceilings_of_their_own() -> None:
    cells = [cell(100), cell(200, mode="http"), cell(300, shape="hold", steps=5)]
    table = ceilings([results(*cells, cell(400, wait_seconds=0.0))], Criterion())
    assert table["ceiling"].tolist() == [100, 200, 300, 400]
    assert table["wait_seconds"].tolist() == [1.0, 1.0, 1.0, 0.0]


def test_servers_are_recorded_or_expected_or_observed() -> None:
    def servers(caps: dict[str, Any], **fields: Any) -> int:
        table = ceilings([results(cell(100, **fields), caps=caps)], Criterion())
        return int(table.loc[0, "servers"])

    assert servers({"servers": 4}, expected_hosts=3) == 4
    assert servers({}, expected_hosts=3) == 3
    assert servers({}) == 2


@pytest.mark.parametrize(
    ("p99", "met"),
    [
        ("1.5", True),
        ("wait * 1.4", False),
        ("wait*2+1", True),
        ("max(wait, steps) + 0.5", True),
        ("min(9, wait/2, 3)", False),
        ("-(-wait) - -1", True),
    ],
)
def test_latency_may_be_part_of_the_criterion(p99: str, met: bool) -> None:
    assert Criterion(p99=p99).met(cell(100)) is met


def test_the_text_of_a_criterion() -> None:
    assert Criterion(0.999).text == "success >= 99.9 %"
    assert Criterion(p99="wait*2+1").text == "success >= 95 % and p99 <= wait*2+1 s"


def test_latency_that_was_not_measured_does_not_meet_a_criterion() -> None:
    assert not Criterion(p99="9").met(cell(100, total_p99=math.nan))


@pytest.mark.parametrize(
    "p99",
    [
        "", " ", "1 +", "wait ** 2", "__import__('os')", "wait.real", "batch", "True", "'a'", "max()",
        "max", "max(wait, key=1)", "[1]", "1 if wait else 2", "wait // 2", "(" * 500, "1" + "+1" * 200,
        "min(*wait)", "1j", "a := 1", "wait\0",
    ],
)  # fmt: skip
def test_what_is_not_arithmetic_is_refused(p99: str) -> None:
    with pytest.raises(ResultsError, match="is not arithmetic") as raised:
        Criterion(p99=p99)
    assert "\n" not in str(raised.value)


def test_a_division_by_zero_is_an_error() -> None:
    with pytest.raises(ResultsError, match=r"for wait 0 and steps 1: .*division by zero"):
        Criterion(p99="1/wait").met(cell(100, wait_seconds=0.0))


@pytest.mark.parametrize("success", [0.0, -1.0, 1.01, 95.0, math.nan])
def test_success_is_a_fraction(success: float) -> None:
    with pytest.raises(ResultsError, match="give a fraction"):
        Criterion(success)


@pytest.mark.parametrize("percent", range(1, 101))
def test_an_error_rate_at_the_limit_meets_the_criterion(percent: int) -> None:
    limit = float(f"{(100 - percent) / 100:.2f}")
    criterion = Criterion(percent / 100)
    assert criterion.met({"error_rate": limit})
    assert not criterion.met({"error_rate": limit + 1e-6})


def test_a_ceiling_of_zero_is_reached_and_has_a_bracket_from_zero() -> None:
    line = ceiling(cell(100, 0.9), cell(200, 0.9), cell(150, 0.9, repetition=2))
    assert (line["ceiling"], line["reached"], line["first_failing"]) == (0, True, 100)
    assert (line["by_repetition"], line["brackets"]) == ("0 0", "0-100 0-150")
    assert pd.isna(line["success_at_ceiling"]) and pd.isna(line["unique_hosts"])
    assert status(line) is CeilingStatus.NONE_PASSED


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        ([cell(100), cell(200, 0.9)], CeilingStatus.MEASURED),
        ([cell(100, 0.9)], CeilingStatus.NONE_PASSED),
        ([cell(100)], CeilingStatus.NO_FAILURE),
        ([cell(100), cell(200, valid=False)], CeilingStatus.INVALID_ABOVE),
        ([cell(100), cell(200, 0.9, bound="load generator")], CeilingStatus.LOAD_LIMITED),
        ([cell(100, valid=False)], CeilingStatus.NO_VALID_CELL),
        ([cell(100, valid=False), cell(200, 0.9)], CeilingStatus.INVALID_BELOW),
    ],
)
def test_status_follows_from_the_cells(
    cells: list[dict[str, Any]], expected: CeilingStatus
) -> None:
    line = ceiling(*cells)
    assert status(line) is expected
    assert censored(line) == (expected in LOWER_BOUNDS)


@pytest.mark.parametrize(
    ("invalid", "reached", "brackets"),
    [(99, True, "100-200"), (101, False, ""), (199, False, ""), (201, True, "100-200")],
)
def test_only_an_invalid_cell_between_ceiling_and_failure_hides_it(
    invalid: int, reached: bool, brackets: str
) -> None:
    line = ceiling(cell(100), cell(200, 0.9), cell(invalid, valid=False))
    assert (line["reached"], line["brackets"]) == (reached, brackets)
    assert line["first_failing"] == 200
    assert pd.isna(line["first_invalid"]) == reached
    if not reached:
        assert line["first_invalid"] == invalid


def test_an_invalid_cell_at_the_first_failure_does_not_hide_that_nothing_passed() -> None:
    line = ceiling(cell(100, 0.9), cell(100, valid=False, repetition=2))
    assert (line["ceiling"], line["first_failing"]) == (0, 100)
    line = ceiling(cell(100, 0.9), cell(99, valid=False, repetition=2))
    assert pd.isna(line["ceiling"]) and line["first_invalid"] == 99


def test_the_smallest_invalid_cell_above_the_ceiling_is_named() -> None:
    hidden = [cell(batch, valid=False) for batch in (300, 200, 400)]
    line = ceiling(cell(100), *hidden, cell(500, 0.9))
    assert (line["first_invalid"], line["first_failing"]) == (200, 500)


def test_values_at_the_ceiling_are_means_over_unequal_repetitions() -> None:
    at = [
        cell(100, 0.0, repetition=1, total_p99=1.0, requests_per_second=90.0, unique_hosts=2),
        cell(100, 0.03, repetition=2, total_p99=4.0, requests_per_second=60.0, unique_hosts=1),
    ]
    line = ceiling(*at, cell(50, 0.04, total_p99=9.0), cell(200, 0.9))
    assert line["success_at_ceiling"] == pytest.approx(0.985)
    assert (line["p99_at_ceiling"], line["rps_at_ceiling"]) == (2.5, 75.0)
    assert line["unique_hosts"] == 1


def test_the_bound_is_that_of_the_smallest_failing_batch() -> None:
    def bound(*cells: dict[str, Any]) -> tuple[str, str]:
        line = ceiling(*cells)
        return line["bound"], line["bound_evidence"]

    larger = cell(300, 0.9, bound="ports", bound_evidence="p")
    failing = [cell(200, 0.9, repetition=n, bound=by, bound_evidence=f"{by} {n}")
               for n, by in enumerate(("server CPU", "Envoy CPU", "Envoy CPU", ""), 1)]  # fmt: skip
    assert bound(cell(100), larger, *failing) == ("Envoy CPU", "Envoy CPU 2")
    assert bound(cell(100), larger, cell(200, 0.9))[0] == "unknown"
    assert bound(cell(100)) == ("", "")
    hidden = cell(200, valid=False, bound="ports", bound_evidence="all")
    assert bound(cell(100), hidden) == ("ports", "all")


@pytest.mark.parametrize(
    ("value", "expected"),
    [(None, None), (math.nan, None), (pd.NA, None), ("many", None), (4.0, 4), ("4", 4), (0, 0), ([], None)],
)  # fmt: skip
def test_whole_is_none_for_anything_but_a_number(value: Any, expected: int | None) -> None:
    assert whole(value) == expected


def test_servers_are_unknown_when_no_host_was_expected_or_answered() -> None:
    table = ceilings([results(cell(100, unique_hosts=0), caps={})], Criterion())
    assert pd.isna(table.loc[0, "servers"])
    table = ceilings([results(cell(100, unique_hosts=1, expected_hosts=0), caps={})], Criterion())
    assert table.loc[0, "servers"] == 1


def test_open_arrivals_have_no_ceiling() -> None:
    cells = [cell(100, shape="open", arrival_rate=5.0), cell(200)]
    assert ceilings([results(*cells)], Criterion())["ceiling"].tolist() == [200]


def test_the_interval_is_the_middle_95_percent() -> None:
    values = np.arange(1000.0)[::-1]
    assert interval(values, values + 1, 500) == (25.0, 975.0)
    assert interval(values, values, -1) == (-1, 974.0)
    assert interval(values, values, 2000) == (25.0, 2000)


def test_resamples_draw_repetitions_with_one_position_each() -> None:
    drawn = resamples(parse("100-201 1000-"), np.random.default_rng(1), beyond=500)
    assert drawn.shape == (2000, 2)
    positions = np.where(drawn < 1000, (drawn - 100) / 100, (drawn - 1000) / 500)
    assert (positions > 0).all() and (positions <= 1).all()
    assert np.allclose(positions[:, 0], positions[:, 1])


@pytest.mark.parametrize(("p99", "met"), [(1.5, True), (1.5 + 1e-9, False)])
def test_a_p99_at_the_limit_meets_the_criterion(p99: float, met: bool) -> None:
    assert Criterion(p99="1.5").met(cell(100, total_p99=p99)) is met
    assert not Criterion(p99="1.5").met(cell(100, 0.06, total_p99=1.0))


def test_the_limit_is_arithmetic_over_wait_and_steps() -> None:
    line = cell(100, wait_seconds=2.0, steps=3)
    assert Criterion(p99="wait * steps - 8 / 4").limit(line) == 4.0
    assert Criterion(p99="max(min(wait, steps), +1) - -0.5").limit(line) == 2.5
    assert Criterion(p99="1" + "0" * 199).limit(line) == float("1" + "0" * 199)
    with pytest.raises(ResultsError, match="is not arithmetic"):
        Criterion(p99="1" + "0" * 200)


@pytest.mark.parametrize(
    "p99", ["abs(wait)", "max(wait, 'a')", "~wait", "wait % 2", "-steps.real", "f"]
)
def test_only_known_functions_operators_and_names_are_arithmetic(p99: str) -> None:
    with pytest.raises(ResultsError, match="is not arithmetic"):
        Criterion(p99=p99)


def test_success_of_everything_is_a_criterion() -> None:
    assert Criterion(1.0).text == "success >= 100 %"
    assert Criterion(1.0).max_error_rate == 0.0
    assert not Criterion(1.0).met(cell(1000, 0.001))
