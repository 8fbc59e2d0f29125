"""`python -m launcher.sampling.node SECONDS`: samples one node of a Slurm step, and writes samples to
standard output, one a line.

orders   {"watch": targets} · {"begin": cell} · {"end": number} · {}
answers  samples · {"node": n, "step": id}: that was all for now
         {"node": n, "ended": number}: so were the last samples of a cell

It ends with its input, with its parent, and when nothing has come for a while: a launcher that is
gone together with its srun says nothing, and Slurm does not close the input then.
"""

import os
import select
import socket
import sys
import time
from collections.abc import Mapping
from typing import Any

import orjson

from benchmark.server.process import die_with_parent
from launcher.sampling.collector import line, Looker, Sample
from launcher.system.lines import LineSplitter

SILENCE_SECONDS = 60.0
"""Orders come as often as samples are taken."""


class Node:
    def __init__(self, node: str, interval: float) -> None:
        self._node, self._interval = node, interval
        self._looker = Looker(node, interval)
        self._input = LineSplitter()
        self._due = time.monotonic() + interval

    def run(self) -> None:
        heard = time.monotonic()
        while time.monotonic() - heard < SILENCE_SECONDS + 2 * self._interval:
            if select.select([0], [], [], max(0.0, self._due - time.monotonic()))[0]:
                chunk = os.read(0, 1 << 16)
                if not chunk:
                    return
                heard = time.monotonic()
                for order in self._input.feed(chunk):
                    self._carry_out(orjson.loads(order))
            if time.monotonic() >= self._due:
                self._due = time.monotonic() + self._interval
                self._write(self._looker.take())
                self._tell({"node": self._node, "step": os.environ.get("SLURM_STEP_ID")})

    def close(self) -> None:
        self._looker.close()

    def _carry_out(self, order: Mapping[str, Any]) -> None:
        if "watch" in order:
            mine = order["watch"].get(self._node)
            self._looker.watch({self._node: mine} if mine else {})
            self._due = time.monotonic()
        if "begin" in order:
            self._looker.begin(order["begin"])
        if "end" in order:
            self._write(self._looker.end())
            self._tell({"node": self._node, "ended": order["end"]})

    def _write(self, samples: list[Sample]) -> None:
        for sample in samples:
            _write(line(sample))

    def _tell(self, answer: Mapping[str, Any]) -> None:
        _write(orjson.dumps(answer))


def _write(text: bytes) -> None:
    """A line at a time: what comes at once may reach the launcher in pieces."""
    data = text + b"\n"
    while data:
        data = data[os.write(1, data) :]


def main() -> int:
    die_with_parent(os.getppid())
    node = Node(os.environ.get("SLURMD_NODENAME") or socket.gethostname(), float(sys.argv[1]))
    try:
        node.run()
    except BrokenPipeError:
        pass  # nobody listens
    finally:
        node.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
