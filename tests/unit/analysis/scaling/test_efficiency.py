"""Scaling from ceilings made by hand."""

import math
import sys
from typing import Any

import pandas as pd
import pytest

from analysis.errors import ResultsError
from analysis.scaling.brackets import parse
from analysis.scaling.ceilings import ceilings, CeilingStatus
from analysis.scaling.criterion import Criterion
from analysis.scaling.efficiency import (
    Band,
    Caveat,
    CaveatCode,
    caveats,
    Cells,
    COLUMNS,
    interpret,
    Interpretation,
    Interval,
    LowerBound,
    scaling,
    Verdict,
)
from analysis.scaling.usl import NoFit, NoFitCode, Usl, usl
from tests.helpers.results import CAPS, cell, repeated, results


def measured(*phases: tuple[int, list[int]], **caps: Any) -> pd.DataFrame:
    """Ceilings of (servers, tops of repetitions)."""
    folders = [
        results(*repeated(*tops), name=f"nodes-{n}", caps=CAPS | {"servers": n} | caps)
        for n, tops in phases
    ]
    return ceilings(folders, Criterion())


def searched(*phases: tuple[int, str], bound: Any = None) -> pd.DataFrame:
    """Ceilings of (servers, brackets of repetitions, as "336-352 704-"); `bound` by servers."""
    folders = []
    for n, text in phases:
        cells = []
        for number, (low, high) in enumerate(parse(text), 1):
            cells.append(cell(low, repetition=number))
            by = (bound or {}).get(n, "")
            if high is not None:
                cells.append(cell(high, 0.5, repetition=number, bound=by))
        folders.append(results(*cells, name=f"nodes-{n}", caps=CAPS | {"servers": n}))
    return ceilings(folders, Criterion())


CELLS = Cells("ws", "burst", 1.0, 1)


def law(rate: float, contention: float, coherence: float, *counts: int) -> pd.DataFrame:
    exact, around = Usl(rate, contention, coherence, (), ()), (0.98, 1.0, 1.02)
    lines = [
        {
            "mode": "ws", "shape": "burst", "wait_seconds": 1.0, "steps": 1, "servers": n,
            "ceiling": round(exact.at(n)), "reached": True, "bound": "",
            "first_invalid": None,
            "brackets": " ".join(f"{round(exact.at(n) * x)}-{round(exact.at(n) * x) + 1}" for x in around),
        }
        for n in counts
    ]  # fmt: skip
    return pd.DataFrame(lines)


def test_efficiency_is_the_runbooks_formula() -> None:
    table = scaling(searched((1, "1000-1001 1000-1001"), (2, "1800-1801 1800-1801"),
                             (4, "2000-2001 2000-2001")))  # fmt: skip
    assert list(table.columns) == COLUMNS
    assert table["expected_linear"].tolist() == [1000, 2000, 4000]
    assert table["scaling_factor"].tolist() == [1.0, 1.8, 2.0]
    assert table["efficiency"].tolist() == [1.0, 0.9, 0.5]
    assert table["efficiency_low"].tolist() == [1.0, 0.9, 0.5]
    verdicts = [one.verdict for one in table["interpretation"]]
    assert verdicts == [Verdict.BASELINE, Verdict.GOOD, Verdict.OVERHEAD]


def test_the_baseline_is_the_fewest_servers_whatever_the_order() -> None:
    table = scaling(measured((6, [3000, 3000]), (2, [1000, 1000])))
    assert table["servers"].tolist() == [2, 6]
    assert table["efficiency"].tolist() == [1.0, 1.0]


def test_intervals_are_of_the_repetitions_of_both() -> None:
    table = scaling(measured((1, [900, 1000, 1100]), (2, [1600, 1800, 2000])))
    line = table.iloc[1]
    assert line["efficiency_low"] < line["efficiency"] == pytest.approx(2000 / 2200)
    assert line["efficiency"] < line["efficiency_high"]
    for end in ("low", "high"):
        assert line[f"efficiency_{end}"] == line[f"factor_{end}"] / 2
    again = scaling(measured((1, [900, 1000, 1100]), (2, [1600, 1800, 2000])))
    pd.testing.assert_frame_equal(table, again)


