"""One definition of the row: what is written, read and documented agrees with it."""

from collections.abc import Iterator
from typing import Any

import orjson
import pytest

from analysis.rows.error_types import ErrorType
from analysis.rows.fields import CONSTANT, CONVERT, EXPECTED, FRACTIONS, REQUIRED, TEXTS, WHOLE
from analysis.rows.schema import (
    Absent,
    CELL_KEY,
    COLUMNS,
    NAMES,
    unfinished,
)
from launcher.experiment.cell_runner import constants, order
from launcher.experiment.grid import Cell, Grid
from locustfiles.grid.cell_share import Share
from locustfiles.session.outcome import Outcome
from locustfiles.session.plan import SessionError
from tests.helpers.readme import rows
from tests.helpers.rows import problems

CELLS = [
    Cell("ws", 4, 1.0, 1),
    Cell("http", 4, 0.5, 2),
    Cell("ws", 4, 1.0, 1, "hold", 3),
    Cell("ws", 4, 1.0, 1, "open", 1, 20.0),
]
# plain ASCII: pytest escapes generated ids again when one process runs the tests twice, as mutmut does
CELL_IDS = ["ws", "http", "hold", "open"]

OUTCOME = NAMES[NAMES.index("connect_latency") : NAMES.index("load_lag")]


def grid(tmp_path: Any, expected_hosts: int | None = None) -> Grid:
    return Grid(
        url="http://127.0.0.1:8000",
        batches=(4,),
        waits=(1.0,),
        output=tmp_path,
        hardware="here",
        expected_hosts=expected_hosts,
    )


def constant(tmp_path: Any, cell: Cell) -> dict[str, Any]:
    return constants(grid(tmp_path, 2), cell, "run") | {"attempt": 1}


def share(tmp_path: Any, cell: Cell) -> Share:
    message = order(grid(tmp_path), cell, constant(tmp_path, cell))
    message |= {"cell": 1, "start": 0.0, "first": 0, "index": 0, "counts": [4]}
    return Share(message, "load-1", 0.0, lambda *_: None)


def outcomes() -> Iterator[Outcome]:
    answered = {"pid": 7, "session_hash": "aaaaaaaaaaaa", "host_url": "n1:8000"}
    whole = Outcome(connect_latency=0.1, reset_latency=0.2, step_latencies=[1.0, 1.2], success=True)
    whole.observe_last(answered | {"waited_seconds": 1})
    whole.finish()
    yield whole
    yield Outcome(success=True, hold_latency=0.0)
    for error in [*ErrorType, "HTTP_503", "SERVER_SAYS_SO"]:
        failed = Outcome(connect_latency=0.1, hold_latency=2.0)
        failed.fail(SessionError(error, "no"))
        failed.finish()
        yield failed
    unknown = Outcome()
    unknown.fail(ValueError("a mistake of the load generator"))
    yield unknown


@pytest.mark.parametrize("cell", CELLS, ids=CELL_IDS)
def test_a_row_of_the_load_worker_agrees_with_the_schema(tmp_path: Any, cell: Cell) -> None:
    part = share(tmp_path, cell)
    written = [orjson.loads(part.row(1, outcome, 0.01)) for outcome in outcomes()]
    part.release(4, None)
    written.append(orjson.loads(part.row(2, next(outcomes()), None)))
    assert [list(problems(row)) for row in written] == [[]] * len(written)
    assert {row["error_type"] for row in written} >= {None, *ErrorType, "HTTP_503"}


