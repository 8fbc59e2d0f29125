"""Results folders like those of a grid, generated from rules instead of measured."""

import json
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, UTC
from pathlib import Path
from typing import Any

START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
# The number of refused sessions, by batch, wait and repetition.
Refusal = Callable[[int, float, int], int]


def none_refused(batch: int, wait: float, repetition: int) -> int:
    return 0


def beyond(places: int) -> Refusal:
    """Refuses sessions beyond about `places`, a few more in each repetition."""
    return lambda batch, _, repetition: max(0, batch - places - 40 * (repetition - 2))


@dataclass
class Made:
    """A folder to write. `invalid` lists (batch, wait, repetition) of cells that lose a load worker."""

    folder: Path
    batches: Sequence[int] = (32, 128, 512)
    waits: Sequence[float] = (1.0,)
    reps: int = 1
    servers: int = 2
    refused: Refusal = none_refused
    shape: str = "burst"
    rate: float | None = None
    invalid: Sequence[tuple[int, float, int]] = ()
    old_columns: bool = False
    facts: bool = True
    run_id: str = "abcdef123456"

    def write(self) -> Path:
        self.folder.mkdir(parents=True)
        cells = []
        with (self.folder / "raw.jsonl").open("w") as raw:
            for wait in self.waits:
                for batch in self.batches:
                    for repetition in range(1, self.reps + 1):
                        rows = list(self._rows(batch, wait, repetition))
                        raw.writelines(json.dumps(row) + "\n" for row in rows)
                        cells.append(self._facts(batch, wait, repetition))
        if self.facts:
            (self.folder / "run.json").write_text(json.dumps(self._run(cells), indent=1))
        return self.folder

    def _rows(self, batch: int, wait: float, repetition: int) -> Iterator[dict[str, Any]]:
        dice = random.Random(f"{batch} {wait} {repetition}")
        refused = self.refused(batch, wait, repetition)
        begin = START + timedelta(seconds=600 * repetition)
        lost = (batch, wait, repetition) in self.invalid
        for number in range(batch):
            meant = begin
            if self.shape == "open" and self.rate:
                meant += timedelta(seconds=number / self.rate)
            start = meant + timedelta(seconds=dice.random() * 0.02)
            row = {
                "request_id": number,
                "timestamp": _iso(start),
                "intended_timestamp": _iso(meant),
            }
            row |= self._constant(batch, wait, repetition)
            row |= _succeeded(dice, number, batch, wait, self.servers)
            if number >= batch - refused:
                row |= _failed("CAPACITY_REACHED", 0.05)
            if lost and number % 2:
                row |= _failed("LOAD_WORKER_LOST", None)
            if self.old_columns:
                for name in ("run_id", "attempt", "expected_hosts", "repetition", "load_worker"):
                    del row[name]
            yield row

    def _constant(self, batch: int, wait: float, repetition: int) -> dict[str, Any]:
        constant: dict[str, Any] = {
            "run_id": self.run_id,
            "mode": "ws",
            "url": "http://n1:8000",
            "batch_size": batch,
            "wait_requested": wait,
            "repetition": repetition,
            "attempt": 1,
            "expected_hosts": self.servers,
            "hardware": "linux-x86_64-2cpu",
        }
        if self.old_columns:
            return constant
        return constant | {"shape": self.shape, "steps": 1, "arrival_rate": self.rate}

    def _facts(self, batch: int, wait: float, repetition: int) -> dict[str, Any]:
        bound = None
        if refused := self.refused(batch, wait, repetition):
            evidence = f"{refused} of {batch} sessions were refused, all places were taken"
            bound = {"by": "admission cap", "evidence": evidence}
        lost = ["load-2 (pid 7) was killed by SIGKILL"]
        begin = START + timedelta(seconds=600 * repetition)
        worker = {"sessions": batch // 2, "cpu_seconds": 0.4, "wait_seconds": 0.01}
        worker |= {"wall_seconds": wait + 1, "lag_max": 0.02, "clock_offset": 0.0001}
        return {
            "mode": "ws",
            "shape": self.shape,
            "batch": batch,
            "wait": wait,
            "steps": 1,
            "arrival_rate": self.rate,
            "repetition": repetition,
            "attempt": 1,
            "begun": _iso(begin),
            "ended": _iso(begin + timedelta(seconds=wait + 1)),
            "interrupted": False,
            "lost_workers": lost if (batch, wait, repetition) in self.invalid else [],
            "replaced": [],
            "shares_node": False,
            "workers": {"load-1": worker, "load-2": worker},
            "max_lag": 1.0,
            "open_clients": None,
            "open_servers": None,
            "bound": bound,
            "bound_candidates": [bound] if bound else [],
        }

    def _run(self, cells: list[dict[str, Any]]) -> dict[str, Any]:
        grid = ",".join(str(batch) for batch in self.batches)
        waits = ",".join(f"{wait:g}" for wait in self.waits)
        arguments = [
            "grid",
            "--requests-grid",
            grid,
            "--wait-grid",
            waits,
            "--reps",
            str(self.reps),
        ]
        servers = [
            {"name": f"server-{n}", "role": "server", "node": f"n{n + 1}", "pid": n, "log": "s.log"}
            for n in range(1, self.servers + 1)
        ]
        envoy = {"name": "envoy", "role": "envoy", "node": "n1", "pid": 9, "log": "e.log"}
        ended = _iso(START + timedelta(minutes=42))
        return {
            "run_id": self.run_id,
            "arguments": arguments,
            "grid": {
                "url": "http://n1:8000",
                "batches": list(self.batches),
                "waits": list(self.waits),
                "modes": ["ws"],
                "reps": self.reps,
                "expected_hosts": self.servers,
                "timeout": 120.0,
                "hardware": "linux-x86_64-2cpu",
            },
            "versions": {"python": "3.11.7", "openenv-slurm": "0.1.0", "locust": "2.47.0"},
            "machine": {"host": "client", "cores": 2, "platform": "Linux-6.18-x86_64"},
            "limits": {"descriptors": 20000, "ports": 28232},
            "planned_cells": len(cells),
            "caps": {
                "max_concurrent_envs": 256,
                "workers_per_node": 4,
                "servers": self.servers,
                "capacity": 1024 * self.servers,
                "envoy_sessions": 9900,
            },
            "placement": {
                "deployment": "made",
                "processes": [envoy, *servers],
                "images": {},
                "load": {"load-master": 10, "load-1": 11, "load-2": 12},
                "load_nodes": ["client"],
                "load_shares_node": False,
            },
            "status": "complete",
            "started": _iso(START),
            "ended": ended,
            "sittings": [
                {
                    "started": _iso(START),
                    "ended": ended,
                    "status": "complete",
                    "error": None,
                    "url": "http://n1:8000",
                    "cells_done": len(cells),
                }
            ],
            "rows": 0,
            "error": None,
            "cells": cells,
        }


def _succeeded(
    dice: random.Random, number: int, batch: int, wait: float, servers: int
) -> dict[str, Any]:
    connect = 0.005 + dice.random() * batch / 2000
    reset = 0.001 + dice.random() * batch / 8000
    step = wait + 0.001 + dice.random() * batch / 20000
    host = dice.randrange(servers)
    return {
        "load_worker": f"load-{number % 2 + 1}",
        "connect_latency": connect,
        "reset_latency": reset,
        "step_latency": step,
        "step_latency_max": step,
        "total_latency": connect + reset + step,
        "waited_seconds": wait,
        "pid": 100 + number % (2 * servers),
        "session_hash": f"{number:012x}",
        "host_url": f"n{host + 2}:8000",
        "success": True,
        "error_type": None,
        "error_message": None,
        "load_lag": 0.004,
        "open_clients": None,
        "open_servers": None,
    }


def _failed(error_type: str, after: float | None) -> dict[str, Any]:
    unknown = ["connect_latency", "reset_latency", "step_latency", "step_latency_max"]
    unknown += ["waited_seconds", "pid", "session_hash", "host_url", "load_lag"]
    return dict.fromkeys(unknown) | {
        "total_latency": after,
        "success": False,
        "error_type": error_type,
        "error_message": "no place" if after else "the load worker is gone",
    }


def _iso(moment: datetime) -> str:
    return moment.isoformat(timespec="microseconds")
