"""Reads raw.jsonl.

Two million rows are more than a gigabyte of text. Files are read in pieces that fit the processor's
cache, which halves the time, and large files by several processes in parallel.
"""

import os
import pickle
import subprocess
import sys
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO

import orjson

from analysis.errors import ResultsError
from analysis.rows.columns import Rows
from analysis.rows.parser import Reader

PIECE_BYTES = 1 << 17
MAX_PARTS = 4

# Reading a smaller part takes less time than starting another process.
PART_BYTES = 64 << 20


def read(raw: Path, messages: bool = False) -> Rows:
    """All rows of a file, with their error messages on request. Raises `ResultsError` when the file
    cannot be read or does not hold rows of one run."""
    try:
        with raw.open("rb") as file:
            reader = None if messages else _in_parallel(raw, file)
            rows = (reader or _serially(raw, file, messages)).rows()
    except OSError as failure:
        raise ResultsError(f"cannot read {raw}: {failure.strerror}") from None
    if len(rows.runs) > 1:
        raise ResultsError(
            f"{raw} holds rows of {len(rows.runs)} runs ({', '.join(rows.runs[:3])}); "
            "give each a folder"
        )
    return rows


def _serially(raw: Path, file: BinaryIO, messages: bool) -> Reader:
    reader = Reader(str(raw), messages)
    _take_last(reader, _take(reader, file, 0, os.fstat(file.fileno()).st_size))
    return reader


def _in_parallel(raw: Path, file: BinaryIO) -> Reader | None:
    """Reads the first part here and each other part in another process. Returns None when the file is
    small or a process failed; reading serially then reports the error."""
    cuts = _cuts(file)
    if len(cuts) < 3:
        return None
    reader, rest = Reader(str(raw)), b""
    with ExitStack() as stack:
        others = [stack.enter_context(_other(raw, *ends)) for ends in pairwise(cuts[1:])]
        for other in others:
            stack.callback(other.kill)
        _take(reader, file, cuts[0], cuts[1])
        for other in others:
            assert other.stdout is not None
            try:
                part = pickle.load(other.stdout)
            except (EOFError, pickle.UnpicklingError):
                return None
            reader.join(part)
            rest = part.rest
    _take_last(reader, rest)
    return reader


def _other(raw: Path, begin: int, end: int) -> "subprocess.Popen[bytes]":
    argv = [sys.executable, "-P", "-m", "analysis.rows.files", str(raw), str(begin), str(end)]
    return subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)


def _cuts(file: BinaryIO) -> list[int]:
    """The offsets at which parts start, after line ends, and the end of the file."""
    size = os.fstat(file.fileno()).st_size
    parts = min(MAX_PARTS, len(os.sched_getaffinity(0)), size // PART_BYTES)
    cuts = [0]
    for number in range(1, parts):
        file.seek(size * number // parts)
        file.readline()
        cuts.append(file.tell())
    return sorted({*cuts, size})


def _take(reader: Reader, file: BinaryIO, begin: int, end: int) -> bytes:
    """Returns the bytes after the last line end."""
    file.seek(begin)
    left, rest = end - begin, b""
    while piece := file.read(min(PIECE_BYTES, left)):
        left -= len(piece)
        text, newline, rest = (rest + piece).rpartition(b"\n")
        if newline:
            reader.take(text)
    return rest


def _take_last(reader: Reader, line: bytes) -> None:
    """Takes a line without a line end: complete, or truncated while it was written."""
    if not line.strip():
        return
    try:
        orjson.loads(line)
    except ValueError:
        reader.warnings.append(f"{reader.where}: the last line is truncated and was ignored")
    else:
        reader.take(line)


def main(raw: str, begin: str, end: str) -> None:
    reader = Reader(raw)
    with Path(raw).open("rb") as file:
        rest = _take(reader, file, int(begin), int(end))
    pickle.dump(reader.part(rest), sys.stdout.buffer, protocol=pickle.HIGHEST_PROTOCOL)


if __name__ == "__main__":
    main(*sys.argv[1:])
