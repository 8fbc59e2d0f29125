"""One summary line per cell, from rows made by hand."""

import io
import math
from collections.abc import Sequence
from typing import Any

import orjson
import pandas as pd
import pytest

from analysis.cells.summary import as_csv, as_frame, cell, COLUMNS, facts_of, last, OWN_COLUMNS
from analysis.rows.parser import Reader, table
from analysis.rows.schema import LATENCIES
from tests.helpers.readme import rows
from tests.helpers.rows import failed, row

# As other people's tools read them.
PUBLISHED = (
    "mode,url,num_requests,batch_size,wait_seconds,repetition,timestamp,hardware,successful,failed,"
    "error_rate,total_wall_time,connect_p50,connect_p95,connect_p99,reset_p50,reset_p95,reset_p99,"
    "step_p50,step_p95,step_p99,total_min,total_max,total_avg,total_p50,total_p90,total_p95,"
    "total_p99,requests_per_second,effective_concurrency,unique_pids,unique_sessions,unique_hosts"
)
LATENCY_COLUMNS = [
    name for name in PUBLISHED.split(",") if name.startswith(("connect_", "reset_", "step_"))
] + ["total_min", "total_max", "total_avg", "total_p50", "total_p90", "total_p95", "total_p99"]


def summary(*rows: dict[str, Any], facts: Sequence[dict[str, Any]] = ()) -> pd.DataFrame:
    reader = Reader()
    reader.take(b"\n".join(map(orjson.dumps, rows)))
    find = facts_of(facts)
    return as_frame(cell(attempt, find(attempt)) for attempt in reader.rows().attempts())


def line(*rows: dict[str, Any]) -> dict[str, Any]:
    table = summary(*rows)
    assert len(table) == 1
    return dict(table.iloc[0])


def csv_cells(table: pd.DataFrame) -> list[dict[str, str]]:
    """The texts between the commas, as any tool reads them."""
    text = table.to_csv(index=False)
    names, *lines = [words.split(",") for words in text.splitlines()]
    return [dict(zip(names, words, strict=True)) for words in lines]


def test_the_published_columns_come_first_and_in_order() -> None:
    names = list(summary(row(batch_size=1)).columns)
    assert names[: len(COLUMNS)] == PUBLISHED.split(",")
    assert len(set(names)) == len(names)


def test_the_readme_documents_the_columns_of_summary_csv() -> None:
    documented = [name for name, _ in rows("analysis/README.md", "Columns of summary.csv")]
    assert documented == [f"`{name}`" for name in COLUMNS + OWN_COLUMNS]


def test_a_line_identifies_its_cell() -> None:
    cell = line(row(mode="http", batch_size=1, wait_requested=2.5, repetition=3))
    assert (cell["mode"], cell["url"], cell["hardware"]) == ("http", "http://n1:8000", "test")
    assert (cell["num_requests"], cell["batch_size"]) == (1, 1)
    assert (cell["wait_seconds"], cell["repetition"], cell["attempt"]) == (2.5, 3, 1)


@pytest.mark.parametrize("part", ["connect", "reset", "step"])
def test_percentiles_interpolate_linearly(part: str) -> None:
    cell = line(*(row(batch_size=4, **{f"{part}_latency": s}) for s in (4.0, 1.0, 3.0, 2.0)))
    found = [cell[f"{part}_p{percent}"] for percent in (50, 95, 99)]
    assert found == pytest.approx([2.5, 3.85, 3.97])


def test_total_latency_has_its_extremes_its_mean_and_percentiles() -> None:
    cell = line(*(row(batch_size=5, total_latency=s) for s in (1.0, 2.0, 3.0, 4.0, 10.0)))
    assert (cell["total_min"], cell["total_max"], cell["total_avg"]) == (1.0, 10.0, 4.0)
    found = [cell[f"total_p{percent}"] for percent in (50, 90, 95, 99)]
    assert found == pytest.approx([3.0, 7.6, 8.8, 9.76])


