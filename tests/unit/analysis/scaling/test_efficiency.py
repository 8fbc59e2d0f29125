"""Scaling from ceilings made by hand."""

import builtins
import math
from typing import Any

import pandas as pd
import pytest

from analysis.errors import ResultsError
from analysis.scaling.brackets import parse
from analysis.scaling.ceilings import ceilings, Criterion
from analysis.scaling.efficiency import caveats, COLUMNS, interpretation, no_usl, scaling, Usl, usl
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


def law(rate: float, contention: float, coherence: float, *counts: int) -> pd.DataFrame:
    exact, around = Usl(rate, contention, coherence, (), ()), (0.98, 1.0, 1.02)
    lines = [
        {
            "mode": "ws", "shape": "burst", "wait_seconds": 1.0, "steps": 1, "servers": n,
            "ceiling": round(exact.at(n)), "reached": True, "bound": "",
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
    assert table["interpretation"].tolist()[:2] == ["baseline", "good linear scaling"]
    assert table["interpretation"][2].startswith("significant overhead, investigate load balancer")


def test_the_baseline_is_the_fewest_servers_whatever_the_order() -> None:
    table = scaling(measured((6, [3000, 3000]), (2, [1000, 1000])))
    assert table["servers"].tolist() == [2, 6]
    assert table["efficiency"].tolist() == [1.0, 1.0]


def test_intervals_are_of_the_repetitions_of_both() -> None:
    table = scaling(measured((1, [900, 1000, 1100]), (2, [1600, 1800, 2000])))
    line = table.iloc[1]
    assert line["efficiency_low"] < line["efficiency"] == pytest.approx(2000 / 2200)
    assert line["efficiency"] < line["efficiency_high"]
    again = scaling(measured((1, [900, 1000, 1100]), (2, [1600, 1800, 2000])))
    pd.testing.assert_frame_equal(table, again)


def test_one_repetition_has_no_interval_and_says_so() -> None:
    found = measured((1, [1000]), (2, [1800]))
    assert math.isnan(scaling(found).loc[1, "efficiency_low"])
    assert "nodes-2: one repetition of ws burst, wait 1 s, steps 1, so no interval" in caveats(
        found
    )


OVERHEAD = "significant overhead, investigate load balancer"


@pytest.mark.parametrize(
    ("low", "efficiency", "high", "says"),
    [
        (0.8, 0.85, 0.89, OVERHEAD),
        (0.85, 0.899, 0.95,
         f"{OVERHEAD}, but the interval reaches into good linear scaling (90 to 100 %)"),
        (0.85, 0.899, 1.05,
         f"{OVERHEAD}, but the interval reaches into good linear scaling (90 to 100 %)"),
        (0.9 - 1e-12, 0.9 - 1e-12, 1.0 + 1e-12, "good linear scaling"),
        (0.85, 0.95, 0.99,
         "good linear scaling, but the interval reaches into significant overhead (below 90 %)"),
        (0.95, 1.0, 1.04, "good linear scaling"),
        (0.95, 1.2, 1.3, "good linear scaling: cannot be told from 100 %"),
        (0.8, 1.2, math.inf,
         "good linear scaling: cannot be told from 100 %, but the interval reaches into significant "
         "overhead (below 90 %)"),
    ],
)  # fmt: skip
def test_efficiency_in_words(low: float, efficiency: float, high: float, says: str) -> None:
    assert interpretation(efficiency, low, high) == says


def test_more_than_linear_is_doubted() -> None:
    said = "superlinear: not plausible without a cause; check"
    assert interpretation(1.2, 1.1, 1.3).startswith(said)


def words(found: pd.DataFrame) -> str:
    """The interpretation of the phase with the most servers."""
    return str(scaling(found)["interpretation"].iloc[-1])


def test_what_a_bracket_leaves_open_is_no_superlinear_scaling() -> None:
    table = scaling(searched((1, "336-352 336-352 320-336"), (2, "688-720 688-720 688-720")))
    line = table.iloc[1]
    assert line["efficiency"] == pytest.approx(688 / 672)
    assert line["efficiency_low"] < 1 < line["efficiency"] < line["efficiency_high"]
    assert line["interpretation"] == "good linear scaling: cannot be told from 100 %"


@pytest.mark.parametrize(
    ("baseline", "phase", "says"),
    [
        ("1000-1001", "1900-1901", "good linear scaling"),
        ("1000-1050", "1900-1990",
         "good linear scaling"),
        ("1000-1050", "2000-2090", "good linear scaling"),
        ("1000-1050", "1850-1900",
         "good linear scaling, but the bracket of one repetition reaches into significant overhead "
         "(below 90 %)"),
        ("1000-1050", "2050-2150", "good linear scaling: cannot be told from 100 %"),
        ("1000-1050", "2200-2300", "superlinear: not plausible without a cause"),
    ],
)  # fmt: skip
def test_one_repetition_has_its_bracket(baseline: str, phase: str, says: str) -> None:
    found = searched((1, baseline), (2, phase))
    assert words(found).startswith(says)
    if not says.startswith("superlinear"):
        assert words(found) == says
    assert scaling(found)[["efficiency_low", "factor_high"]].iloc[1].isna().all()


def test_a_baseline_of_which_some_repetitions_met_nothing_has_no_interval() -> None:
    found = searched((1, "0-10 100-110"), (2, "200-210 200-210"))
    assert scaling(found).loc[1, ["factor_low", "factor_high"]].isna().all()
    assert words(found) == "good linear scaling"


def test_a_repetition_without_an_end_has_an_interval_without_one() -> None:
    found = searched((1, "100-101 100-101"), (2, "190-191 190-"))
    line = scaling(found).iloc[1]
    assert line["efficiency_low"] == 0.95
    assert math.isnan(line["efficiency_high"]) and math.isnan(line["factor_high"])
    assert line["interpretation"] == "good linear scaling"


def test_the_efficiency_of_means_takes_all_repetitions() -> None:
    table = scaling(searched((1, "800-801 1000-1001"), (2, "1500-1501 1560-1561")))
    assert table["efficiency"].tolist() == [1.0, 0.78]
    assert table["efficiency_of_means"].tolist() == [1.0, 0.85]
    assert table.columns[-1] == "efficiency_of_means"


@pytest.mark.parametrize(
    ("baseline", "phase", "bound", "says"),
    [
        ("1000-1001", "1500-", {},
         "at least 75.0 %: the ceiling of 2 servers is only known to be at least 1,500: no larger batch "
         "failed"),
        ("1000-", "1500-1501", {},
         "at most 75.0 %: the ceiling of 1 server is only known to be at least 1,000: no larger batch "
         "failed"),
        ("1000-", "1500-", {},
         "cannot be told: the ceiling of 1 server is only known to be at least 1,000: no larger batch "
         "failed; the ceiling of 2 servers is only known to be at least 1,500: no larger batch failed"),
        ("1000-1001", "1500-1501", {2: "load generator"},
         "at least 75.0 %: the ceiling of 2 servers is the load generator's, so that the servers' is at "
         "least 1,500"),
        ("1000-1001", "1500-1501", {1: "load generator"},
         "at most 75.0 %: the ceiling of 1 server is the load generator's, so that the servers' is at "
         "least 1,000"),
    ],
)  # fmt: skip
def test_lower_bounds_are_in_no_band(baseline: str, phase: str, bound: Any, says: str) -> None:
    found = searched((1, " ".join([baseline] * 2)), (2, " ".join([phase] * 2)), bound=bound)
    assert words(found) == says
    assert scaling(found)[["efficiency_low", "efficiency_high"]].iloc[1].isna().all()
    why = says.partition(": ")[2].partition("; ")[0]
    assert any(why in text for text in caveats(found))


def test_accept_skew_of_the_baseline_is_a_cause() -> None:
    skew = {1: "accept skew"}
    cause = (
        "; the baseline's bound is accept skew, which is a cause of more than 100 %: one node without "
        "Envoy refuses while a sibling is free; --baseline envoy avoids it"
    )
    assert words(searched((1, "10-11 10-11"), (2, "40-41 40-41"), bound=skew)).endswith(cause)
    assert cause not in words(searched((1, "10-11 10-11"), (2, "18-19 18-19"), bound=skew))
    assert cause not in words(searched((1, "10-11 10-11"), (2, "40-41 40-41")))


@pytest.mark.parametrize("name", ["max_concurrent_envs", "workers_per_node"])
def test_phases_with_other_caps_are_not_compared(name: str) -> None:
    phases = [measured((1, [1000])), measured((2, [2000]), **{name: 7})]
    with pytest.raises(ResultsError, match=rf"nodes-1 has {name} \d+, nodes-2 has 7: .* cannot be"):
        scaling(pd.concat(phases))


def test_caps_that_are_not_known_are_a_caveat() -> None:
    phases = [measured((1, [1000, 1000])), measured((2, [2000, 2000]), max_concurrent_envs=None)]
    found = pd.concat(phases)
    assert scaling(found)["efficiency"].tolist() == [1.0, 1.0]
    assert caveats(found) == ["nodes-2: max_concurrent_envs not known: phases may differ in caps"]


def test_two_folders_with_as_many_servers_are_refused() -> None:
    one = ceilings([results(cell(100), name=name) for name in ("a", "b")], Criterion())
    with pytest.raises(ResultsError, match=r"a and b both have 2 server\(s\)"):
        scaling(one)


def test_a_ceiling_that_was_not_reached_is_said() -> None:
    table = ceilings(
        [
            results(*repeated(1000), name="one", caps=CAPS | {"servers": 1}),
            results(cell(1500), name="two"),
        ],
        Criterion(),
    )
    assert scaling(table).loc[1, "interpretation"].startswith("at least 75.0 %: the ceiling of 2")
    assert caveats(table)[-2] == (
        "two: ws burst, wait 1 s, steps 1: the ceiling of 2 servers is only known to be at least 1,500: "
        "no larger batch failed"
    )


def test_a_ceiling_that_an_invalid_cell_hides_is_said() -> None:
    one = results(*repeated(1000), name="one", caps=CAPS | {"servers": 1})
    two = results(cell(1500), cell(1600, valid=False), cell(2000, 0.9), name="two")
    three = results(cell(64, valid=False), cell(128, 0.9), name="three", caps=CAPS | {"servers": 3})
    table = ceilings([one, two, three], Criterion())
    assert scaling(table)["servers"].tolist() == [1, 2]
    assert words(table).endswith("only known to be at least 1,500: 1,600 is INVALID")
    assert caveats(table)[-1] == (
        "three: 64 is INVALID and no batch met the criterion, so no ceiling of ws burst, wait 1 s, "
        "steps 1"
    )


def test_a_phase_without_valid_cells_is_left_out_and_said() -> None:
    bad = results(cell(100, valid=False), name="bad", caps=CAPS | {"servers": 4})
    good = [
        results(*repeated(tops), name=f"n{n}", caps=CAPS | {"servers": n})
        for n, tops in ((1, 500), (2, 900))
    ]
    table = ceilings([*good, bad], Criterion())
    assert scaling(table)["servers"].tolist() == [1, 2]
    assert "bad: no valid cell of ws burst, wait 1 s, steps 1, so no ceiling" in caveats(table)


def test_a_baseline_that_never_met_the_criterion_is_nothing_to_compare_with() -> None:
    zero = results(cell(100, 0.9), name="one", caps=CAPS | {"servers": 1})
    table = scaling(ceilings([zero, results(*repeated(500))], Criterion()))
    assert table["efficiency"].isna().all()
    assert "nothing to compare with" in table.loc[1, "interpretation"]


def test_the_law_is_found_again_in_what_it_makes() -> None:
    fit = usl(law(10_000, 0.05, 0.001, 1, 2, 4, 8, 16))
    assert fit is not None
    assert fit.law == pytest.approx((10_000, 0.05, 0.001), rel=0.02)
    assert fit.servers == (1, 2, 4, 8, 16)
    low, high = fit.band(8)
    assert low < fit.at(8) < high
    assert low == pytest.approx(high, rel=0.1)


def test_the_law_is_never_negative() -> None:
    fit = usl(law(1000, 0.0, 0.0, 1, 2, 3))
    assert fit is not None
    assert min(fit.law) >= 0 and all(min(sample) >= 0 for sample in fit.samples)
    assert fit.at(4) == pytest.approx(4000, rel=0.03)


def test_fewer_than_three_numbers_of_servers_are_no_fit() -> None:
    found = measured((1, [1000, 1000]), (2, [2000, 2000]))
    assert usl(found) is None
    assert no_usl(found) == (
        "the law has 3 parameters, and ceilings of 2 number(s) of servers are known"
    )
    assert no_usl(measured((1, [100]), (2, [200]), (4, [300]))) is None


def test_lower_bounds_are_no_part_of_the_fit() -> None:
    phases = [(n, f"{1000 * n}-{1000 * n + 1}") for n in (1, 2, 3)]
    fit = usl(searched(*phases, (4, "1500-"), (8, "1600-1601"), bound={8: "load generator"}))
    assert fit is not None
    assert fit.servers == (1, 2, 3)
    assert fit.at(4) == pytest.approx(4000)
    few = searched(*phases[:2], (4, "1500-"), (8, "1600-1601"), bound={8: "load generator"})
    assert usl(few) is None
    assert no_usl(few) == (
        "the law has 3 parameters, and ceilings of 2 number(s) of servers are known; of 4 and 8 "
        "server(s) it is a lower bound only"
    )


def test_the_band_of_the_fit_knows_the_brackets() -> None:
    phases = [(n, " ".join([f"{1000 * n}-{1050 * n}"] * 3)) for n in (1, 2, 4)]
    fit = usl(searched(*phases))
    assert fit is not None
    low, high = fit.band(4)
    assert low == pytest.approx(4000, rel=0.01) and 4150 < high < 4200


def test_one_repetition_is_a_fit_without_a_band() -> None:
    fit = usl(measured((1, [1000]), (2, [1900]), (4, [3500])))
    assert fit is not None
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


def test_without_scipy_it_is_said_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any, **named: Any) -> Any:
        if name.startswith("scipy"):
            raise ImportError(name)
        return real(name, *rest, **named)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ResultsError, match=r'pip install -e "\.\[analysis\]"'):
        usl(law(1000, 0.1, 0.01, 1, 2, 4))