def test_one_repetition_has_no_interval_and_a_caveat() -> None:
    found = measured((1, [1000]), (2, [1800]))
    assert math.isnan(scaling(found).loc[1, "efficiency_low"])
    assert caveats(found) == [
        Caveat(CaveatCode.ONE_REPETITION, name, CELLS) for name in ("nodes-1", "nodes-2")
    ]


INF = math.inf


@pytest.mark.parametrize(
    ("low", "efficiency", "high", "verdict", "reaches"),
    [
        (0.8, 0.85, 0.89, Verdict.OVERHEAD, ()),
        (0.85, 0.899, 0.95, Verdict.OVERHEAD, (Band.GOOD,)),
        (0.85, 0.899, 1.05, Verdict.OVERHEAD, (Band.GOOD,)),
        (0.9 - 1e-12, 0.9 - 1e-12, 1.0 + 1e-12, Verdict.GOOD, ()),
        (0.9 - 1e-6, 0.9 - 1e-6, 0.9 - 1e-6, Verdict.OVERHEAD, ()),
        (0.85, 0.95, 0.99, Verdict.GOOD, (Band.OVERHEAD,)),
        (0.95, 1.0, 1.04, Verdict.GOOD, ()),
        (1.0, 1.0 + 1e-6, 1.04, Verdict.ABOVE_LINEAR, ()),
        (0.95, 1.2, 1.3, Verdict.ABOVE_LINEAR, ()),
        (0.8, 1.2, INF, Verdict.ABOVE_LINEAR, (Band.OVERHEAD,)),
        (1.1, 1.2, 1.3, Verdict.SUPERLINEAR, ()),
    ],
)
@pytest.mark.parametrize("resampled", [False, True])
def test_the_verdict_follows_the_bands(
    low: float, efficiency: float, high: float, verdict: Verdict, reaches: Any, resampled: bool
) -> None:
    found = interpret(efficiency, Interval(low, high, resampled))
    assert (found.verdict, found.reaches, found.efficiency) == (verdict, reaches, efficiency)
    assert found.resampled == (resampled or verdict is Verdict.SUPERLINEAR)
    assert not found.skewed and not found.lower_bounds


def last(found: pd.DataFrame) -> Interpretation:
    """The interpretation of the phase with the most servers."""
    interpretation = scaling(found)["interpretation"].iloc[-1]
    assert isinstance(interpretation, Interpretation)
    return interpretation


def test_an_open_bracket_is_not_superlinear_scaling() -> None:
    table = scaling(searched((1, "336-352 336-352 320-336"), (2, "688-720 688-720 688-720")))
    line = table.iloc[1]
    assert line["efficiency"] == pytest.approx(688 / 672)
    assert line["efficiency_low"] < 1 < line["efficiency"] < line["efficiency_high"]
    assert line["interpretation"].verdict is Verdict.ABOVE_LINEAR


@pytest.mark.parametrize(
    ("baseline", "phase", "verdict", "reaches"),
    [
        ("1000-1001", "1900-1901", Verdict.GOOD, ()),
        ("1000-1050", "1900-1990", Verdict.GOOD, ()),
        ("1000-1050", "2000-2090", Verdict.GOOD, ()),
        ("1000-1050", "1850-1900", Verdict.GOOD, (Band.OVERHEAD,)),
        ("1000-1050", "2050-2150", Verdict.ABOVE_LINEAR, ()),
        ("1000-1050", "2200-2300", Verdict.SUPERLINEAR, ()),
    ],
)
def test_one_repetition_is_judged_by_its_bracket(
    baseline: str, phase: str, verdict: Verdict, reaches: tuple[Band, ...]
) -> None:
    found = searched((1, baseline), (2, phase))
    assert (last(found).verdict, last(found).reaches) == (verdict, reaches)
    assert last(found).resampled == (verdict is Verdict.SUPERLINEAR)
    assert scaling(found)[["efficiency_low", "factor_high"]].iloc[1].isna().all()


