"""`python -m locustfiles.grid.worker` runs one load worker of a grid."""

import argparse
import gc
import sys
import time
from collections.abc import Sequence
from typing import Any

import gevent
from locust.env import Environment
from locust.log import setup_logging
from locust.rpc import Message

from locustfiles.grid.cell_share import Share
from locustfiles.grid.clock import ClockOffset, ProcessMonitor
from locustfiles.grid.messages import CELL, CLOCK, HELLO, RELEASE, ROWS
from locustfiles.grid.recorder import Recorder
from locustfiles.grid.user import SessionUser
from locustfiles.session.engine import engine

FLUSH_SECONDS = 0.2
CLOCK_SECONDS = 10.0


def tune_garbage_collector() -> None:
    """Collects rarely, because scanning thousands of open sessions is expensive."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


class LoadWorker:
    def __init__(self, name: str, runner: Any) -> None:
        self._name, self._runner = name, runner
        self._monitor = ProcessMonitor()
        self._recorder = Recorder(runner.environment, self._monitor)
        self._share: Share | None = None
        engine().on_lag = self._monitor.add_lag
        self._measured = ClockOffset()
        self._clock_offset: float | None = None
        for message, handler in (
            (CLOCK, self._on_clock),
            (CELL, self._on_cell),
            (RELEASE, self._on_release),
        ):
            runner.register_message(message, handler)

    def run(self) -> None:
        gevent.spawn(self._monitor.watch)
        gevent.spawn(self._recorder.run)
        gevent.spawn(self._flush_regularly)
        gevent.spawn(self._compare_clocks_regularly)
        self._runner.greenlet.join()

    def _compare_clocks_regularly(self) -> None:
        """Only between cells, because a busy process would distort the measurement."""
        while True:
            if self._idle:
                self._measured = ClockOffset()
                self._request_time()
            gevent.sleep(CLOCK_SECONDS)

    def _request_time(self) -> None:
        self._runner.send_message(CLOCK, {"sent": time.time()})

    def _on_clock(self, msg: Message, **_: Any) -> None:
        self._measured.add(msg.data["sent"], msg.data["remote"], time.time())
        if not self._measured.known:
            self._request_time()
        elif self._clock_offset is None or self._idle:
            self._clock_offset = self._measured.seconds
            hello = {"name": self._name, "clock_offset": self._clock_offset}
            self._runner.send_message(HELLO, hello)

    def _on_cell(self, msg: Message, **_: Any) -> None:
        self._flush()
        share = Share(msg.data, self._name, self._clock_offset or 0.0, self._recorder.add)
        self._share = self._recorder.share = share
        self._recorder.rows = []
        self._monitor.reset()
        gevent.spawn(share.run)

    def _on_release(self, msg: Message, **_: Any) -> None:
        share = self._share
        if share is not None and share.cell == msg.data["cell"]:
            share.release(msg.data["open_clients"], msg.data["open_servers"])

    @property
    def _idle(self) -> bool:
        return self._share is None or self._share.finished

    def _flush(self) -> None:
        if (share := self._share) is not None:
            rows, self._recorder.rows = self._recorder.rows, []
            report = {"cell": share.cell, "open": share.open, "held": share.held, "rows": rows}
            self._runner.send_message(ROWS, report | {"fitness": self._monitor.report()})

    def _flush_regularly(self) -> None:
        while True:
            gevent.sleep(FLUSH_SECONDS)
            self._flush()


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="locustfiles.grid.worker")
    parser.add_argument("--name", required=True)
    parser.add_argument("--master-host", required=True)
    parser.add_argument("--master-port", type=int, required=True)
    options = parser.parse_args(arguments)
    setup_logging("WARNING")
    environment = Environment(user_classes=[SessionUser], host="openenv")
    tune_garbage_collector()
    runner = environment.create_worker_runner(options.master_host, options.master_port)
    LoadWorker(options.name, runner).run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
