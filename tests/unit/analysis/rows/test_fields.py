"""Columns of values become arrays, and texts and constants become numbers."""

import time
from datetime import datetime
from typing import Any

import numpy as np
import pytest

from analysis.rows import fields
from analysis.rows.columns import Codes, Constants, count_repetitions, join_attempts, Rows
from analysis.rows.fields import (
    _converter,
    booleans,
    CONSTANT,
    CONVERT,
    numbers,
    sessions,
    times,
    whole,
)
from analysis.rows.schema import COLUMNS

NOON = "2026-03-01T12:00:00.000001+00:00"


def test_numbers_are_floats_with_nan_for_null() -> None:
    found = numbers([1, 2.5, None])
    assert found.dtype == np.float64
    assert found[:2].tolist() == [1.0, 2.5]
    assert np.isnan(found[2])


def test_whole_numbers_cannot_be_null() -> None:
    assert whole([1, 2]).tolist() == [1, 2]
    with pytest.raises(TypeError):
        whole([1, None])


def test_only_true_is_true() -> None:
    assert booleans([True, False, 1, "true", None]).tolist() == [True, False, False, False, False]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (NOON, "2026-03-01T12:00:00.000001"),
        ("2026-03-01T13:00:00.000001+01:00", "2026-03-01T12:00:00.000001"),
        ("2026-03-01T12:00:00.000001", "2026-03-01T12:00:00.000001"),
        ("2026-03-01T12:00:00Z", "2026-03-01T12:00:00.000000"),
    ],
)
def test_a_time_is_converted_alone_and_among_others(text: str, expected: str) -> None:
    assert times([text]).tolist() == [np.datetime64(expected, "us").item()]
    among = times([NOON, text, None])
    assert str(among[1]) == expected
    assert np.isnat(among[2])
    assert among.dtype == np.dtype("M8[us]")


def test_equal_texts_are_equal_times_however_they_are_converted() -> None:
    fast, slow = times([NOON, NOON]), times([NOON, None])
    assert fast[0] == fast[1] == slow[0]
    assert times([]).tolist() == []


def test_a_session_hash_is_a_number_of_its_own() -> None:
    fast = sessions(["00000000000a", "ffffffffffff"])
    assert fast.tolist() == [10, 0xFFFFFFFFFFFF]
    slow = sessions(["00000000000a", None, "a", "session one!", "session two!", "a"])
    assert slow[0] == fast[0]
    assert slow[1] == -1
    assert slow[2] == slow[5]
    assert len(set(slow.tolist())) == 5
    assert (slow[2:] >= 0).all()
    assert sessions([7, "7"]).tolist() == [sessions(["7"])[0]] * 2


def test_every_converted_column_accepts_its_values() -> None:
    values: dict[str, Any] = {"request_id": 3, "timestamp": NOON, "success": True, "pid": 7}
    values |= {"intended_timestamp": None, "session_hash": None}
    assert [len(convert([values.get(name)])) for name, convert in CONVERT.items()] == [1] * len(
        CONVERT
    )


def test_equally_written_values_are_converted_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fields, "_time", None)
    monkeypatch.setattr(fields, "_session", None)
    assert times([NOON]).tolist() == [datetime(2026, 3, 1, 12, 0, 0, 1)]
    assert times([NOON, NOON]).dtype == np.dtype("M8[us]")
    assert sessions(["0000000000ff"]).tolist() == [255]


def test_no_times_are_times_too() -> None:
    assert times([]).dtype == times([None]).dtype == np.dtype("M8[us]")


def test_times_do_not_depend_on_the_time_zone_of_the_machine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "UTC-9")
        time.tzset()
        found = times([NOON, None])
    time.tzset()
    assert found[0] == np.datetime64("2026-03-01T12:00:00.000001")


def test_a_session_hash_among_others_is_the_same_number() -> None:
    assert sessions(["0000000000ff", None]).tolist() == [255, -1]


def test_a_column_is_converted_by_its_type() -> None:
    expected = {"session_hash": sessions, "request_id": whole, "timestamp": times}
    expected |= {"intended_timestamp": times, "success": booleans, "pid": numbers}
    expected |= {"total_latency": numbers}
    assert {c.name: _converter(c) for c in COLUMNS if c.name in expected} == expected


def test_texts_are_numbered_in_the_order_in_which_they_occur() -> None:
    codes = Codes()
    assert codes.of(["b", "a", None, "b"]).tolist() == [0, 1, -1, 0]
    assert codes.of(["a", "a"]).tolist() == [1, 1]
    assert codes.of([None, None]).tolist() == [-1, -1]
    assert codes.of(["c", "c", "b"]).tolist() == [2, 2, 0]
    assert codes.of([]).tolist() == []
    assert codes.of([7, "7"]).tolist() == [3, 3]
    assert codes.names == ["b", "a", "c", "7"]