@pytest.mark.parametrize("cell", CELLS, ids=CELL_IDS)
@pytest.mark.parametrize("error", [ErrorType.INTERRUPTED, ErrorType.LOAD_WORKER_LOST])
@pytest.mark.parametrize("worker", ["load-1", None])
def test_a_row_that_was_written_off_agrees_with_the_schema(
    tmp_path: Any, cell: Cell, error: ErrorType, worker: str | None
) -> None:
    row = orjson.loads(unfinished(constant(tmp_path, cell), 3, worker, error, "it ended"))
    assert list(problems(row)) == []
    measured = [*OUTCOME[:-3], "intended_timestamp", "open_clients", "load_lag"]
    assert {row[name] for name in measured} == {None}
    assert (row["request_id"], row["load_worker"], row["success"]) == (3, worker, False)
    assert (row["error_type"], row["error_message"]) == (error, "it ended")
    assert (row["run_id"], row["mode"], row["batch_size"]) == ("run", cell.mode, 4)


def test_every_column_of_an_outcome_is_one_of_its_attributes() -> None:
    assert [name for name in OUTCOME if not hasattr(Outcome(), name)] == []


def good(tmp_path: Any) -> dict[str, Any]:
    row: dict[str, Any] = orjson.loads(share(tmp_path, CELLS[0]).row(0, next(outcomes()), 0.0))
    return row


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"more": 1}, "the columns are"),
        ({"mode": None}, "mode is None, not a text"),
        ({"steps": 1.0}, "steps is 1.0, not a whole number"),
        ({"request_id": True}, "request_id is True, not a whole number"),
        ({"step_latency": True}, "step_latency is True, not a number"),
        ({"pid": "7"}, "pid is '7', not a whole number"),
        ({"timestamp": 5}, "timestamp is 5, not a UTC time"),
        (
            {"timestamp": "2026-03-01T12:00:00"},
            "timestamp is '2026-03-01T12:00:00', not a UTC time",
        ),
        ({"success": 1}, "success is 1, not a true or false"),
        ({"success": False}, "success is False with the error None"),
        ({"error_type": "TIMEOUT"}, "success is True with the error TIMEOUT"),
    ],
)
def test_a_row_that_differs_from_the_schema_is_reported(
    tmp_path: Any, fields: dict[str, Any], problem: str
) -> None:
    assert list(problems(good(tmp_path))) == []
    assert next(problems(good(tmp_path) | fields)).startswith(problem)


def test_a_row_without_a_column_or_in_another_order_is_reported(tmp_path: Any) -> None:
    row = good(tmp_path)
    assert list(problems(dict(reversed(row.items()))))
    del row["hold_latency"]
    assert list(problems(row))


def test_the_reader_reads_every_column_of_the_schema() -> None:
    unread = {"arrivals", "error_message"}
    assert {*CONSTANT, *CONVERT, *TEXTS} | unread == set(NAMES)
    assert [c.name for c in COLUMNS if c.absent is Absent.FAIL] == list(REQUIRED)
    assert {"hold_latency", "load_lag", "error_message"}.isdisjoint(EXPECTED)
    assert {*REQUIRED, "run_id", "shape", "pid"} <= EXPECTED
    assert {"batch_size", "steps", "repetition", "attempt"} == WHOLE
    assert {"wait_requested", "arrival_rate", "expected_hosts"} == FRACTIONS
    key = ("mode", "shape", "batch_size", "wait_requested", "steps", "arrival_rate", "repetition")
    assert key == CELL_KEY


def test_only_columns_that_are_not_nullable_have_a_default() -> None:
    defaults = {c.name: c.default for c in COLUMNS if c.default is not None}
    assert defaults == {"shape": "burst", "steps": 1, "repetition": 1, "attempt": 1}
    assert not any(column.null for column in COLUMNS if column.name in defaults)


def test_the_readme_documents_the_columns_of_raw_jsonl() -> None:
    assert rows("analysis/README.md", "Columns of raw.jsonl") == [
        [f"`{c.name}`", f"{c.type} or null" if c.null else str(c.type), c.meaning] for c in COLUMNS
    ]


def test_the_readme_explains_every_error_type() -> None:
    explained = " ".join(row[0] for row in rows("locustfiles/README.md", "Error types"))
    assert [code for code in ErrorType if f"`{code}`" not in explained] == []