def test_a_baseline_with_a_repetition_that_passed_nothing_has_no_interval() -> None:
    found = searched((1, "0-10 100-110"), (2, "200-210 200-210"))
    assert scaling(found).loc[1, ["factor_low", "factor_high"]].isna().all()
    assert last(found).verdict is Verdict.GOOD


def test_a_single_repetition_on_one_side_has_no_interval() -> None:
    for phases in (
        ((1, "100-110 100-110"), (2, "150-160")),
        ((1, "100-110"), (2, "150-160 150-160")),
    ):
        line = scaling(searched(*phases)).iloc[1]
        assert math.isnan(line["efficiency_low"]) and math.isnan(line["factor_low"])
        assert not line["interpretation"].resampled


def test_an_open_repetition_leaves_the_interval_open() -> None:
    found = searched((1, "100-101 100-101"), (2, "190-191 190-"))
    line = scaling(found).iloc[1]
    assert line["efficiency_low"] == 0.95
    assert math.isnan(line["efficiency_high"]) and math.isnan(line["factor_high"])
    assert line["interpretation"].verdict is Verdict.GOOD


def test_the_efficiency_of_means_uses_all_repetitions() -> None:
    table = scaling(searched((1, "800-801 1000-1001"), (2, "1500-1501 1560-1561")))
    assert table["efficiency"].tolist() == [1.0, 0.78]
    assert table["efficiency_of_means"].tolist() == [1.0, 0.85]
    assert table.columns[-1] == "efficiency_of_means"


def test_the_efficiency_of_means_weighs_unequal_numbers_of_repetitions() -> None:
    table = scaling(searched((1, "800-801 1000-1001 1200-1201"), (4, "2000-2001 4000-4001")))
    assert table["efficiency_of_means"].tolist() == [1.0, 0.75]
    assert table["scaling_factor"].tolist() == [1.0, 4000 / 1200]


ONE = LowerBound(1, 1000, CeilingStatus.NO_FAILURE, None)
TWO = LowerBound(2, 1500, CeilingStatus.NO_FAILURE, None)


@pytest.mark.parametrize(
    ("baseline", "phase", "bound", "verdict", "bounds"),
    [
        ("1000-1001", "1500-", {}, Verdict.AT_LEAST, (TWO,)),
        ("1000-", "1500-1501", {}, Verdict.AT_MOST, (ONE,)),
        ("1000-", "1500-", {}, Verdict.UNDETERMINED, (ONE, TWO)),
        ("1000-1001", "1500-1501", {2: "load generator"}, Verdict.AT_LEAST,
         (TWO._replace(status=CeilingStatus.LOAD_LIMITED),)),
        ("1000-1001", "1500-1501", {1: "load generator"}, Verdict.AT_MOST,
         (ONE._replace(status=CeilingStatus.LOAD_LIMITED),)),
    ],
)  # fmt: skip
def test_lower_bounds_are_in_no_band(
    baseline: str, phase: str, bound: Any, verdict: Verdict, bounds: tuple[LowerBound, ...]
) -> None:
    found = searched((1, " ".join([baseline] * 2)), (2, " ".join([phase] * 2)), bound=bound)
    assert last(found) == Interpretation(verdict, 0.75, lower_bounds=bounds)
    assert scaling(found)[["efficiency_low", "efficiency_high"]].iloc[1].isna().all()
    assert [one.lower_bound for one in caveats(found)] == list(bounds)
    assert {one.code for one in caveats(found)} == {CaveatCode.LOWER_BOUND}


def test_accept_skew_at_the_baseline_explains_more_than_linear() -> None:
    skew = {1: "accept skew"}
    assert last(searched((1, "10-11 10-11"), (2, "40-41 40-41"), bound=skew)).skewed
    assert last(searched((1, "10-11 10-11"), (2, "20-23 20-23"), bound=skew)).skewed
    assert not last(searched((1, "10-11 10-11"), (2, "20-21 20-21"), bound=skew)).skewed
    assert not last(searched((1, "10-11 10-11"), (2, "18-19 18-19"), bound=skew)).skewed
    assert not last(searched((1, "10-11 10-11"), (2, "40-41 40-41"))).skewed
    assert not last(
        searched((1, "10-11 10-11"), (2, "40-41 40-41"), bound={2: "accept skew"})
    ).skewed


