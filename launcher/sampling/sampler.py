"""Samples every node while cells run, in a thread of the launcher that writes samples.jsonl."""

import selectors
import sys
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from launcher.deployment.state import DeploymentState
from launcher.sampling.changes import Change, find_changes
from launcher.sampling.collector import Collector, PAGE_SECONDS
from launcher.sampling.sample import encode, Sample, Source, source_of
from launcher.sampling.samples_file import SamplesFile
from launcher.sampling.sources import Sources
from launcher.slurm.srun import Reply, StepChannel
from launcher.system.signals import signals_blocked, WakeupPipe

STEP = "openenv-samples"
FIRST_SECONDS = 5.0
LAST_SECONDS = 1.5
LEAVE_SECONDS = 1.0
TERMINATE_SECONDS = 0.4
SILENT_SECONDS = 30.0
# A source or node that is silent for this many intervals counts as gone.
GONE_INTERVALS = 4
# The name of this machine among the nodes that report.
HERE = ""


class Sampler:
    """A context manager that samples this machine itself and the nodes of a Slurm job through a Slurm
    step of its own.

    A failure leaves a gap in the samples or ends them, and adds a line to `warnings`; it never ends the
    run.
    """

    def __init__(
        self,
        output: Path | None,
        state: DeploymentState | None,
        run_file: Path | None,
        url: str,
        interval: float = 1.0,
    ) -> None:
        """Appends to `output`. `state` is that of the deployment behind `url`, None when unknown;
        `run_file` is run.json, which names the processes of the load; `interval` is in seconds."""
        self._output, self._interval = output, interval
        self._sources = Sources(state, run_file, url)
        self._remotes: list[StepChannel] = []
        self._file = SamplesFile(None)
        self._cell_start = 0
        self._changed = threading.Condition()
        self._latest: dict[Source, Sample] = {}
        self._baseline: dict[Source, Sample] = {}
        self._reported: dict[str, float] = {}
        self._received: dict[Source, float] = {}
        self._cell: int | None = None
        self._last_cell: int | None = None
        self._orders: list[dict[str, int]] = []
        self._ends = 0
        self._ended: dict[str, int] = {}
        self._running = False
        self.warnings: list[str] = []

    # -- called by the run

    def __enter__(self) -> "Sampler":
        self._wakeup = WakeupPipe()
        self._running = True
        self._open_file()
        self._start_remotes()
        self._thread = threading.Thread(target=self._run, name="sampler", daemon=True)
        with signals_blocked():
            self._thread.start()
        try:
            self._wait_for(lambda: self._nodes() <= self._reported.keys(), FIRST_SECONDS)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._running = False
        self._wakeup.wake()
        self._thread.join(LEAVE_SECONDS)
        for remote in self._remotes:
            remote.close(LEAVE_SECONDS, TERMINATE_SECONDS)
        if not self._thread.is_alive():
            self._wakeup.close()
            self._file.close()

    @property
    def cell(self) -> int | None:
        """The attempt in progress, by its number in the run."""
        return self._cell

    @cell.setter
    def cell(self, number: int | None) -> None:
        with self._changed:
            if self._cell is not None:
                self._ends += 1
                self._orders.append({"end": self._ends})
            if number is not None:
                self._last_cell, self._cell_start = number, self._file.size
                self._baseline = dict(self._latest)
                self._orders.append({"start": number})
            self._cell = number
        if self._running:
            self._wakeup.wake()

    def cell_samples(self, number: int) -> list[Sample]:
        """The last sample of each source before the latest cell, then the samples of that cell; none
        for an earlier cell. Waits briefly for the last of them."""
        self._wait_for(self._all_ended, LAST_SECONDS)
        with self._changed:
            before = [sample | {"cell": None} for sample in self._baseline.values()]
            start, end = self._cell_start, self._file.size
        if number != self._last_cell:
            return []
        try:
            samples = self._file.read(start, end)
        except (OSError, ValueError):
            return []
        return before + [sample for sample in samples if sample["cell"] == number]

    def changes(self, number: int) -> list[Change]:
        return find_changes(self.cell_samples(number))

    def latest(self) -> dict[Source, Sample]:
        """The last sample of every source that still reports."""
        since = self._gone_before()
        with self._changed:
            received = self._received.items()
            return {source: self._latest[source] for source, at in received if at >= since}

    def wait_for(self, condition: Callable[[Collection[Source]], bool], seconds: float) -> bool:
        return self._wait_for(lambda: condition(self._latest.keys()), seconds)

    @property
    def expected(self) -> set[Source]:
        return self._sources.expected

    # -- in the thread

    def _run(self) -> None:
        collector = Collector(self._sources.machine, self._interval)
        collector.set_targets(self._sources.here)
        due, warn_at = time.monotonic(), time.monotonic() + SILENT_SECONDS
        try:
            while self._running:
                self._wait_for_input(max(0.0, due - time.monotonic()))
                self._carry_out_orders(collector)
                if time.monotonic() >= due:
                    due = time.monotonic() + self._interval
                    self._refresh_targets(collector)
                    self._keep_own(collector.collect())
                    self._note(HERE)
                if time.monotonic() > warn_at and (
                    missing := self._nodes() - self._reported.keys()
                ):
                    complaints = "; ".join({_complaint(remote) for remote in self._remotes})
                    names = ", ".join(sorted(missing))
                    self.warnings.append(f"no samples from {names}: {complaints}")
                    warn_at = float("inf")
        except Exception as failure:  # noqa: BLE001 - no failure of sampling may end the run
            self.warnings.append(f"sampling has ended: {failure!r}")
        finally:
            self._running = False
            collector.close()
            for remote in self._remotes:
                remote.leave()
            with self._changed:
                self._changed.notify_all()

    def _wait_for_input(self, seconds: float) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._wakeup, selectors.EVENT_READ)
            for remote in self._remotes:
                if remote.open:
                    selector.register(remote.fileno(), selectors.EVENT_READ, remote)
            ready = [key for key, _ in selector.select(seconds)]
        for key in ready:
            if key.data is None:
                self._wakeup.drain()
            else:
                self._receive(key.data)

    def _receive(self, remote: StepChannel) -> None:
        replies = [reply for reply in remote.read() if isinstance(reply, Reply)]
        self._keep([(reply.line, reply.content) for reply in replies if "kind" in reply.content])
        for reply in replies:
            self._note(reply.content["node"], reply.content.get("ended"))
        if not remote.open:
            for node in remote.nodes:
                self._reported.pop(node, None)
            self.warnings.append(
                f"{' '.join(remote.nodes)}: sampling has ended: {_complaint(remote)}"
            )
            remote.cancel()

    def _carry_out_orders(self, collector: Collector) -> None:
        with self._changed:
            orders, self._orders = self._orders, []
        for order in orders:
            self._send(order)
            if "start" in order:
                collector.start_cell(order["start"])
            else:
                self._keep_own(collector.end_cell())
                self._note(HERE, order["end"])

    def _refresh_targets(self, collector: Collector) -> None:
        """Processes get replaced, and the load starts after the sampler."""
        order: dict[str, Any] = {}
        if self._sources.reload():
            collector.set_targets(self._sources.here)
            order = {"targets": self._sources.remote}
        self._send(order)

    def _send(self, order: Mapping[str, Any]) -> None:
        for remote in self._remotes:
            if remote.open:
                remote.send(order)

    def _keep_own(self, samples: Sequence[Sample]) -> None:
        self._keep([(encode(sample), sample) for sample in samples])

    def _keep(self, samples: Sequence[tuple[bytes, Sample]]) -> None:
        try:
            self._file.append(b"".join(line + b"\n" for line, _ in samples))
        except OSError as failure:
            self._running = False
            self.warnings.append(f"{self._output}: {failure.strerror}; sampling has ended")
        with self._changed:
            for _, sample in samples:
                self._latest[source_of(sample)] = sample
                self._received[source_of(sample)] = time.monotonic()
            self._changed.notify_all()

    def _note(self, node: str, ended: int | None = None) -> None:
        with self._changed:
            self._reported[node] = time.monotonic()
            if ended is not None:
                self._ended[node] = ended
            self._changed.notify_all()

    # -- shared

    def _open_file(self) -> None:
        try:
            self._file = SamplesFile(self._output)
        except OSError as failure:
            self.warnings.append(
                f"cannot write {self._output}: {failure.strerror}; nothing is sampled"
            )
            self._running = False

    def _start_remotes(self) -> None:
        allocated = self._sources.allocated
        if allocated is None or not self._running:
            return
        command = (sys.executable, "-P", "-m", "launcher.sampling.node", f"{self._interval:g}")
        try:
            for nodes in allocated.by_component(self._sources.nodes):
                self._remotes.append(StepChannel(allocated, nodes, STEP, command))
        except OSError as failure:
            self.warnings.append(f"cannot run srun: {failure.strerror}; the nodes are not sampled")
        self._send({"targets": self._sources.remote})

    def _nodes(self) -> set[str]:
        return {HERE, *(node for remote in self._remotes if remote.open for node in remote.nodes)}

    def _gone_before(self) -> float:
        return time.monotonic() - GONE_INTERVALS * max(self._interval, PAGE_SECONDS)

    def _all_ended(self) -> bool:
        """Whether every node that still reports has sent its last samples of the latest cell."""
        since = self._gone_before()
        reporting = [node for node, at in self._reported.items() if at >= since]
        return all(self._ended.get(node, 0) >= self._ends for node in reporting)

    def _wait_for(self, condition: Callable[[], bool], seconds: float) -> bool:
        with self._changed:
            self._changed.wait_for(lambda: condition() or not self._running, seconds)
            return condition()


def _complaint(channel: StepChannel) -> str:
    return channel.errors[-1].strip() if channel.errors else "Slurm printed nothing"