def test_failed_sessions_do_not_count_in_latencies() -> None:
    cell = line(row(), failed("TIMEOUT", connect_latency=60.0, total_latency=120.0))
    assert (cell["connect_p99"], cell["total_max"]) == (0.1, 1.3)


def test_latencies_of_a_cell_without_success_are_empty_and_not_zero() -> None:
    table = summary(failed("CONNECT_REFUSED"), failed("TIMEOUT", connect_latency=0.2))
    assert table[LATENCY_COLUMNS].isna().all().all()
    (written,) = csv_cells(table)
    assert {written[name] for name in LATENCY_COLUMNS} == {""}
    assert (written["successful"], written["failed"], written["error_rate"]) == ("0", "2", "1.0")


def test_error_rate_is_a_fraction() -> None:
    cell = line(*([row(batch_size=4)] * 3), failed("TIMEOUT", batch_size=4))
    assert (cell["successful"], cell["failed"], cell["error_rate"]) == (3, 1, 0.25)


def test_wall_time_is_from_the_first_start_to_the_last_end() -> None:
    cell = line(
        row(timestamp="2026-03-01T12:00:01.500000+00:00", total_latency=2.0),
        row(timestamp="2026-03-01T12:00:01.000000+00:00", total_latency=0.25),
    )
    assert cell["total_wall_time"] == pytest.approx(2.5)
    assert cell["timestamp"] == "2026-03-01T12:00:01.000000+00:00"


def test_the_wall_time_includes_failed_sessions() -> None:
    cell = line(row(total_latency=1.0), failed("TIMEOUT", total_latency=4.0))
    assert cell["total_wall_time"] == pytest.approx(4.0)


@pytest.mark.parametrize("moment", ["11:59:00", "12:01:00"])
def test_a_session_whose_end_is_unknown_does_not_change_the_wall_time(moment: str) -> None:
    timestamp = f"2026-03-01T{moment}.000000+00:00"
    unknown = failed("NOT_STARTED", timestamp=timestamp, total_latency=None)
    assert line(row(total_latency=2.0), unknown)["total_wall_time"] == pytest.approx(2.0)


def test_wall_time_and_rates_are_unknown_when_no_session_ended() -> None:
    cell = line(*([failed("NOT_STARTED", total_latency=None)] * 2))
    for name in ("total_wall_time", "requests_per_second", "effective_concurrency"):
        assert math.isnan(cell[name])


def test_rates_count_successful_sessions() -> None:
    cell = line(
        *([row(batch_size=5, wait_requested=1.5, total_latency=2.0)] * 4),
        failed("TIMEOUT", batch_size=5, wait_requested=1.5, total_latency=8.0),
    )
    assert cell["requests_per_second"] == pytest.approx(4 / 8)
    assert cell["effective_concurrency"] == pytest.approx(4 * 1.5 / 8)


def test_effective_concurrency_is_zero_without_a_wait() -> None:
    cell = line(row(batch_size=1, wait_requested=0.0, total_latency=0.5))
    assert (cell["requests_per_second"], cell["effective_concurrency"]) == (2.0, 0.0)


def test_effective_concurrency_counts_the_wait_of_each_step() -> None:
    cell = line(*([row(wait_requested=1.5, steps=4, total_latency=8.0)] * 2))
    assert cell["effective_concurrency"] == pytest.approx(2 * 1.5 * 4 / 8)


def test_the_last_column_is_a_percentile_of_the_slowest_steps() -> None:
    slowest = [row(batch_size=4, step_latency_max=s) for s in (1.0, 2.0, 4.0)]
    cell = line(*slowest, failed("TIMEOUT", batch_size=4, step_latency_max=60.0))
    assert cell["step_max_p99"] == pytest.approx(3.96)
    table = summary(row(batch_size=1))
    assert (table.columns[-1], csv_cells(table)[0]["step_max_p99"]) == ("step_max_p99", "")