@pytest.mark.parametrize("name", ["max_concurrent_envs", "workers_per_node"])
def test_phases_with_other_caps_are_not_compared(name: str) -> None:
    phases = [measured((1, [1000])), measured((2, [2000]), **{name: 7})]
    with pytest.raises(ResultsError, match=rf"nodes-1 has {name} \d+, nodes-2 has 7: .* cannot be"):
        scaling(pd.concat(phases))


def test_unknown_caps_are_a_caveat() -> None:
    phases = [measured((1, [1000, 1000])), measured((2, [2000, 2000]), max_concurrent_envs=None)]
    found = pd.concat(phases)
    assert scaling(found)["efficiency"].tolist() == [1.0, 1.0]
    assert caveats(found) == [
        Caveat(CaveatCode.CAPS_UNKNOWN, "nodes-2", caps=("max_concurrent_envs",))
    ]


def test_two_folders_with_the_same_number_of_servers_are_refused() -> None:
    one = ceilings([results(cell(100), name=name) for name in ("a", "b")], Criterion())
    with pytest.raises(ResultsError, match=r"a and b both have 2 server\(s\)"):
        scaling(one)


def test_a_ceiling_that_was_not_reached_is_a_lower_bound() -> None:
    table = ceilings(
        [
            results(*repeated(1000), name="one", caps=CAPS | {"servers": 1}),
            results(cell(1500), name="two"),
        ],
        Criterion(),
    )
    assert last(table) == Interpretation(Verdict.AT_LEAST, 0.75, lower_bounds=(TWO,))
    assert caveats(table)[-2:] == [
        Caveat(CaveatCode.LOWER_BOUND, "two", CELLS, lower_bound=TWO),
        Caveat(CaveatCode.ONE_REPETITION, "two", CELLS),
    ]


def test_a_ceiling_hidden_by_an_invalid_cell_is_a_lower_bound() -> None:
    one = results(*repeated(1000), name="one", caps=CAPS | {"servers": 1})
    two = results(cell(1500), cell(1600, valid=False), cell(2000, 0.9), name="two")
    three = results(cell(64, valid=False), cell(128, 0.9), name="three", caps=CAPS | {"servers": 3})
    table = ceilings([one, two, three], Criterion())
    assert scaling(table)["servers"].tolist() == [1, 2]
    bound = LowerBound(2, 1500, CeilingStatus.INVALID_ABOVE, 1600)
    assert last(table).lower_bounds == (bound,)
    assert caveats(table)[-1] == Caveat(CaveatCode.INVALID_BELOW, "three", CELLS, first_invalid=64)


def test_a_phase_without_valid_cells_is_left_out_with_a_caveat() -> None:
    bad = results(cell(100, valid=False), name="bad", caps=CAPS | {"servers": 4})
    good = [
        results(*repeated(tops), name=f"n{n}", caps=CAPS | {"servers": n})
        for n, tops in ((1, 500), (2, 900))
    ]
    table = ceilings([*good, bad], Criterion())
    assert scaling(table)["servers"].tolist() == [1, 2]
    assert Caveat(CaveatCode.NO_VALID_CELL, "bad", CELLS) in caveats(table)


def test_a_baseline_that_passed_nothing_gives_no_efficiency() -> None:
    zero = results(cell(100, 0.9), name="one", caps=CAPS | {"servers": 1})
    table = scaling(ceilings([zero, results(*repeated(500))], Criterion()))
    assert table["efficiency"].isna().all()
    assert {one.verdict for one in table["interpretation"]} == {Verdict.NO_BASELINE}


