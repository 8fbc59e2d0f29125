"""Every reason, caution and bound is a member of an enum, and has one text."""

import string
from itertools import chain

import pytest

from analysis.cells import validity
from analysis.cells.bound_cell import Cause, causes
from analysis.cells.reasons import (
    Bound,
    Caution,
    Counts,
    Finding,
    Findings,
    Reason,
    TEXTS,
)

CODES: list[Reason | Caution] = [*Reason, *Caution]


def test_every_code_has_one_text() -> None:
    assert list(TEXTS) == CODES
    assert len(set(TEXTS.values())) == len(CODES)
    assert len(set(map(str, CODES))) == len(CODES)


def test_every_code_has_one_judge() -> None:
    assert list(validity.REASONS) == list(Reason)
    assert list(validity.CAUTIONS) == list(Caution)
    judges = [*validity.REASONS.values(), *validity.CAUTIONS.values()]
    assert len(set(judges)) == len(CODES)


def test_a_text_contains_no_separator_of_findings() -> None:
    assert [text for text in TEXTS.values() if ";" in text] == []


@pytest.mark.parametrize("code", CODES)
def test_a_text_names_the_values_of_its_finding(code: Reason | Caution) -> None:
    names = {name for _, name, _, _ in string.Formatter().parse(TEXTS[code]) if name}
    text = str(Finding(code, dict.fromkeys(names, 12)))
    assert "12" in text if names else text == TEXTS[code]


def test_a_reason_is_transient_when_another_attempt_may_be_valid() -> None:
    assert {reason for reason in Reason if reason.is_transient} == {
        Reason.SESSIONS_LOST,
        Reason.ROWS_MISSING,
        Reason.LOAD_LATE,
        Reason.LOAD_WORKER_LOST,
        Reason.DEPLOYMENT_CHANGED,
    }


def test_the_names_of_bounds_in_files_stay() -> None:
    assert [str(each) for each in Bound] == [
        "admission cap",
        "Envoy breaker",
        "Envoy CPU",
        "descriptors",
        "ports",
        "server CPU",
        "accept skew",
        "load generator",
        "--max-batch",
        "unknown",
    ]


def test_findings_are_one_text_separated_by_semicolons() -> None:
    late = Finding(Reason.LOAD_LATE, {"lags": {"b": 2.0, "a": 1.2561}, "limit": 0.5})
    lost = Finding(Reason.LOAD_WORKER_LOST, {"workers": ["load-1 was killed", "load-2"]})
    assert str(Findings([late, lost])) == (
        "the load generator ran late: a by 1.256 s, b by 2.000 s (limit 0.5 s); "
        "load workers were lost: load-1 was killed, load-2"
    )
    assert Findings([late, lost]).codes == {Reason.LOAD_LATE, Reason.LOAD_WORKER_LOST}
    assert (str(Findings()), Findings().codes) == ("", frozenset())


def test_counts_are_pairs_in_their_order() -> None:
    assert str(Counts({"TIMEOUT": 3, "HTTP_503": 1})) == "TIMEOUT:3 HTTP_503:1"
    assert str(Counts()) == ""


@pytest.mark.parametrize(
    ("message", "cause"),
    [
        ("503: reset reason: Overflow", Cause.OVERFLOW),
        ("Cannot assign requested address", Cause.NO_ADDRESS),
        ("Address not available", Cause.NO_ADDRESS),
        ("EADDRNOTAVAIL", Cause.NO_ADDRESS),
    ],
)
def test_envoys_words_are_read_in_one_place(message: str, cause: Cause) -> None:
    assert causes(["", message]) == {cause}


def test_other_messages_name_no_cause() -> None:
    assert causes(["connection refused", "no healthy upstream"]) == frozenset()
    words = list(chain.from_iterable(cause.value for cause in Cause))
    assert causes(words) == frozenset(Cause)