def test_unique_values_are_counted_among_successful_sessions() -> None:
    cell = line(
        row(batch_size=4, pid=1, session_hash="a", host_url="n2:8000"),
        row(batch_size=4, pid=2, session_hash="b", host_url="n2:8000"),
        row(batch_size=4, pid=2, session_hash="c", host_url="n3:8000"),
        failed("TIMEOUT", batch_size=4, pid=9, session_hash="z", host_url="n9:8000"),
    )
    assert (cell["unique_pids"], cell["unique_sessions"], cell["unique_hosts"]) == (2, 3, 2)


def test_failures_are_counted_by_error() -> None:
    names = ["CAPACITY_REACHED", "CAPACITY_REACHED", "TIMEOUT", "CONNECT_REFUSED"]
    cell = line(row(batch_size=5), *(failed(name, batch_size=5) for name in names))
    assert (cell["capacity_errors"], cell["timeouts"], cell["lost"]) == (2, 1, 0)


def test_a_complete_cell_is_valid_when_sessions_failed() -> None:
    cell = line(row(expected_hosts=1), failed("CAPACITY_REACHED", expected_hosts=1))
    assert cell["valid"]
    assert cell["reasons"] == ""


@pytest.mark.parametrize("error_type", ["LOAD_WORKER_LOST", "ROW_MISSING", "NOT_STARTED"])
def test_a_cell_is_invalid_when_the_load_generator_lost_sessions(error_type: str) -> None:
    cell = line(row(), failed(error_type, total_latency=None))
    assert not cell["valid"]
    assert cell["reasons"] == "the load generator lost 1 of 2 sessions"


@pytest.mark.parametrize("recorded", [2, 4])
def test_a_cell_is_invalid_with_too_few_or_too_many_rows(recorded: int) -> None:
    cell = line(*([row(batch_size=3)] * recorded))
    assert (cell["valid"], cell["reasons"]) == (
        False,
        f"{recorded} rows were recorded for 3 sessions",
    )


def test_a_cell_is_invalid_when_it_reached_too_few_hosts() -> None:
    cell = line(*([row(expected_hosts=2)] * 2))
    assert (cell["valid"], cell["reasons"]) == (False, "traffic reached 1 of 2 hosts")


def test_a_cell_is_valid_when_servers_failed_every_session() -> None:
    cell = line(*([failed("TIMEOUT", expected_hosts=2)] * 2))
    assert (cell["valid"], cell["warnings"]) == (True, "no session succeeded")


def test_every_reason_is_given() -> None:
    cell = line(
        row(batch_size=3, expected_hosts=2), failed("ROW_MISSING", batch_size=3, expected_hosts=2)
    )
    assert cell["reasons"] == (
        "the load generator lost 1 of 3 sessions; 2 rows were recorded for 3 sessions; traffic "
        "reached 1 of 2 hosts"
    )


def test_cells_are_in_the_order_in_which_they_started_with_their_last_attempt() -> None:
    table = summary(
        row(batch_size=8),
        row(batch_size=2, repetition=2),
        row(batch_size=2, repetition=1, mode="http"),
        row(batch_size=8),
        row(batch_size=2, repetition=1, wait_requested=0.5),
        row(batch_size=2, repetition=2, attempt=2),
        row(batch_size=2, repetition=2, attempt=2),
    )
    key = ["mode", "batch_size", "wait_seconds", "repetition", "attempt"]
    assert table[key].to_numpy().tolist() == [
        ["ws", 8, 1.0, 1, 1],
        ["ws", 2, 1.0, 2, 2],
        ["http", 2, 1.0, 1, 1],
        ["ws", 2, 0.5, 1, 1],
    ]
    assert table["successful"].tolist() == [2, 2, 1, 1]


def test_shape_steps_and_arrival_rate_distinguish_cells() -> None:
    kinds = [("burst", 1, None), ("hold", 5, None), ("open", 1, 10.0), ("open", 1, 20.0)]
    table = summary(
        *(
            row(batch_size=1, shape=shape, steps=steps, arrival_rate=rate)
            for shape, steps, rate in kinds
        )
    )
    found = table[["shape", "steps", "arrival_rate"]].astype(object).to_numpy().tolist()
    assert [(a, b, None if pd.isna(c) else c) for a, b, c in found] == kinds


