"""`python -m launcher.sampling.node SECONDS`: samples one node of a Slurm step every SECONDS and writes
the samples to standard output, one per line.

Orders, one JSON object per line on standard input:

    {"targets": {node: target}} · {"start": cell} · {"end": number} · {}

Answers, apart from samples:

    {"node": n, "step": id}        after the samples of one interval
    {"node": n, "ended": number}   after the last samples of a cell

It exits at the end of its input, with its parent, and after a minute without an order: when a launcher
and its srun are both killed, Slurm does not close the input.
"""

import os
import select
import socket
import sys
import time
from collections.abc import Mapping
from contextlib import closing, suppress
from typing import Any

import orjson

from benchmark.server.process import die_with_parent
from launcher.sampling.collector import Collector
from launcher.sampling.sample import encode, Sample
from launcher.system.lines import LineSplitter

# The launcher sends an order at every interval.
SILENCE_SECONDS = 60.0


class Node:
    def __init__(self, node: str, interval: float, collector: Collector) -> None:
        self._node, self._interval, self._collector = node, interval, collector
        self._input = LineSplitter()
        self._due = time.monotonic() + interval

    def run(self) -> None:
        last_order = time.monotonic()
        while time.monotonic() - last_order < SILENCE_SECONDS + 2 * self._interval:
            if select.select([0], [], [], max(0.0, self._due - time.monotonic()))[0]:
                chunk = os.read(0, 1 << 16)
                if not chunk:
                    return
                last_order = time.monotonic()
                for order in self._input.feed(chunk):
                    self._carry_out(orjson.loads(order))
            if time.monotonic() >= self._due:
                self._due = time.monotonic() + self._interval
                self._send(self._collector.collect())
                self._answer({"step": os.environ.get("SLURM_STEP_ID")})

    def _carry_out(self, order: Mapping[str, Any]) -> None:
        if "targets" in order:
            mine = order["targets"].get(self._node)
            self._collector.set_targets({self._node: mine} if mine else {})
            self._due = time.monotonic()
        if "start" in order:
            self._collector.start_cell(order["start"])
        if "end" in order:
            self._send(self._collector.end_cell())
            self._answer({"ended": order["end"]})

    def _send(self, samples: list[Sample]) -> None:
        for sample in samples:
            _write(encode(sample))

    def _answer(self, answer: Mapping[str, Any]) -> None:
        _write(orjson.dumps({"node": self._node, **answer}))


def _write(line: bytes) -> None:
    # One line per write: srun may forward a larger write in pieces.
    data = line + b"\n"
    while data:
        data = data[os.write(1, data) :]


def main() -> int:
    die_with_parent(os.getppid())
    name, interval = os.environ.get("SLURMD_NODENAME") or socket.gethostname(), float(sys.argv[1])
    with closing(Collector(name, interval)) as collector, suppress(BrokenPipeError):
        Node(name, interval, collector).run()  # the pipe breaks when the launcher exits
    return 0


if __name__ == "__main__":
    sys.exit(main())