def test_the_law_is_found_again_in_what_it_makes() -> None:
    fit = usl(law(10_000, 0.05, 0.001, 1, 2, 4, 8, 16))
    assert isinstance(fit, Usl)
    assert fit.law == pytest.approx((10_000, 0.05, 0.001), rel=0.02)
    assert fit.servers == (1, 2, 4, 8, 16)
    low, high = fit.band(8)
    assert low < fit.at(8) < high
    assert low == pytest.approx(high, rel=0.1)


def test_the_law_is_never_negative() -> None:
    fit = usl(law(1000, 0.0, 0.0, 1, 2, 3))
    assert isinstance(fit, Usl)
    assert min(fit.law) >= 0 and all(min(sample) >= 0 for sample in fit.samples)
    assert fit.at(4) == pytest.approx(4000, rel=0.03)


def test_fewer_than_three_numbers_of_servers_are_no_fit() -> None:
    found = measured((1, [1000, 1000]), (2, [2000, 2000]))
    assert usl(found) == NoFit(NoFitCode.TOO_FEW_SERVER_COUNTS, 2)
    assert isinstance(usl(measured((1, [100]), (2, [200]), (4, [300]))), Usl)


def test_lower_bounds_are_no_part_of_the_fit() -> None:
    phases = [(n, f"{1000 * n}-{1000 * n + 1}") for n in (1, 2, 3)]
    fit = usl(searched(*phases, (4, "1500-"), (8, "1600-1601"), bound={8: "load generator"}))
    assert isinstance(fit, Usl)
    assert fit.servers == (1, 2, 3)
    assert fit.at(4) == pytest.approx(4000)
    few = searched(*phases[:2], (4, "1500-"), (8, "1600-1601"), bound={8: "load generator"})
    assert usl(few) == NoFit(NoFitCode.TOO_FEW_SERVER_COUNTS, 2, (4, 8))


def test_the_band_of_the_fit_knows_the_brackets() -> None:
    phases = [(n, " ".join([f"{1000 * n}-{1050 * n}"] * 3)) for n in (1, 2, 4)]
    fit = usl(searched(*phases))
    assert isinstance(fit, Usl)
    low, high = fit.band(4)
    assert low == pytest.approx(4000, rel=0.01) and 4150 < high < 4200


def test_one_repetition_is_a_fit_without_a_band() -> None:
    fit = usl(measured((1, [1000]), (2, [1900]), (4, [3500])))
    assert isinstance(fit, Usl)
    assert fit.samples == ()
    assert all(map(math.isnan, fit.band(4)))
    assert fit.nodes_for(3000) == (None, 4, None)


@pytest.mark.parametrize(
    ("parameters", "sessions", "nodes"),
    [
        ((1000, 0.0, 0.0), 8000, 8),
        ((1000, 0.0, 0.0), 8001, 9),
        ((1000, 0.0, 0.0), 1, 1),
        ((1000, 0.5, 0.0), 1900, 19),
        ((1000, 0.5, 0.0), 2000, None),  # what it tends to
        ((1000, 0.0, 0.01), 5000, 8),
        ((1000, 0.0, 0.01), 5300, None),  # beyond its peak at 10
        ((1000, 0.0, 0.0907), 1950, None),  # only between 3 and 4 servers
        ((1000, 0.0, 0.0907), 1940, 3),
        ((1000, 2.0, 0.0), 900, 1),
        ((1000, 2.0, 0.0), 1100, None),
    ],
)
def test_servers_for_so_many_sessions(
    parameters: tuple[float, float, float], sessions: float, nodes: int | None
) -> None:
    fit = Usl(*parameters, (), (1, 2, 4))
    assert fit.nodes_for(sessions).best == nodes
    reached = [n for n in range(1, 200) if fit.at(n) >= sessions * (1 - 1e-9)]
    assert nodes == (reached[0] if reached else None)


def test_servers_have_an_interval_that_may_have_no_end() -> None:
    samples = ((1000.0, 0.0, 0.0),) * 50 + ((1000.0, 0.0, 0.01),) * 50
    assert Usl(1000.0, 0.0, 0.0, samples, (1, 2, 4)).nodes_for(6000) == (6, 6, None)
    assert Usl(1000.0, 0.0, 0.0, samples, (1, 2, 4)).nodes_for(5000) == (5, 5, 8)


