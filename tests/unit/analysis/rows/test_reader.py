"""A reader parses complete lines at once, or one by one where it must, and joins parts."""

import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest

from analysis.errors import ResultsError
from analysis.rows import files
from analysis.rows.files import read
from analysis.rows.parser import _transposed, Reader, table
from tests.helpers.rows import row, some

NAN = orjson.dumps(row(request_id=1, total_latency=-7.5)).replace(b"-7.5", b" NaN")
FAILED = {"success": False, "error_type": "TIMEOUT", "error_message": "too late"}


def text(*rows: dict[str, Any]) -> bytes:
    return b"\n".join(map(orjson.dumps, rows))


def written(folder: Path, *rows: dict[str, Any]) -> Path:
    path = folder / "raw.jsonl"
    path.write_bytes(text(*rows) + b"\n")
    return path


def test_sound_lines_are_parsed_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Reader, "_take_singly", None)
    reader = Reader()
    reader.take(text(*some(2)))
    assert reader.part(b"").columns["request_id"].tolist() == [0, 1]


def test_a_damaged_line_has_its_number_after_lines_that_were_parsed_singly() -> None:
    reader = Reader("here")
    reader.take(NAN + b"\n" + NAN)
    reader.take(NAN)
    with pytest.raises(ResultsError) as raised:
        reader.take(b"x" * 70)
    assert str(raised.value) == f"here:4: not a row: {b'x' * 60!r}"
    assert len(reader.rows()) == 3


def test_a_part_holds_what_was_read_and_the_next_lines_are_numbered_after_it() -> None:
    first, second = Reader("all"), Reader("all")
    first.take(text(row(batch_size=2), row(batch_size=3, load_worker="b")))
    second.take(text(row(batch_size=4, load_worker="c"), row(batch_size=3), row(batch_size=2)))
    whole, part = Reader("all"), second.part(b"rest")
    assert (part.lines, part.rest, part.seen) == (3, b"rest", set(row()))
    assert [key[2] for key in part.constants] == [4, 3, 2]
    whole.join(first.part(b""))
    part.seen.remove("pid")
    part.seen.add("unknown")
    whole.join(part)
    assert whole._lines == 5
    assert whole._seen == {*row(), "unknown"}
    with pytest.raises(ResultsError, match="all:6: "):
        whole.take(b"broken")
    joined = whole.part(b"")
    assert joined.columns["attempt"].tolist() == [0, 1, 2, 1, 0]
    assert joined.columns["attempt"].dtype == joined.columns["load_worker"].dtype == np.int32
    workers = [joined.names["load_worker"][code] for code in joined.columns["load_worker"]]
    usual = row()["load_worker"]
    assert workers == [usual, "b", "c", usual, usual]


def test_columns_without_rows_have_their_types() -> None:
    columns = Reader().part(b"").columns
    assert columns["timestamp"].dtype == np.dtype("M8[us]")
    assert (columns["request_id"].dtype, columns["attempt"].dtype) == (np.int64, np.int32)


@pytest.mark.parametrize(
    ("rows", "columns"),
    [
        ([{"pid": 1}, {"pid": 2}], {"pid": (1, 2)}),
        ([{"pid": 1, "mode": "ws"}, {"mode": "http", "pid": 2}], {"pid": (1, 2), "mode": ("ws", "http")}),
        ([{"pid": 1, "mode": 3}, {"pid": 2, "url": 4}], {"pid": (1, 2), "mode": (3, None), "url": (None, 4)}),
        ([{"pid": 1}, {"shape": "open"}], {"pid": (1, None), "shape": ("burst", "open")}),
    ],
)  # fmt: skip
def test_rows_become_columns_with_defaults_for_what_some_do_not_have(
    rows: list[dict[str, Any]], columns: dict[str, tuple[Any, ...]]
) -> None:
    assert _transposed(rows) == columns


def test_error_messages_are_read_on_request(tmp_path: Path) -> None:
    rows = [row(), row(**FAILED)]
    path = written(tmp_path, *rows)
    assert read(path, messages=True).frame()["error_message"].tolist()[1] == "too late"
    assert table(map(orjson.dumps, rows))["error_message"].tolist()[1] == "too late"
    assert "error_message" not in read(path).columns


def test_only_three_of_many_runs_are_named(tmp_path: Path) -> None:
    path = written(tmp_path, *(row(run_id=name) for name in "dcba"))
    with pytest.raises(ResultsError, match=r"rows of 4 runs \(a, b, c\)"):
        read(path)


@pytest.mark.parametrize(
    ("size", "processors", "parts"), [(1.9, 8, 1), (2.1, 8, 2), (2.1, 1, 1), (9.0, 8, 4)]
)
def test_a_file_has_as_many_parts_as_it_is_worth(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: float, processors: int, parts: int
) -> None:
    path = written(tmp_path, *some(100))
    monkeypatch.setattr(files, "PART_BYTES", int(path.stat().st_size / size))
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {*range(processors)})
    with path.open("rb") as file:
        cuts = files._cuts(file)
        assert len(cuts) == parts + 1
        assert (files._in_parallel(path, file) is not None) is (parts > 1)
    starts = [path.read_bytes()[:cut] for cut in cuts[1:]]
    assert all(start.endswith(b"\n") for start in starts)


def test_a_part_is_written_to_standard_output(
    tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    path = written(tmp_path, *some(5))
    lines = path.read_bytes().splitlines(keepends=True)
    begin, end = len(lines[0]), sum(map(len, lines[:3])) + 10
    files.main(str(path), str(begin), str(end))
    part = pickle.loads(capfdbinary.readouterr().out)
    assert part.columns["request_id"].tolist() == [1, 2]
    assert (part.lines, part.rest) == (2, lines[3][:10])


def test_a_large_file_is_read_in_parallel_but_not_its_messages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path, *some(20), row(**FAILED))
    monkeypatch.setattr(files, "PART_BYTES", path.stat().st_size // 2)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    assert "too late" in read(path, messages=True).frame()["error_message"].tolist()
    monkeypatch.setattr(files, "_serially", None)
    assert len(read(path)) == 21
