"""`python -m tests.perf.summary_size [--rows N] [--json]`: seconds and memory from two million rows to
their summary."""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import datetime, timedelta, UTC
from pathlib import Path

import numpy as np
import orjson

ROWS, CELLS, SECONDS = 2_000_000, 60, 600
SUMMARISE = "import sys, pathlib, analysis.results.folder as r; r.load(pathlib.Path(sys.argv[1]))"


def rows(cell: int, size: int) -> Iterator[bytes]:
    """The rows of one cell, as a grid writes them."""
    started = datetime(2026, 3, 1, tzinfo=UTC) + timedelta(seconds=20 * cell)
    generator = np.random.default_rng(cell)
    parts, hashes = generator.random((size, 4)).tolist(), generator.integers(1 << 48, size=size)
    for number, (late, connect, reset, step) in enumerate(parts):
        row = {
            "request_id": number,
            "timestamp": (started + timedelta(seconds=late)).isoformat(timespec="microseconds"),
            "intended_timestamp": started.isoformat(timespec="microseconds"),
            "run_id": "0123456789ab",
            "mode": "ws",
            "shape": "burst",
            "url": "http://node1:8000",
            "batch_size": size,
            "wait_requested": 1.0,
            "steps": 1,
            "arrival_rate": None,
            "repetition": cell + 1,
            "attempt": 1,
            "expected_hosts": 4,
            "hardware": "linux-x86_64-64cpu",
            "load_worker": f"load-{number % 8}",
            "connect_latency": connect,
            "reset_latency": reset,
            "step_latency": 1 + step,
            "total_latency": 1 + connect + reset + step,
            "step_latency_max": 1 + step,
            "waited_seconds": 1.0,
            "pid": 1000 + number % 64,
            "session_hash": f"{hashes[number]:012x}",
            "host_url": f"node{number % 4}:8000",
            "success": True,
            "error_type": None,
            "error_message": None,
            "load_lag": 0.001,
            "open_clients": None,
            "open_servers": None,
        }
        yield orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE)


def main() -> int:
    parser = argparse.ArgumentParser(prog="tests.perf.summary_size")
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        raw = Path(folder, "raw.jsonl")
        with raw.open("wb") as file:
            for cell in range(CELLS):
                file.writelines(rows(cell, given.rows // CELLS))
        written = raw.stat().st_size
        started = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-c", SUMMARISE, folder], check=False, timeout=SECONDS
        )
        seconds = time.monotonic() - started
    if done.returncode:
        return 1
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    cores = len(os.sched_getaffinity(0))
    if given.json:
        result = {
            "rows": given.rows,
            "file_mib": written / 2**20,
            "seconds": seconds,
            "peak_mib": peak,
        }
        print(json.dumps(result))
        return 0
    print("rows      file MiB  cores  seconds  peak MiB of the largest process")
    print(f"{given.rows:8}  {written / 2**20:8.0f}  {cores:5}  {seconds:7.1f}  {peak:8.0f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
