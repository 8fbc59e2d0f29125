"""Why a cell is invalid, and what to know about it when it is valid."""

from typing import Any

import orjson
import pytest

from analysis.cells.reasons import Caution, Reason
from analysis.cells.summary import as_text, cell
from analysis.cells.validity import lag_limit, MAX_LAG, Observed, reasons, warnings
from analysis.rows.parser import table
from tests.helpers.rows import failed, row

AT = "2026-03-01T12:00:00.{:06}+00:00"


def judged(*rows: dict[str, Any], **facts: Any) -> dict[str, Any]:
    return as_text(cell(table(orjson.dumps(one) for one in rows), facts))


def two(**fields: Any) -> list[dict[str, Any]]:
    return [row(**fields), row(**fields)]


def test_a_cell_without_facts_is_judged_by_its_rows() -> None:
    line = as_text(cell(table(orjson.dumps(one) for one in two())))
    assert (line["valid"], line["reasons"], line["warnings"]) == (True, "", "")


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        (
            {"lost_workers": ["load-2 (pid 7) was killed"]},
            "load workers were lost: load-2 (pid 7) was killed",
        ),
        (
            {"replaced": ["server-1", "envoy"]},
            "the deployment changed during the cell: server-1, envoy",
        ),
        ({"replaced": ("server-1",)}, "the deployment changed during the cell: server-1"),
        ({"shares_node": True}, "the load generator shared a node with the deployment"),
        (
            {"workers": {"load-1": {"lag_max": 1.5}, "load-2": {"lag_max": 0.5}}},
            "the load generator ran late: load-1 by 1.500 s (limit 1 s)",
        ),
        (
            {"workers": {"load-1": {"lag_max": 0.3}}, "max_lag": 0.25},
            "the load generator ran late: load-1 by 0.300 s (limit 0.25 s)",
        ),
    ],
)
def test_facts_of_the_run_make_a_cell_invalid(facts: dict[str, Any], reason: str) -> None:
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
def test_facts_at_a_limit_or_unknown_are_no_reason(facts: dict[str, Any]) -> None:
    line = judged(*two(), **facts)
    assert (line["valid"], line["warnings"]) == (True, "")


def test_a_lag_in_rows_makes_a_cell_invalid() -> None:
    line = judged(row(load_lag=0.1), row(load_lag=2.0))
    assert line["reasons"] == "the load generator ran late: one session by 2.000 s (limit 1 s)"


@pytest.mark.parametrize("kind", ["NO_DESCRIPTORS", "NO_PORTS", "LOAD_ERROR"])
def test_a_cell_is_invalid_when_no_session_could_be_attempted(kind: str) -> None:
    line = judged(*([failed(kind)] * 2))
    assert line["reasons"] == (f"the load generator could not attempt 2 of 2 sessions ({kind}:2)")


def test_a_cell_is_valid_with_a_warning_when_servers_failed_every_session() -> None:
    line = judged(failed("TIMEOUT"), failed("CAPACITY_REACHED"))
    assert (line["valid"], line["warnings"]) == (True, "no session succeeded")


def test_a_cell_is_invalid_when_some_sessions_could_not_be_attempted() -> None:
    line = judged(row(), failed("NO_PORTS"))
    assert line["reasons"] == ("the load generator could not attempt 1 of 2 sessions (NO_PORTS:1)")


def test_different_counts_of_clients_and_servers_are_a_warning() -> None:
    line = judged(*two(), open_clients=10, open_servers=9)
    assert line["warnings"] == "clients counted 10 open sessions, servers counted 9"
    assert judged(*two(), open_clients=10, open_servers=None)["warnings"] == ""


def test_clocks_that_differ_are_a_warning() -> None:
    workers = {"load-1": {"clock_offset": 0.01}, "load-2": {"clock_offset": -0.2}}
    line = judged(*two(), workers=workers)
    assert line["warnings"] == "clocks differ from the load master's: load-2 by -0.200 s"
    assert line["valid"]


@pytest.mark.parametrize(("early", "warned"), [(60_000, True), (50_000, False)])
def test_sessions_that_started_early_are_a_warning(early: int, warned: bool) -> None:
    times = {"timestamp": AT.format(0), "intended_timestamp": AT.format(early)}
    warnings = judged(*two(**times))["warnings"]
    assert warnings == (
        "sessions started up to 0.060 s before they were due: clocks differ" if warned else ""
    )


