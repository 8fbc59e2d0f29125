"""Ceilings from lines made by hand."""

import math
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from analysis.errors import ResultsError
from analysis.scaling.brackets import Bracket, interval, means, parse
from analysis.scaling.ceilings import ceilings, censored, COLUMNS, read
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


def test_a_line_says_all_that_there_is_to_a_ceiling() -> None:
    line = ceiling(cell(100), cell(200, 0.01), cell(400, 0.3, bound="ports", bound_evidence="all"))
    assert list(line) == COLUMNS
    assert (line["folder"], line["run_id"], line["servers"]) == ("nodes-2", "run", 2)
    assert (line["workers_per_node"], line["max_concurrent_envs"]) == (4, 100)
    assert (line["ceiling"], line["first_failing"], line["reached"]) == (200, 400, True)
    assert (line["success_at_ceiling"], line["p99_at_ceiling"]) == (0.99, 1.5)
    assert (line["rps_at_ceiling"], line["unique_hosts"]) == (100.0, 2)
    assert (line["bound"], line["bound_evidence"]) == ("ports", "all")
    assert line["criterion"] == "success >= 95 %"


def test_where_nothing_failed_the_ceiling_is_at_least_that() -> None:
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


def test_the_interval_knows_where_a_search_stopped() -> None:
    """Of [300, 400) nobody knows more, however often the search stops there."""
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


def test_beyond_a_batch_that_failed_a_repetition_counts_no_more() -> None:
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


def test_servers_are_those_told_else_expected_else_seen() -> None:
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


def test_a_criterion_says_what_it_is() -> None:
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


def test_a_division_by_zero_is_said() -> None:
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
