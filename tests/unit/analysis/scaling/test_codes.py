"""Every code has exactly one text, and what is decided is a code."""

from collections.abc import Mapping
from enum import Enum

import pytest

from analysis.compare.comparable import DifferenceCode
from analysis.compare.compare import Basis
from analysis.report import texts
from analysis.scaling.ceilings import CeilingStatus, LOWER_BOUNDS
from analysis.scaling.efficiency import (
    Band,
    Caveat,
    CaveatCode,
    Cells,
    Interpretation,
    LowerBound,
    Verdict,
)
from analysis.scaling.usl import NoFit, NoFitCode

CELLS = Cells("ws", "burst", 1.0, 1)


@pytest.mark.parametrize(
    ("codes", "table"),
    [
        (CeilingStatus, texts.CEILINGS),
        (LOWER_BOUNDS, texts.LOWER_BOUNDS),
        (Band, texts.BANDS),
        (Verdict, texts.VERDICTS),
        (CaveatCode, texts.CAVEATS),
        (NoFitCode, texts.NO_FITS),
        (DifferenceCode, texts.DIFFERENCES),
        (Basis, texts.BASES),
    ],
)
def test_every_code_has_one_text_of_its_own(
    codes: type[Enum] | frozenset[Enum], table: Mapping[Enum, str]
) -> None:
    assert set(table) == set(codes)
    assert len(set(table.values())) == len(table)


@pytest.mark.parametrize(
    ("bound", "text"),
    [
        (LowerBound(1, 1000, CeilingStatus.NO_FAILURE, None),
         "the ceiling of 1 server is only known to be at least 1,000: no larger batch failed"),
        (LowerBound(2, 1500, CeilingStatus.INVALID_ABOVE, 1600),
         "the ceiling of 2 servers is only known to be at least 1,500: 1,600 is INVALID"),
        (LowerBound(2, 1500, CeilingStatus.LOAD_LIMITED, None),
         "the ceiling of 2 servers is the load generator's, so the servers' ceiling is at least 1,500"),
    ],
)  # fmt: skip
def test_a_lower_bound_names_its_cause(bound: LowerBound, text: str) -> None:
    assert texts.lower_bound(bound) == text
    found = Interpretation(Verdict.AT_LEAST, 0.75, lower_bounds=(bound,))
    assert texts.interpretation(found) == f"at least 75.0 %: {text}"
    assert texts.caveat(Caveat(CaveatCode.LOWER_BOUND, "n2", CELLS, lower_bound=bound)) == (
        f"n2: ws burst, wait 1 s, steps 1: {text}"
    )


@pytest.mark.parametrize(
    ("found", "text"),
    [
        (Interpretation(Verdict.BASELINE, 1.0), "baseline"),
        (Interpretation(Verdict.GOOD, 0.95), "good linear scaling"),
        (Interpretation(Verdict.OVERHEAD, 0.8, (Band.GOOD,)),
         "significant overhead, investigate load balancer, but the interval reaches into good linear "
         "scaling (90 to 100 %)"),
        (Interpretation(Verdict.ABOVE_LINEAR, 1.1, (Band.OVERHEAD,), resampled=False),
         "good linear scaling: not distinguishable from 100 %, but the bracket of one repetition reaches "
         "into significant overhead (below 90 %)"),
        (Interpretation(Verdict.GOOD, 0.95, skewed=True), f"good linear scaling; {texts.SKEWED}"),
    ],
)  # fmt: skip
def test_an_interpretation_has_the_runbooks_words(found: Interpretation, text: str) -> None:
    assert texts.interpretation(found) == text


@pytest.mark.parametrize(
    ("caveat", "text"),
    [
        (Caveat(CaveatCode.NO_VALID_CELL, "n2", CELLS),
         "n2: no valid cell of ws burst, wait 1 s, steps 1, so no ceiling"),
        (Caveat(CaveatCode.INVALID_BELOW, "n2", CELLS, first_invalid=1024),
         "n2: 1,024 is INVALID and no batch met the criterion, so no ceiling of ws burst, wait 1 s, "
         "steps 1"),
        (Caveat(CaveatCode.CAPS_UNKNOWN, "n2", caps=("a", "b")),
         "n2: unknown a and b: caps may differ between phases"),
        (Caveat(CaveatCode.ONE_SERVER_COUNT, "n2"),
         "n2: the only number of servers, so there is no scaling"),
    ],
)  # fmt: skip
def test_a_caveat_names_its_folder(caveat: Caveat, text: str) -> None:
    assert texts.caveat(caveat) == text


def test_a_missing_fit_names_the_lower_bounds() -> None:
    few = NoFitCode.TOO_FEW_SERVER_COUNTS
    assert texts.no_fit(NoFit(few, 1)).endswith("ceilings are known for 1 number of servers only")
    assert texts.no_fit(NoFit(few, 2, (4, 8))).endswith(
        "for 2 numbers of servers only; for 4 and 8 servers they are lower bounds"
    )
    assert 'pip install -e ".[analysis]"' in texts.no_fit(NoFit(NoFitCode.NO_SCIPY))
