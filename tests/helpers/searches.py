"""Reads the files of a search for a ceiling."""

import csv
import json
from pathlib import Path
from typing import Any


def batches(folder: Path) -> list[tuple[int, int]]:
    """The repetition and batch of every cell in the summary."""
    with (folder / "summary.csv").open() as file:
        return [(int(line["repetition"]), int(line["batch_size"])) for line in csv.DictReader(file)]


def rows(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "raw.jsonl").read_text().splitlines()]