def test_unknown_hosts_are_a_warning_and_not_a_reason() -> None:
    line = judged(*two(host_url=None, expected_hosts=2))
    assert (line["valid"], line["warnings"]) == (True, "the hosts are unknown: no row names one")


def test_a_cell_is_invalid_when_it_reached_one_of_two_hosts() -> None:
    assert judged(*two(expected_hosts=2))["reasons"] == "traffic reached 1 of 2 hosts"
    assert judged(*two(expected_hosts=1))["valid"]


def test_a_server_that_fails_all_its_sessions_counts_as_reached() -> None:
    overloaded = failed("TIMEOUT", expected_hosts=2, connect_latency=0.1, host_url="n3:8000")
    line = judged(row(expected_hosts=2), overloaded)
    assert (line["valid"], line["unique_hosts"]) == (True, 1)
    assert judged(overloaded, overloaded)["reasons"] == "traffic reached 1 of 2 hosts"


def test_a_failed_session_can_name_its_host() -> None:
    told = failed("TIMEOUT", host_url="n3:8000", expected_hosts=1)
    line = judged(row(host_url=None, expected_hosts=1), told)
    assert (line["valid"], line["warnings"]) == (True, "")


def test_lost_sessions_reached_no_host() -> None:
    line = judged(*[failed("ROW_MISSING", expected_hosts=2)] * 2)
    assert line["reasons"] == (
        "the load generator lost 2 of 2 sessions; traffic reached 0 of 2 hosts"
    )


@pytest.mark.parametrize(
    ("facts", "limit"), [({}, MAX_LAG), ({"max_lag": None}, MAX_LAG), ({"max_lag": 0}, 0.0)]
)
def test_the_lag_limit_may_be_zero(facts: dict[str, Any], limit: float) -> None:
    assert lag_limit(facts) == limit


LINE = {
    "lost": 0,
    "batch_size": 2,
    "expected_hosts": None,
    "successful": 2,
    "load_lag": None,
    "open_clients": None,
    "open_servers": None,
    "total_p50": None,
}


def observed(line: dict[str, Any], **fields: Any) -> Observed:
    values = {"rows": 2, "errors": {}, "facts": {}, "early": 0.0, "hosts": 1} | fields
    return Observed(LINE | line, **values)


GIVEN: dict[Reason | Caution, Observed] = {
    Reason.SESSIONS_LOST: observed({"lost": 1}),
    Reason.ROWS_MISSING: observed({}, rows=1),
    Reason.HOSTS_MISSED: observed({"expected_hosts": 2}),
    Reason.NOT_ATTEMPTED: observed({}, errors={"LOAD_ERROR": 2}),
    Reason.LOAD_LATE: observed({}, facts={"workers": {"load-1": {"lag_max": 2.0}}}),
    Reason.LOAD_WORKER_LOST: observed({}, facts={"lost_workers": ["load-1 was killed; late"]}),
    Reason.DEPLOYMENT_CHANGED: observed({}, facts={"replaced": ["server-1"]}),
    Reason.NODE_SHARED: observed({}, facts={"shares_node": True}),
    Caution.COUNTS_DIFFER: observed({"open_clients": 0, "open_servers": 1}),
    Caution.CLOCKS_DIFFER: observed({}, facts={"workers": {"load-1": {"clock_offset": 0.051}}}),
    Caution.STARTED_EARLY: observed({}, early=0.051),
    Caution.ALL_FAILED: observed({"successful": 0}),
    Caution.LAG_IN_LATENCIES: observed({"load_lag": 0.11, "total_p50": 1.0}),
    Caution.HOSTS_UNKNOWN: observed({}, hosts=0),
}


def codes(cell: Observed) -> list[Reason | Caution]:
    return [finding.code for finding in (*reasons(cell), *warnings(cell))]


@pytest.mark.parametrize("code", [*Reason, *Caution])
def test_a_code_is_given_alone_when_nothing_else_is_wrong(code: Reason | Caution) -> None:
    assert codes(GIVEN[code]) == [code]
    assert str((*reasons(GIVEN[code]), *warnings(GIVEN[code]))[0])