def test_without_scipy_there_is_no_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "scipy.optimize", None)
    assert usl(law(1000, 0.1, 0.01, 1, 2, 4)) == NoFit(NoFitCode.NO_SCIPY)


def test_ceilings_that_fall_steeply_do_not_follow_the_law() -> None:
    assert usl(searched((10, "1000-1001"), (20, "470-471"), (30, "300-301"))) == NoFit(
        NoFitCode.NOT_THE_LAW
    )


@pytest.mark.parametrize(
    ("contention", "coherence", "supremum"),
    [
        (0.0, 0.0, INF),
        (0.1, 0.0, 10_000),
        (0.0, 0.01, 5263.157894),
        (2.0, 0.01, 1000),
        (0.5, 0.5, 1000),
    ],
)
def test_the_law_has_a_supremum(contention: float, coherence: float, supremum: float) -> None:
    assert Usl(1000, contention, coherence, (), (1,)).supremum == pytest.approx(supremum)


def test_a_folder_with_unknown_servers_is_left_out() -> None:
    known = [
        results(*repeated(n * 500, n * 500), name=f"n{n}", caps=CAPS | {"servers": n})
        for n in (1, 2)
    ]
    unknown = results(*[cell(100, unique_hosts=0)], name="unknown", caps={})
    table = ceilings([unknown, *known], Criterion())
    assert scaling(table)["servers"].tolist() == [1, 2]
    assert caveats(table) == [Caveat(CaveatCode.SERVERS_UNKNOWN, "unknown")]


def test_a_single_folder_is_its_own_baseline() -> None:
    found = searched((3, "300-301 300-301"))
    (line,) = scaling(found).to_dict("records")
    assert line["interpretation"].verdict is Verdict.BASELINE
    assert (line["scaling_factor"], line["efficiency"], line["expected_linear"]) == (1.0, 1.0, 300)
    assert (line["factor_low"], line["efficiency_high"]) == (1.0, 1.0)
    assert caveats(found) == [Caveat(CaveatCode.ONE_SERVER_COUNT, "nodes-3")]


def test_each_wait_has_a_baseline_of_its_own() -> None:
    cells = {
        1: [cell(100), cell(200, wait_seconds=5.0)],
        2: [cell(150), cell(400, wait_seconds=5.0)],
    }
    folders = [
        results(*some, name=f"n{n}", caps=CAPS | {"servers": n}) for n, some in cells.items()
    ]
    table = scaling(ceilings(folders, Criterion()))
    assert table["efficiency"].tolist() == [1.0, 0.75, 1.0, 1.0]


def test_the_interval_of_the_factor_covers_both_brackets_of_single_repetitions() -> None:
    line = last(searched((1, "100-111"), (2, "150-181")))
    assert (line.verdict, line.reaches, line.resampled) == (Verdict.OVERHEAD, (Band.GOOD,), False)
    line = last(searched((1, "100-111"), (2, "150-151")))
    assert (line.verdict, line.reaches) == (Verdict.OVERHEAD, ())


def test_a_baseline_of_several_servers_scales_the_expectation() -> None:
    table = scaling(
        searched((2, "200-201 200-201"), (3, "270-271 270-271"), (8, "400-401 400-401"))
    )
    assert table["expected_linear"].tolist() == [200, 300, 800]
    assert table["scaling_factor"].tolist() == [1.0, 1.35, 2.0]
    assert table["efficiency"].tolist() == pytest.approx([1.0, 0.9, 0.5])
    assert table["factor_low"].tolist() == pytest.approx([1.0, 1.35, 2.0])
    assert table["factor_high"].tolist() == pytest.approx([1.0, 1.35, 2.0])


def test_caps_are_checked_within_a_wait_only() -> None:
    same = CAPS | {"servers": 1}
    other = CAPS | {"servers": 2, "workers_per_node": 9}
    folders = [results(cell(100), name="a", caps=same),
               results(cell(100, wait_seconds=5.0), name="b", caps=other)]  # fmt: skip
    assert scaling(ceilings(folders, Criterion()))["efficiency"].tolist() == [1.0, 1.0]


