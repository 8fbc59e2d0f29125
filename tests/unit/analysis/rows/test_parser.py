"""Reads raw.jsonl of this version, of older versions and other tools, and damaged files."""

from pathlib import Path
from typing import Any

import orjson
import pandas as pd
import pytest

from analysis.cells.summary import as_csv, cell
from analysis.errors import ResultsError
from analysis.rows import files as reading
from analysis.rows.files import read
from analysis.rows.parser import table
from analysis.rows.schema import LATENCIES, unfinished
from tests.helpers.rows import published, row, some


def written(folder: Path, *rows: dict[str, Any], rest: bytes = b"") -> Path:
    path = folder / "raw.jsonl"
    path.write_bytes(b"".join(orjson.dumps(one) + b"\n" for one in rows) + rest)
    return path


def test_a_file_gives_the_same_summary_as_the_rows_that_were_written_to_it(tmp_path: Path) -> None:
    rows = [orjson.dumps(one) for one in some(1500)]
    path = tmp_path / "raw.jsonl"
    path.write_bytes(b"\n".join(rows) + b"\n")
    (again,) = [cell(attempt) for attempt in read(path).attempts()]
    assert as_csv([again]) == as_csv([cell(table(rows))])


def test_reading_in_parallel_gives_the_same_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [*some(700, repetition=1), *some(500, repetition=2, mode="http")]
    path = written(tmp_path, *rows, rest=orjson.dumps(some(1)[0])[:50])
    alone = read(path)
    monkeypatch.setattr(reading, "PART_BYTES", 1 << 16)
    monkeypatch.setattr(reading.os, "sched_getaffinity", lambda _: {0, 1, 2})
    with path.open("rb") as file:
        cuts = reading._cuts(file)
        assert len(cuts) == 4
        assert reading._in_parallel(path, file) is not None
    assert cuts[-1] == path.stat().st_size
    parts = read(path)
    pd.testing.assert_frame_equal(parts.frame(), alone.frame())
    assert parts.warnings == alone.warnings != []


def test_an_error_in_a_part_that_another_process_reads_names_its_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path, *some(700), rest=b"broken\n")
    monkeypatch.setattr(reading, "PART_BYTES", 1 << 16)
    monkeypatch.setattr(reading.os, "sched_getaffinity", lambda _: {0, 1, 2})
    with pytest.raises(ResultsError, match=r"raw\.jsonl:701: not a row: b'broken'"):
        read(path)


def test_rows_of_an_attempt_need_not_be_adjacent(tmp_path: Path) -> None:
    first, second = some(4, repetition=1), some(4, repetition=2)
    mixed = [one for pair in zip(first, second, strict=True) for one in pair]
    attempts = list(read(written(tmp_path, *mixed)).attempts())
    assert [list(one["repetition"].unique()) for one in attempts] == [[1], [2]]
    together = list(read(written(tmp_path, *first, *second)).attempts())
    assert as_csv(map(cell, attempts)) == as_csv(map(cell, together))


def test_a_file_longer_than_a_piece_is_read_completely(tmp_path: Path) -> None:
    rows = read(written(tmp_path, *some(2000)))
    assert rows.columns["request_id"].tolist() == list(range(2000))


@pytest.mark.parametrize("cut", [1, 40, -1])
def test_a_truncated_last_line_is_ignored_with_a_warning(tmp_path: Path, cut: int) -> None:
    rows = read(written(tmp_path, *some(3), rest=orjson.dumps(row())[:cut]))
    assert len(rows) == 3
    assert rows.warnings == [f"{tmp_path}/raw.jsonl: the last line is truncated and was ignored"]


def test_a_complete_last_line_without_a_line_end_counts(tmp_path: Path) -> None:
    rows = read(written(tmp_path, *some(3), rest=orjson.dumps(row())))
    assert (len(rows), rows.warnings) == (4, [])


@pytest.mark.parametrize("line", [b"{", b"[1]", b"7", b"\x00\x00", b'{"a":1}{"b":2}'])
def test_a_damaged_line_fails_with_its_number(tmp_path: Path, line: bytes) -> None:
    good = b"".join(orjson.dumps(one) + b"\n" for one in some(3))
    path = tmp_path / "raw.jsonl"
    path.write_bytes(good + line + b"\n" + good)
    with pytest.raises(ResultsError, match=r"raw\.jsonl:4: not a row"):
        read(path)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"total_latency": "long"}, "long"),
        ({"batch_size": None}, "int"),
        ({"timestamp": "yesterday"}, "yesterday"),
        ({"host_url": ["a"]}, "unhashable"),
    ],
)
def test_a_value_of_another_type_fails_with_the_line_number(
    tmp_path: Path, fields: dict[str, Any], says: str
) -> None:
    with pytest.raises(ResultsError, match=rf"raw\.jsonl:3: .*{says}"):
        read(written(tmp_path, *some(2), row(**fields), *some(2)))


def test_a_row_without_a_required_column_fails_with_the_line_number(tmp_path: Path) -> None:
    short = row()
    del short["batch_size"]
    with pytest.raises(ResultsError, match=r"raw\.jsonl:1: the row has no batch_size"):
        read(written(tmp_path, short))


