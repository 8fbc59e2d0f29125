"""Rows: what raw.jsonl holds, one line a session."""

from collections.abc import Iterable
from pathlib import Path

import orjson
import pandas as pd

CELL_KEY = ["mode", "batch_size", "wait_requested", "repetition", "attempt"]
"""What identifies a cell among the rows of one run."""

LATENCIES = ["connect_latency", "reset_latency", "step_latency", "total_latency"]
NUMBERS = [*LATENCIES, "waited_seconds"]


def table(lines: Iterable[bytes]) -> pd.DataFrame:
    """Rows as a table. Latencies are float seconds; what was not measured is NaN."""
    frame = pd.DataFrame([orjson.loads(line) for line in lines])
    for name in NUMBERS:
        if name in frame:
            frame[name] = pd.to_numeric(frame[name]).astype("float64")
    return frame


def read(raw: Path) -> pd.DataFrame:
    with raw.open("rb") as lines:
        return table(lines)