def test_the_same_folder_may_have_several_ceilings() -> None:
    cells = [cell(100), cell(100, wait_seconds=5.0), cell(100, steps=2), cell(100, mode="http")]
    assert len(scaling(ceilings([results(*cells)], Criterion()))) == 4


def test_both_unknown_caps_are_named_in_their_order() -> None:
    unknown = results(*repeated(100, 100), name="n", caps={"servers": 2})
    (caveat, _) = caveats(ceilings([unknown], Criterion()))
    assert caveat == Caveat(
        CaveatCode.CAPS_UNKNOWN, "n", caps=("max_concurrent_envs", "workers_per_node")
    )


def test_the_band_of_a_fit_is_95_percent_of_its_samples() -> None:
    samples = tuple((float(rate), 0.0, 0.0) for rate in range(1000, 1201))
    fit = Usl(1100.0, 0.0, 0.0, samples, (1, 2, 4))
    assert fit.band(2) == pytest.approx((2010.0, 2390.0))
    assert Usl(900.0, 0.0, 0.0, samples, (1,)).band(1)[0] == 900.0
    assert Usl(1300.0, 0.0, 0.0, samples, (1,)).band(1)[1] == 1300.0


def test_repetitions_that_passed_nothing_are_no_part_of_the_fit() -> None:
    phases = [(n, f"0-10 {1000 * n}-{1000 * n + 1}") for n in (1, 2, 4)]
    fit = usl(searched(*phases))
    assert isinstance(fit, Usl)
    assert fit.law == pytest.approx((1000.0, 0.0, 0.0))
    assert fit.samples == ()
    nothing = searched((1, "0-10"), (2, "200-210"), (4, "300-310"))
    assert usl(nothing) == NoFit(NoFitCode.TOO_FEW_SERVER_COUNTS, 2)


def test_the_range_of_servers_is_95_percent_of_the_samples() -> None:
    samples = tuple((1000.0 / number, 0.0, 0.0) for number in range(1, 201))
    assert Usl(10.0, 0.0, 0.0, samples, (1, 2, 4)).nodes_for(1000) == (6, 100, 195)
    assert Usl(1000.0, 0.0, 0.0, samples, (1, 2, 4)).nodes_for(1000) == (1, 1, 195)
    assert Usl(4.0, 0.0, 0.0, samples, (1, 2, 4)).nodes_for(1000) == (6, 250, 250)


@pytest.mark.parametrize("rate", [0.1, 0.7, 1.1, 3.3])
@pytest.mark.parametrize("servers", [3, 7, 49, 1000])
def test_rounding_does_not_add_a_server(rate: float, servers: int) -> None:
    linear = Usl(rate, 0.0, 0.0, (), (1,))
    assert linear.nodes_for(rate * servers).best == servers
    assert linear.nodes_for(rate * servers * (1 + 1e-6)).best == servers + 1
    bent = Usl(rate, 0.02, 1e-7, (), (1,))
    assert bent.nodes_for(bent.at(servers)).best == servers


def test_a_server_is_not_added_for_less_than_rounding() -> None:
    assert Usl(1000.0, 0.0, 0.0, (), (1, 2, 4)).nodes_for(1000.0 * (1 + 1e-10)).best == 1


def test_two_repetitions_give_a_fit_a_band_that_is_always_the_same() -> None:
    found = measured((1, [1000, 1040]), (2, [1900, 1960]), (4, [3500, 3600]))
    fit = usl(found)
    assert isinstance(fit, Usl)
    assert len(fit.samples) > 1
    assert usl(found) == fit


def test_a_ceiling_of_one_session_has_an_interval() -> None:
    table = scaling(searched((1, "1-2 1-2"), (2, "2-3 2-3")))
    assert table["factor_low"].tolist() == [1.0, 2.0]
    assert table["interpretation"][1].resampled