def test_one_cell_does_not_change_the_numbers_of_another() -> None:
    good = [row(), row(total_latency=2.3)]
    bad = [failed("TIMEOUT", repetition=2)] * 2
    alone, together = summary(*good).iloc[0], summary(*bad, *good).iloc[1]
    assert together[COLUMNS].to_dict() == alone[COLUMNS].to_dict()


def test_the_published_snippet_finds_the_largest_batch() -> None:
    cells = [(32, 0), (64, 3), (128, 7), (256, 256)]
    table = summary(
        *(
            failed("TIMEOUT", batch_size=batch) if number < failures else row(batch_size=batch)
            for batch, failures in cells
            for number in range(batch)
        )
    )
    df = pd.read_csv(io.StringIO(table.to_csv(index=False)))
    assert df[df["error_rate"] <= 0.05]["batch_size"].max() == 64


def test_numbers_survive_the_csv_file() -> None:
    table = summary(row(total_latency=1.2345678901234567), failed("TIMEOUT"))
    df = pd.read_csv(io.StringIO(table.to_csv(index=False)))
    assert df.loc[0, "total_max"] == 1.2345678901234567
    assert df.loc[0, "error_rate"] == 0.5
    assert df["batch_size"].dtype == "int64"
    assert df["unique_hosts"].dtype == "int64"


def test_a_value_that_was_not_measured_stays_empty() -> None:
    frame = table([orjson.dumps(failed("TIMEOUT", total_latency=None))])
    numbers = frame[[*LATENCIES, "waited_seconds"]]
    assert numbers.isna().all().all()
    assert (numbers.dtypes == "float64").all()
    (written,) = csv_cells(summary(row(batch_size=1, expected_hosts=None)))
    assert (written["expected_hosts"], written["reasons"]) == ("", "")


def at(second: float) -> str:
    return f"2026-03-01T12:00:{second:09.6f}+00:00"


def test_peak_open_is_the_most_sessions_open_at_the_same_time() -> None:
    cell = line(
        row(batch_size=4, timestamp=at(0), connect_latency=1.0, total_latency=2.0),  # open 1 to 2
        row(batch_size=4, timestamp=at(0), connect_latency=0.5, total_latency=3.0),  # open 0.5 to 3
        row(batch_size=4, timestamp=at(2), connect_latency=0.0, total_latency=3.0),  # open 2 to 5
        failed("TIMEOUT", batch_size=4, timestamp=at(1), total_latency=9.0),  # never open
    )
    assert cell["peak_open"] == 2


def test_peak_open_is_unknown_when_no_session_opened() -> None:
    table = summary(*([failed("TIMEOUT")] * 2))
    assert csv_cells(table)[0]["peak_open"] == ""


def test_sessions_count_from_when_they_were_due() -> None:
    meant = {"shape": "open", "intended_timestamp": at(0), "timestamp": at(4)}
    cell = line(row(batch_size=1, connect_latency=4.5, total_latency=5.0, **meant))
    assert cell["total_wall_time"] == 5.0
    assert cell["start_spread"] == 4.0


def test_hold_latency_is_added_to_total_latency() -> None:
    held = row(batch_size=2, timestamp=at(0), total_latency=1.0, hold_latency=3.0)
    never = failed("TIMEOUT", batch_size=2, timestamp=at(0), total_latency=2.0, hold_latency=None)
    cell = line(held, never)
    assert (cell["total_wall_time"], cell["total_p99"]) == (4.0, 1.0)
    assert cell["requests_per_second"] == 0.25


def test_held_sessions_are_open() -> None:
    first = row(timestamp=at(0), connect_latency=0.1, total_latency=0.5, hold_latency=2.0)
    last = row(timestamp=at(2), connect_latency=0.1, total_latency=0.5, hold_latency=0.0)
    assert line(first, last)["peak_open"] == 2
    assert line(first | {"hold_latency": None}, last)["peak_open"] == 1


