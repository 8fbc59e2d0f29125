import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from launcher.system import log_limit
from launcher.system.log_limit import LogLimit, shorten, skip_cut

NOTE = "[{:,} bytes of output were removed here, to limit the size of this log]"
# Prints numbered lines without end, or until its input closes, and then a last line.
PRINTER = """
import os, select, sys
number = 0
while not select.select([0], [], [], 0)[0]:
    os.write(1, b"".join(b"line %d\\n" % n for n in range(number, number + 500)))
    number += 500
os.write(1, b"the end\\n")
"""


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "server.log"


@pytest.fixture
def printer(log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("ab") as output:
        argv = [sys.executable, "-c", PRINTER]
        process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=output)
    yield process
    process.kill()
    process.communicate()


def test_the_beginning_and_the_end_stay(log: Path) -> None:
    lines = [f"line {number}" for number in range(1000)]
    log.write_text("\n".join(lines) + "\n")
    removed = shorten(log, 50)
    kept = log.read_text().splitlines()
    note = kept.index(NOTE.format(removed))
    assert kept[:note] == lines[:note]
    assert kept[note + 1 :] == lines[note - len(kept) + 1 :]
    assert sum(len(line) + 1 for line in lines) == removed + sum(
        len(line) + 1 for line in kept if line != kept[note]
    )
    assert 50 <= len("\n".join(kept[:note])) < 70


def test_a_second_cut_replaces_the_note_of_the_first(log: Path) -> None:
    log.write_text("first line\n" * 1000)
    removed = shorten(log, 50)
    with log.open("a") as more:
        more.write("later line\n" * 1000)
    removed = shorten(log, 50, removed)
    text = log.read_text()
    assert text.count("bytes of output were removed") == 1
    assert NOTE.format(removed) in text
    assert text.startswith("first line\n")
    assert text.endswith("later line\n")
    assert removed > 21_000


def test_a_log_of_one_endless_line_is_cut_within_it(log: Path) -> None:
    log.write_bytes(b"x" * 1_000_000)
    shorten(log, 1000)
    head, note, tail = log.read_text().partition(NOTE.format(998_000) + "\n")
    assert (set(head), set(tail), bool(note)) == ({"x"}, {"x"}, True)


def test_lines_that_are_written_meanwhile_stay_whole(
    log: Path, printer: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_limit, "MAX_BYTES", 400_000)
    monkeypatch.setattr(log_limit, "KEPT_BYTES", 50_000)
    monkeypatch.setattr(log_limit, "INTERVAL_SECONDS", 0.0)
    limit = LogLimit()
    limit.add(log)
    cuts = 0
    while cuts < 20:
        before = limit._removed[log]
        limit.check()
        cuts += limit._removed[log] > before
    printer.communicate(b"stop")
    *lines, last = log.read_text().splitlines()
    assert last == "the end"
    numbers = [int(line.split()[1]) for line in lines if not line.startswith("[")]
    assert len(numbers) >= len(lines) - 1
    assert numbers[:1000] == list(range(1000))
    assert numbers[-500:] == list(range(numbers[-1] - 499, numbers[-1] + 1))


def test_a_log_that_is_short_or_missing_is_left_alone(log: Path, tmp_path: Path) -> None:
    limit = LogLimit()
    log.write_text("short\n")
    for each in (log, tmp_path / "missing.log"):
        limit.add(each)
    limit.check()
    assert log.read_text() == "short\n"


def test_a_reader_goes_on_at_the_note(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_limit, "KEPT_BYTES", 50)
    log.write_text("a line\n" * 1000)
    with log.open() as reader:
        reader.readlines()
        skip_cut(reader)
        assert reader.readlines() == []
        shorten(log, 50)
        skip_cut(reader)
        note, *lines = reader.readlines()
        assert note.startswith("[6,")
        assert lines == ["a line\n"] * 7