def constant(**given: Any) -> tuple[Any, ...]:
    values = {"mode": "ws", "batch_size": 2, "wait_requested": 1, "steps": 1}
    values |= {"repetition": 1, "attempt": 1} | given
    return tuple(values.get(name) for name in CONSTANT)


def test_constants_are_numbered_and_have_the_types_of_their_columns() -> None:
    constants = Constants()
    same = [[value] * 3 for value in constant()]
    assert constants.of(same).tolist() == [0, 0, 0]
    mixed = list(zip(constant(), constant(attempt=2), constant(), strict=True))
    assert constants.of(mixed).tolist() == [0, 1, 0]
    first, second = constants.list
    assert (first["attempt"], second["attempt"]) == (1, 2)
    assert (first["wait_requested"], type(first["wait_requested"])) == (1.0, float)
    assert np.isnan(first["expected_hosts"])
    assert (first["mode"], first["shape"]) == ("ws", None)
    with pytest.raises(TypeError):
        constants.of([[value] for value in constant(batch_size=None)])


def rows(attempt: list[int], ids: list[int], *constants: tuple[Any, ...]) -> Rows:
    known = [dict(zip(CONSTANT, values, strict=True)) for values in constants]
    columns = {"request_id": np.array(ids, dtype=np.int64)}
    return Rows(known, np.array(attempt, dtype=np.int32), columns, {}, ("run",))


def test_a_repetition_starts_when_a_request_id_occurs_again() -> None:
    ws, http = constant(), constant(mode="http")
    found = rows([0, 1, 0, 0, 1, 0, 1], [0, 0, 1, 0, 1, 0, 0], ws, http)
    count_repetitions(found)
    assert found.attempt.tolist() == [0, 3, 0, 1, 3, 2, 4]
    assert [(each["mode"], each["repetition"]) for each in found.constants] == [
        ("ws", 1),
        ("ws", 2),
        ("ws", 3),
        ("http", 1),
        ("http", 2),
    ]


def test_attempts_are_joined_by_their_key_in_the_order_of_their_first_rows() -> None:
    late, early = constant(attempt=2), constant(attempt=1)
    moved = constant(attempt=1, url="http://elsewhere")
    found = rows([1, 0, 2, 0], [0, 1, 2, 3], late, early, moved)
    join_attempts(found)
    assert found.attempt.tolist() == [0, 1, 0, 1]
    assert [each["attempt"] for each in found.constants] == [1, 2]
    assert len(found) == 4


def test_no_rows_have_no_attempts() -> None:
    found = rows([], [])
    join_attempts(found)
    assert (len(found), found.constants) == (0, [])
    assert list(found.attempts()) == []


def test_an_attempt_without_rows_is_not_yielded() -> None:
    found = rows([1, 1], [0, 1], constant(), constant(attempt=2))
    (only,) = found.attempts()
    assert (only["attempt"].tolist(), only["request_id"].tolist()) == ([2, 2], [0, 1])


def test_numbers_of_texts_and_constants_take_four_bytes() -> None:
    columns = [[value] * 2 for value in constant()]
    mixed = list(zip(constant(), constant(attempt=2), strict=True))
    found = [Codes().of(["a", "a"]), Codes().of(["a", "b"])]
    found += [Constants().of(columns), Constants().of(mixed)]
    assert [each.dtype for each in found] == [np.int32] * 4


def test_constants_that_differ_in_every_column_are_distinguished() -> None:
    constants = Constants()
    assert constants.of([[1, 2] for _ in CONSTANT]).tolist() == [0, 1]
    assert [each["mode"] for each in constants.list] == ["1", "2"]


def test_constants_that_are_incomplete_are_refused() -> None:
    with pytest.raises(ValueError, match="argument"):
        Constants().of([[value, value] for value in constant()][:-1])
    with pytest.raises(ValueError, match="argument"):
        Constants().of([[1, 2], *([1] for _ in CONSTANT[1:])])


def test_rows_of_attempts_that_alternate_keep_their_order() -> None:
    found = rows([0, 2] * 200, list(range(400)), *(constant(attempt=n) for n in (1, 2, 3)))
    first, last = found.attempts()
    assert first["request_id"].tolist() == list(range(0, 400, 2))
    assert last["request_id"].tolist() == list(range(1, 400, 2))
    assert (set(first["attempt"]), set(last["attempt"])) == ({1}, {3})


def test_columns_of_no_rows_have_their_types() -> None:
    frame = rows([], []).frame()
    assert (frame["batch_size"].dtype, frame["expected_hosts"].dtype) == (np.int64, np.float64)