def test_start_spread_is_how_late_sessions_started() -> None:
    cell = line(*(row(intended_timestamp=at(0), timestamp=at(late)) for late in (0.0, 1.0)))
    assert cell["start_spread"] == pytest.approx(0.99)


def test_load_lag_is_the_largest_of_all_rows() -> None:
    assert line(row(load_lag=0.2), row(load_lag=None))["load_lag"] == 0.2
    assert math.isnan(line(*([row()] * 2))["load_lag"])


def test_facts_of_the_run_go_into_the_line_of_their_cell() -> None:
    facts = {"mode": "ws", "shape": "burst", "batch": 1, "wait": 1.0, "steps": 1}
    facts |= {"arrival_rate": None, "repetition": 1, "attempt": 1}
    facts |= {"open_clients": 1, "open_servers": 1}
    facts |= {"bound": {"by": "ports", "evidence": "28232 of 28232"}}
    (found,) = csv_cells(summary(row(batch_size=1), facts=[facts]))
    assert (found["bound"], found["bound_evidence"]) == ("ports", "28232 of 28232")
    assert (found["open_clients"], found["open_servers"], found["valid"]) == ("1", "1", "True")
    (other,) = csv_cells(summary(row(batch_size=1), facts=[facts | {"repetition": 2}]))
    assert (other["bound"], other["open_clients"]) == ("", "")


def test_a_summary_does_not_depend_on_the_order_of_rows() -> None:
    rows = [row(batch_size=9, total_latency=0.1 * n) for n in range(1, 8)]
    rows += [failed(kind, batch_size=9) for kind in ("TIMEOUT", "CONNECT_REFUSED")]
    there, back = summary(*rows), summary(*reversed(rows))
    assert there.to_csv(index=False) == back.to_csv(index=False)


def test_the_csv_of_lines_is_the_csv_of_the_table() -> None:
    rows = table(orjson.dumps(row(batch_size=n)) for n in (1, 2, 2))
    lines = [cell(group) for _, group in rows.groupby("batch_size")]
    assert as_csv(lines) == as_frame(lines).to_csv(index=False)


def test_there_are_no_cells_without_rows() -> None:
    table = summary()
    assert table.empty
    assert list(table.columns)[: len(COLUMNS)] == PUBLISHED.split(",")


def test_a_session_is_open_from_when_it_connected() -> None:
    first = row(timestamp=at(0), connect_latency=0.1, total_latency=2.0)
    slow = row(timestamp=at(1), connect_latency=1.5, total_latency=3.0)
    fast = row(timestamp=at(1), connect_latency=0.5, total_latency=3.0)
    assert line(first, slow)["peak_open"] == 1
    assert line(first, fast)["peak_open"] == 2


def test_a_session_is_no_longer_open_when_it_ended_as_another_opened() -> None:
    first = row(timestamp=at(0), connect_latency=0.0, total_latency=1.0)
    second = row(timestamp=at(1), connect_latency=0.0, total_latency=1.0)
    assert line(first, second)["peak_open"] == 1


def test_a_session_that_never_ended_is_not_counted_as_open() -> None:
    endless = failed("TIMEOUT", timestamp=at(0), connect_latency=0.1, total_latency=None)
    assert line(endless, row(timestamp=at(0)))["peak_open"] == 1


def test_a_cell_that_took_no_time_has_no_rate() -> None:
    cell = line(row(batch_size=1, total_latency=0.0, connect_latency=0.0))
    assert cell["total_wall_time"] == 0.0
    assert math.isnan(cell["requests_per_second"])
    assert math.isnan(cell["effective_concurrency"])


def test_a_clean_cell_has_no_errors() -> None:
    cell = line(*([row()] * 2))
    names = ("failed", "error_rate", "capacity_errors", "timeouts", "lost", "errors")
    assert [cell[name] for name in names] == [0, 0.0, 0, 0, 0, ""]


