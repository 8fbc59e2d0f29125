"""Why a cell is invalid, and what to know of one that is not."""

import re
from typing import Any

import orjson
import pytest

from analysis.cells import validity
from analysis.cells.summary import cell
from analysis.cells.validity import (
    Judge,
    lag_limit,
    MAX_LAG,
    PASSING,
    REASONS,
    Seen,
    TEXTS,
    worth_again,
)
from analysis.rows.parser import table
from tests.helpers.rows import failed, row

AT = "2026-03-01T12:00:00.{:06}+00:00"


def judged(*rows: dict[str, Any], **facts: Any) -> dict[str, Any]:
    return cell(table(orjson.dumps(one) for one in rows), facts)


def two(**fields: Any) -> list[dict[str, Any]]:
    return [row(**fields), row(**fields)]


def test_a_cell_of_which_nothing_is_said_is_judged_by_its_rows() -> None:
    line = cell(table(orjson.dumps(one) for one in two()))
    assert (line["valid"], line["reasons"], line["warnings"]) == (True, "", "")


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        (
            {"lost_workers": ["load-2 (pid 7) was killed"]},
            "load worker lost: load-2 (pid 7) was killed",
        ),
        ({"replaced": ["server-1", "envoy"]}, "replaced in the middle: server-1, envoy"),
        ({"shares_node": True}, "the load shared a node with what it measured"),
        (
            {"workers": {"load-1": {"lag_max": 1.5}, "load-2": {"lag_max": 0.5}}},
            "the load ran late: load-1 by 1.50 s (limit 1 s)",
        ),
        (
            {"workers": {"load-1": {"lag_max": 0.3}}, "max_lag": 0.25},
            "the load ran late: load-1 by 0.30 s (limit 0.25 s)",
        ),
    ],
)
def test_what_the_run_says_makes_a_cell_invalid(facts: dict[str, Any], reason: str) -> None:
    line = judged(*two(), **facts)
    assert (line["valid"], line["reasons"]) == (False, reason)


@pytest.mark.parametrize(
    "facts",
    [
        {"lost_workers": [], "replaced": [], "shares_node": False, "workers": {}},
        {"lost_workers": None, "workers": None, "max_lag": None},
        {"workers": {"load-1": {"lag_max": None, "clock_offset": None}}},
        {"workers": {"load-1": {"lag_max": MAX_LAG, "clock_offset": 0.05}}},
    ],
)
def test_what_is_at_its_limit_or_unknown_is_no_reason(facts: dict[str, Any]) -> None:
    line = judged(*two(), **facts)
    assert (line["valid"], line["warnings"]) == (True, "")


def test_rows_alone_tell_of_lag() -> None:
    line = judged(row(load_lag=0.1), row(load_lag=2.0))
    assert line["reasons"] == "the load ran late by 2.00 s (limit 1 s)"


@pytest.mark.parametrize("kind", ["NO_DESCRIPTORS", "NO_PORTS", "LOAD_ERROR"])
def test_a_cell_that_the_load_could_not_start_says_nothing_of_servers(kind: str) -> None:
    line = judged(*([failed(kind)] * 2))
    assert line["reasons"] == f"2 of 2 sessions were never offered ({kind}:2)"


def test_all_failed_for_reasons_of_the_servers_is_a_valid_result() -> None:
    line = judged(failed("TIMEOUT"), failed("CAPACITY_REACHED"))
    assert (line["valid"], line["warnings"]) == (True, "no session succeeded")


def test_some_that_the_load_could_not_start_are_fewer_than_were_asked_for() -> None:
    line = judged(row(), failed("NO_PORTS"))
    assert line["reasons"] == "1 of 2 sessions were never offered (NO_PORTS:1)"


def test_clients_and_servers_that_count_differently() -> None:
    line = judged(*two(), open_clients=10, open_servers=9)
    assert line["warnings"] == "clients counted 10 open sessions, servers 9"
    assert judged(*two(), open_clients=10, open_servers=None)["warnings"] == ""


def test_clocks_that_differ_between_nodes() -> None:
    workers = {"load-1": {"clock_offset": 0.01}, "load-2": {"clock_offset": -0.2}}
    line = judged(*two(), workers=workers)
    assert line["warnings"] == "clocks differ from the load master's: load-2 by -0.200 s"
    assert line["valid"]