@pytest.mark.parametrize(
    "cell",
    [
        observed({}),
        observed({"expected_hosts": 1}),
        observed({"expected_hosts": 2}, hosts=3),
        observed({"expected_hosts": float("nan")}),
        observed({"open_clients": 3, "open_servers": 3}),
        observed({"open_clients": 0}),
        observed({"open_servers": 0}),
        observed({}, errors={"TIMEOUT": 2}),
        observed({}, early=0.05),
        observed({"load_lag": 0.1, "total_p50": 0.5}),
        observed({"load_lag": 0.25, "total_p50": 2.5}),
        observed({"load_lag": 0.9}),
        observed({"total_p50": 0.9}),
        observed({}, facts={"workers": {"load-1": {"lag_max": 1.0, "clock_offset": -0.05}}}),
        observed({}, facts={"workers": {"load-1": {}}, "max_lag": 0}),
    ],
)
def test_nothing_is_reported_at_a_limit_or_without_a_value(cell: Observed) -> None:
    assert codes(cell) == []


def test_hosts_are_missed_when_sessions_were_lost_and_none_succeeded() -> None:
    lost = observed({"expected_hosts": 2, "successful": 0, "lost": 2}, hosts=0)
    assert Reason.HOSTS_MISSED in reasons(lost).codes
    some = observed({"expected_hosts": 2, "successful": 1, "lost": 1}, hosts=0)
    assert Reason.HOSTS_MISSED not in reasons(some).codes
    refused = observed({"expected_hosts": 2, "successful": 0}, hosts=0)
    assert Reason.HOSTS_MISSED not in reasons(refused).codes


@pytest.mark.parametrize(
    ("lag", "p50", "warned"),
    [(0.1, 0.0, False), (0.11, 0.0, True), (0.3, 2.9, True), (0.3, 3.1, False), (0.0, 0.0, False)],
)
def test_lag_is_warned_about_above_a_tenth_of_the_median_session(
    lag: float, p50: float, warned: bool
) -> None:
    found = warnings(observed({"load_lag": lag, "total_p50": p50})).codes
    assert found == ({Caution.LAG_IN_LATENCIES} if warned else frozenset())


def test_lag_above_the_limit_is_a_reason_and_not_a_warning_too() -> None:
    cell = observed({"load_lag": 1.01, "total_p50": 1.0})
    assert codes(cell) == [Reason.LOAD_LATE]
    assert codes(observed({"load_lag": 1.0, "total_p50": 1.0})) == [Caution.LAG_IN_LATENCIES]


def test_only_late_load_workers_are_named() -> None:
    workers = {"load-2": {"lag_max": 1.2}, "load-1": {"lag_max": 3.0}, "load-3": {"lag_max": 0.9}}
    (late,) = reasons(observed({"load_lag": 9.0}, facts={"workers": workers}))
    assert str(late) == (
        "the load generator ran late: load-1 by 3.000 s, load-2 by 1.200 s (limit 1 s)"
    )


def test_a_load_worker_without_a_lag_is_not_late_although_another_limit_is_below_one() -> None:
    facts = {"workers": {"load-1": {"lag_max": None}, "load-2": {}}, "max_lag": 0.2}
    assert codes(observed({}, facts=facts)) == []


def test_sessions_that_could_not_be_attempted_are_counted_by_error() -> None:
    errors = {"TIMEOUT": 5, "LOAD_ERROR": 2, "NO_DESCRIPTORS": 1}
    (finding,) = reasons(observed({"batch_size": 9}, rows=9, errors=errors))
    assert str(finding) == (
        "the load generator could not attempt 3 of 9 sessions (NO_DESCRIPTORS:1 LOAD_ERROR:2)"
    )


def test_all_reasons_and_all_warnings_are_listed() -> None:
    line = judged(
        *two(), failed("ROW_MISSING"), shares_node=True, open_clients=1, open_servers=2,
        workers={"load-1": {"clock_offset": 1.0}},
    )  # fmt: skip
    assert line["reasons"] == (
        "the load generator lost 1 of 2 sessions; 3 rows were recorded for 2 sessions; "
        "the load generator shared a node with the deployment"
    )
    assert line["warnings"] == (
        "clients counted 1 open sessions, servers counted 2; "
        "clocks differ from the load master's: load-1 by 1.000 s"
    )