def test_empty_lines_are_ignored(tmp_path: Path) -> None:
    assert len(read(written(tmp_path, *some(2), rest=b"\n\n" + orjson.dumps(row()) + b"\n"))) == 3


def test_rows_of_two_runs_fail(tmp_path: Path) -> None:
    path = written(tmp_path, row(run_id="a"), row(run_id="b"))
    with pytest.raises(ResultsError, match=r"holds rows of 2 runs \(a, b\)"):
        read(path)


def test_a_missing_file_fails(tmp_path: Path) -> None:
    with pytest.raises(ResultsError, match=r"cannot read .*: No such file"):
        read(tmp_path / "raw.jsonl")


def test_rows_without_shape_and_steps_are_bursts_of_one_step(tmp_path: Path) -> None:
    rows = read(written(tmp_path, row(batch_size=1)))
    (line,) = map(cell, rows.attempts())
    assert (line["shape"], line["steps"]) == ("burst", 1)
    assert rows.missing == ("intended_timestamp", "shape", "steps")


def test_unknown_columns_are_ignored(tmp_path: Path) -> None:
    rows = read(written(tmp_path, row(later=1, more={"a": [1]})))
    assert "later" not in rows.frame()


def test_rows_with_and_without_hold_latency_are_read_without_a_warning(tmp_path: Path) -> None:
    new = {"shape": "hold", "steps": 1, "intended_timestamp": None, "arrivals": None}
    rows = read(written(tmp_path, row(**new), row(**new, hold_latency=0.5)))
    assert rows.frame()["hold_latency"].isna().tolist() == [True, False]
    assert rows.missing == read(written(tmp_path, row(**new))).missing == ()


def test_rows_with_and_without_a_column_stand_in_parallel(tmp_path: Path) -> None:
    short = {name: value for name, value in row(unknown=1).items() if name != "waited_seconds"}
    long = row(load_lag=0.5)
    rows = read(written(tmp_path, short, long, short)).frame()
    assert rows["load_lag"].isna().tolist() == [True, False, True]
    assert rows["waited_seconds"].isna().tolist() == [True, False, True]


def test_a_row_that_was_written_off_is_read_like_the_others(
    tmp_path: Path,
) -> None:
    constant = {name: row()[name] for name in ("run_id", "mode", "url", "batch_size", "hardware")}
    constant |= {"wait_requested": 1.0, "repetition": 1, "attempt": 1, "expected_hosts": None}
    constant |= {"shape": "burst", "steps": 1, "arrival_rate": None}
    line = unfinished(constant, 1, "load-1", "INTERRUPTED", "the grid ended")
    path = written(tmp_path, row(intended_timestamp=None), rest=line + b"\n")
    rows = read(path)
    assert rows.missing == ()
    assert cell(rows.frame())["lost"] == 1


@pytest.mark.parametrize(
    "moment",
    [
        "2026-03-01T12:00:00Z",
        "2026-03-01T12:00:00",
        "2026-03-01T13:00:00.000000+01:00",
        "2026-03-01T12:00:00.000+00:00",
    ],
)
def test_timestamps_are_converted_to_utc(moment: str) -> None:
    frame = table([orjson.dumps(row(timestamp=moment))])
    assert cell(frame)["timestamp"] == "2026-03-01T12:00:00.000000+00:00"


def test_session_hashes_of_any_form_are_distinguished() -> None:
    names = ["aaaaaaaaaaaa", "1", "01", "session one", "session two", "aaaaaaaaaaaa", None]
    frame = table(orjson.dumps(row(batch_size=7, session_hash=name)) for name in names)
    assert cell(frame)["unique_sessions"] == 5


def test_nan_means_not_measured(tmp_path: Path) -> None:
    line = orjson.dumps(row(total_latency=-7.5)).replace(b"-7.5", b"NaN")
    rows = read(written(tmp_path, row(), rest=line + b"\n"))
    assert rows.frame()["total_latency"].isna().tolist() == [False, True]


def test_repetitions_of_the_published_tool_are_counted_by_request_ids(tmp_path: Path) -> None:
    order = [1, 0, 2, 2, 0, 1]  # two repetitions, as sessions ended
    rows = read(written(tmp_path, *(published(n, batch_size=3) for n in order)))
    lines = [cell(attempt) for attempt in rows.attempts()]
    assert [(line["repetition"], line["successful"], line["valid"]) for line in lines] == [
        (1, 3, True),
        (2, 3, True),
    ]
    assert {"run_id", "repetition", "attempt", "url", "load_worker"} <= set(rows.missing)


def test_zero_latencies_of_the_published_tool_mean_not_measured(tmp_path: Path) -> None:
    zero = dict.fromkeys(LATENCIES, 0.0)
    no = {"success": False, "error_type": "TIMEOUT", "error_message": "no"}
    rows = read(written(tmp_path, published(0), published(1, **zero, **no)))
    assert rows.frame()[LATENCIES].isna().all(axis=1).tolist() == [False, True]
    assert cell(rows.frame())["peak_open"] == 1