def test_errors_are_listed_from_the_most_frequent_and_then_by_name() -> None:
    names = ["TIMEOUT", "CONNECT_REFUSED", "TIMEOUT", "HTTP_503"]
    cell = line(*(failed(name, batch_size=4) for name in names))
    assert cell["errors"] == "TIMEOUT:2 CONNECT_REFUSED:1 HTTP_503:1"


def test_zero_is_a_value_that_can_be_unique() -> None:
    cell = line(
        row(batch_size=3, pid=0, session_hash="000000000000"),
        row(batch_size=3, pid=1, session_hash="000000000001"),
        row(batch_size=3, pid=None, session_hash=None),
    )
    assert (cell["unique_pids"], cell["unique_sessions"]) == (2, 2)


def test_the_last_line_of_an_attempt_counts() -> None:
    (first,), (second,) = ([cell(table([orjson.dumps(row(pid=pid))]))] for pid in (1, 2))
    second["unique_pids"] = 5
    assert last([first, second]) == [second]
    assert last([second | {"attempt": 2}, first]) == [second | {"attempt": 2}]
    assert last([first | {"arrival_rate": math.nan}, second | {"arrival_rate": None}]) == [
        second | {"arrival_rate": None}
    ]


def test_a_line_has_plain_values() -> None:
    values = cell(table([orjson.dumps(row(expected_hosts=1))]))
    kinds = {type(value).__name__ for value in values.values()}
    assert kinds <= {"str", "int", "float", "bool", "NoneType", "Counts", "Findings"}


def test_start_spread_is_unknown_without_due_times() -> None:
    assert math.isnan(line(*([row(intended_timestamp=None)] * 2))["start_spread"])


ENTRIES = [
    {"mode": "ws", "batch": 4, "wait": 0.5},
    {"mode": "http", "batch": 4, "wait": 0.5},
    {"mode": "ws", "batch": 5, "wait": 0.5},
    {"mode": "ws", "batch_size": 4, "wait_requested": 0.25, "arrival_rate": None},
    {"mode": "ws", "batch": 4, "wait": 0.5, "shape": "hold", "steps": 3},
    {"mode": "ws", "batch": 4, "wait": 0.5, "shape": "open", "arrival_rate": 20.0},
    {"mode": "ws", "batch": 4, "wait": 0.5, "shape": "open", "arrival_rate": 40.0},
    {"mode": "ws", "batch": 4, "wait": 0.5, "repetition": 2, "attempt": 3},
]


@pytest.mark.parametrize("number", range(len(ENTRIES)))
def test_rows_have_the_entry_of_their_attempt(number: int) -> None:
    given = {"shape": "burst", "steps": 1, "repetition": 1, "attempt": 1} | ENTRIES[number]
    given["batch_size"] = given.pop("batch", 4)
    given["wait_requested"] = given.pop("wait", 0.25)
    find = facts_of(ENTRIES)
    assert find(table([orjson.dumps(row(**given))])) is ENTRIES[number]
    assert find(table([orjson.dumps(row(**given | {"attempt": 7}))])) is None


def test_a_cell_without_an_entry_in_run_json_has_no_bound() -> None:
    found = cell(table([orjson.dumps(row())]))
    assert (found["bound"], found["bound_evidence"]) == ("", "")
    bound = {"bound": {"by": "accept-skew", "evidence": "so it is"}}
    found = cell(table([orjson.dumps(row())]), bound)
    assert (found["bound"], found["bound_evidence"]) == ("accept-skew", "so it is")


def test_whole_numbers_of_a_table_may_be_missing() -> None:
    lines = [cell(table([orjson.dumps(row(expected_hosts=2))]))]
    lines.append(cell(table([orjson.dumps(row(repetition=2, expected_hosts=None))])))
    hosts = as_frame(lines)["expected_hosts"]
    assert (str(hosts.dtype), hosts.isna().tolist()) == ("Int64", [False, True])


def test_a_cell_without_times_has_no_time() -> None:
    found = cell(table([orjson.dumps(row(timestamp=None, intended_timestamp=None))]))
    assert found["timestamp"] == ""