@pytest.mark.parametrize(("early", "warned"), [(60_000, True), (50_000, False)])
def test_sessions_that_began_before_they_were_meant_to(early: int, warned: bool) -> None:
    times = {"timestamp": AT.format(0), "intended_timestamp": AT.format(early)}
    warnings = judged(*two(**times))["warnings"]
    assert warnings == (
        "sessions began up to 0.060 s before they were meant to: clocks differ" if warned else ""
    )


def test_hosts_that_cannot_be_told_are_a_warning_and_not_missed() -> None:
    line = judged(*two(host_url=None, expected_hosts=2))
    assert (line["valid"], line["warnings"]) == (True, "hosts cannot be told: no row names one")


def test_one_host_where_two_were_expected() -> None:
    assert judged(*two(expected_hosts=2))["reasons"] == "traffic reached 1 of 2 hosts"
    assert judged(*two(expected_hosts=1))["valid"]


def test_a_server_that_fails_all_its_sessions_was_reached() -> None:
    overloaded = failed("TIMEOUT", expected_hosts=2, connect_latency=0.1, host_url="n3:8000")
    line = judged(row(expected_hosts=2), overloaded)
    assert (line["valid"], line["unique_hosts"]) == (True, 1)
    assert judged(overloaded, overloaded)["reasons"] == "traffic reached 1 of 2 hosts"


def test_a_failure_tells_of_its_host_although_no_success_does() -> None:
    told = failed("TIMEOUT", host_url="n3:8000", expected_hosts=1)
    line = judged(row(host_url=None, expected_hosts=1), told)
    assert (line["valid"], line["warnings"]) == (True, "")


def test_where_the_load_lost_sessions_no_host_was_reached() -> None:
    line = judged(*[failed("ROW_MISSING", expected_hosts=2)] * 2)
    assert line["reasons"] == "2 sessions lost by the load; traffic reached 0 of 2 hosts"


@pytest.mark.parametrize(
    ("facts", "limit"), [({}, MAX_LAG), ({"max_lag": None}, MAX_LAG), ({"max_lag": 0}, 0.0)]
)
def test_a_load_may_be_asked_never_to_run_late(facts: dict[str, Any], limit: float) -> None:
    assert lag_limit(facts) == limit


LINE = {"lost": 0, "batch_size": 2, "expected_hosts": None, "successful": 2, "load_lag": None}
GIVEN: dict[Judge, Seen] = {
    validity.sessions_lost: Seen(LINE | {"lost": 1}, 2, {}, {}),
    validity.rows_missing: Seen(LINE, 1, {}, {}),
    validity.hosts_missed: Seen(LINE | {"expected_hosts": 2}, 2, {}, {}, hosts=1),
    validity.fewer_offered: Seen(LINE, 2, {"LOAD_ERROR": 2}, {}),
    validity.worker_lost: Seen(LINE, 2, {}, {"lost_workers": ["load-1 was killed; 5 rows late"]}),
    validity.replaced: Seen(LINE, 2, {}, {"replaced": ["server-1"]}),
    validity.shares_node: Seen(LINE, 2, {}, {"shares_node": True}),
    validity.ran_late: Seen(LINE, 2, {}, {"workers": {"load-1": {"lag_max": 2.0}}}),
}


@pytest.mark.parametrize("judge", REASONS)
def test_a_cell_is_worth_another_attempt_for_reasons_that_may_pass(judge: Judge) -> None:
    (text,) = validity.reasons(GIVEN[judge])
    assert [other for other in REASONS if re.match(TEXTS[other], text)] == [judge]
    assert worth_again(text) == (judge in PASSING)
    assert worth_again(f"traffic reached 1 of 2 hosts; {text}") == (judge in PASSING)


def test_lag_that_rows_tell_of_may_pass_too() -> None:
    (text,) = validity.reasons(Seen(LINE | {"load_lag": 2.0}, 2, {}, {}))
    assert worth_again(text)
    assert not worth_again("")


def test_every_reason_and_every_warning_is_given() -> None:
    line = judged(
        *two(), failed("ROW_MISSING"), shares_node=True, open_clients=1, open_servers=2,
        workers={"load-1": {"clock_offset": 1.0}},
    )  # fmt: skip
    assert line["reasons"] == (
        "1 sessions lost by the load; 3 of 2 rows; the load shared a node with what it measured"
    )
    assert line["warnings"] == (
        "clients counted 1 open sessions, servers 2; "
        "clocks differ from the load master's: load-1 by +1.000 s"
    )
