"""Scaling from ceilings made by hand."""

import builtins
import math
from typing import Any

import pandas as pd
import pytest

from analysis.ceilings import ceilings, Criterion
from analysis.errors import ResultsError
from analysis.scaling import caveats, COLUMNS, interpretation, no_usl, scaling, Usl, usl
from tests.unit.test_ceilings import CAPS, cell, repeated, results


def measured(*phases: tuple[int, list[int]], **caps: Any) -> pd.DataFrame:
    """Ceilings of (servers, tops of repetitions)."""
    folders = [
        results(*repeated(*tops), name=f"nodes-{n}", caps=CAPS | {"servers": n} | caps)
        for n, tops in phases
    ]
    return ceilings(folders, Criterion())


def law(rate: float, contention: float, coherence: float, *counts: int) -> pd.DataFrame:
    exact = Usl(rate, contention, coherence, (), ())
    lines = [
        {
            "mode": "ws", "shape": "burst", "wait_seconds": 1.0, "steps": 1, "servers": n,
            "by_repetition": f"{round(exact.at(n) * 0.98)} {round(exact.at(n))} {round(exact.at(n) * 1.02)}",
        }
        for n in counts
    ]  # fmt: skip
    return pd.DataFrame(lines)


def test_efficiency_is_the_runbooks_formula() -> None:
    table = scaling(measured((1, [1000, 1000]), (2, [1800, 1800]), (4, [2000, 2000])))
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


@pytest.mark.parametrize(
    ("efficiency", "low", "says"),
    [
        (0.899, 0.85, "significant overhead, investigate load balancer"),
        (0.9, 0.85, "good linear scaling"),
        (1.0, 0.95, "good linear scaling"),
        (1.2, 0.95, "good linear scaling (100 % lies within the interval)"),
    ],
)
def test_efficiency_in_words(efficiency: float, low: float, says: str) -> None:
    assert interpretation(efficiency, low) == says


def test_more_than_linear_is_doubted() -> None:
    assert interpretation(1.2, 1.1).startswith("superlinear: not plausible without a cause; check")
    assert interpretation(1.2).endswith("; there is no interval")


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
    assert (
        scaling(table)
        .loc[1, "interpretation"]
        .endswith("(at least: no batch above the ceiling failed)")
    )
    assert any(
        "no batch of ws burst" in text and "above 1500 failed" in text for text in caveats(table)
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
