"""Samples of every node while cells run: a thread of the launcher that writes samples.jsonl."""

import contextlib
import errno
import os
import selectors
import signal
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

from launcher.deployment.state import DeploymentState
from launcher.sampling.collector import line, Looker, PAGE_SECONDS, Sample, Source, source
from launcher.sampling.remote import complaint, start_sampling
from launcher.sampling.replaced import Change, replaced
from launcher.sampling.sources import Watched
from launcher.slurm.srun import Reply, StepChannel
from launcher.system.wakeup import WakeupPipe

FIRST_SECONDS = 5.0
LAST_SECONDS = 1.5
LEAVE_SECONDS = 1.0
TERMINATE_SECONDS = 0.4
SILENT_SECONDS = 30.0
GONE_INTERVALS = 4


class Sampler:
    """Samples from `with` to its end. Whatever goes wrong with that leaves a gap or ends it, with a
    text in `warnings`, and never concerns the run.

    It looks at this machine itself, and at the nodes of a Slurm job by a step of its own.
    """

    def __init__(
        self,
        output: Path | None,
        state: DeploymentState | None,
        run_file: Path | None,
        url: str,
        interval: float = 1.0,
    ) -> None:
        """Appends to `output`. `state` is of the deployment behind `url`, None when nobody knows it;
        `run_file` is run.json, which says where the load is."""
        self._output, self._interval = output, interval
        self._watched = Watched(state, run_file, url)
        self._remotes: list[StepChannel] = []
        self._file: int | None = None
        self._offset = self._written = 0
        self._changed = threading.Condition()
        self._latest: dict[Source, Sample] = {}
        self._baseline: dict[Source, Sample] = {}
        self._heard: dict[str, float] = {}
        self._received: dict[Source, float] = {}
        self._cell: int | None = None
        self._last_cell: int | None = None
        self._orders: list[dict[str, int]] = []
        self._ends = 0
        self._ended: dict[str, int] = {}
        self._running = False
        self.warnings: list[str] = []

    # -- for the run

    def __enter__(self) -> "Sampler":
        self._wakeup = WakeupPipe()
        self._running = True
        self._open_file()
        self._start_remotes()
        self._thread = threading.Thread(target=self._sample, name="sampler", daemon=True)
        with _no_signals():
            self._thread.start()
        try:
            self._wait_for(lambda: self._nodes() <= self._heard.keys(), FIRST_SECONDS)
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
            if self._file is not None:
                os.close(self._file)

    @property
    def cell(self) -> int | None:
        """The attempt that is under way, by its number in the run."""
        return self._cell

    @cell.setter
    def cell(self, number: int | None) -> None:
        with self._changed:
            if self._cell is not None:
                self._ends += 1
                self._orders.append({"end": self._ends})
            if number is not None:
                self._last_cell, self._offset = number, self._written
                self._baseline = dict(self._latest)
                self._orders.append({"begin": number})
            self._cell = number
        if self._running:
            self._wakeup.wake()

    def of_cell(self, number: int, seconds: float = LAST_SECONDS) -> list[Sample]:
        """The samples of the cell, which is the last that began, after the last one of each source
        before it. Waits for those of its end, but no longer than so many seconds."""
        self._wait_for(self._all_ended, seconds)
        with self._changed:
            before = [sample | {"cell": None} for sample in self._baseline.values()]
            begin, end = self._offset, self._written
        if self._output is None or self._file is None or number != self._last_cell:
            return []
        try:
            with self._output.open("rb") as file:
                file.seek(begin)
                found = [orjson.loads(text) for text in file.read(end - begin).splitlines()]
        except (OSError, ValueError):
            return []
        return before + [sample for sample in found if sample["cell"] == number]

    def replaced(self, number: int) -> list[Change]:
        """What was replaced, or counted out by Envoy, in the middle of the cell."""
        return replaced(self.of_cell(number))

    def latest(self) -> dict[Source, Sample]:
        """The last sample of every source that still gives some."""
        since = time.monotonic() - GONE_INTERVALS * max(self._interval, PAGE_SECONDS)
        with self._changed:
            received = self._received.items()
            return {each: self._latest[each] for each, moment in received if moment >= since}

    def wait_for(self, sources: Callable[[Collection[Source]], bool], seconds: float) -> bool:
        """Until the sources that have given a sample are enough; whether they are."""
        return self._wait_for(lambda: sources(self._latest.keys()), seconds)

    @property
    def expected(self) -> set[Source]:
        """Processes and machines that are to be sampled, as far as they are known."""
        return self._watched.sources

    # -- its thread

    def _sample(self) -> None:
        looker = Looker(self._watched.machine, self._interval)
        looker.watch(self._watched.here)
        due, silent = time.monotonic(), time.monotonic() + SILENT_SECONDS
        try:
            while self._running:
                self._listen(max(0.0, due - time.monotonic()))
                self._carry_out(looker)
                if time.monotonic() >= due:
                    due = time.monotonic() + self._interval
                    self._refresh(looker)
                    self._keep([(line(sample), sample) for sample in looker.take()])
                    self._hear_from("")
                if time.monotonic() > silent and not self._nodes() <= self._heard.keys():
                    missing = ", ".join(sorted(self._nodes() - self._heard.keys()))
                    self._warn(f"no samples come from {missing}: {self._complaint()}")
                    silent = float("inf")
        except Exception as failure:  # noqa: BLE001 - whatever it is, the run is not to end by it
            self._warn(f"sampling has ended: {failure!r}")
        finally:
            self._running = False
            looker.close()
            for remote in self._remotes:
                remote.leave()
            with self._changed:
                self._changed.notify_all()

    def _listen(self, seconds: float) -> None:
        """For what nodes say, until then or until the run says something."""
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
                self._hear(key.data)

    def _hear(self, remote: StepChannel) -> None:
        samples = []
        for reply in remote.read():
            if not isinstance(reply, Reply):
                continue
            content = reply.content
            self._hear_from(content["node"])
            if "kind" in content:
                samples.append((reply.line, content))
            elif "ended" in content:
                self._has_ended(content["node"], content["ended"])
        self._keep(samples)
        if not remote.open:
            for node in remote.nodes:
                self._heard.pop(node, None)
            self._warn(f"{' '.join(remote.nodes)}: sampling has ended: {complaint(remote)}")
            remote.cancel()

    def _carry_out(self, looker: Looker) -> None:
        with self._changed:
            orders, self._orders = self._orders, []
        for order in orders:
            self._tell(order)
            if "begin" in order:
                looker.begin(order["begin"])
            else:
                self._keep([(line(sample), sample) for sample in looker.end()])
                self._has_ended("", order["end"])

    def _refresh(self, looker: Looker) -> None:
        """Processes are replaced, and the load begins after the sampling."""
        if self._watched.changed():
            looker.watch(self._watched.here)
            self._tell({"watch": self._watched.there})
        else:
            self._tell({})

    def _tell(self, order: Mapping[str, Any]) -> None:
        for remote in self._remotes:
            if remote.open:
                remote.send(order)

    def _keep(self, samples: Sequence[tuple[bytes, Sample]]) -> None:
        try:
            self._append(b"".join(text + b"\n" for text, _ in samples))
        except OSError as failure:
            self._running = False
            self._warn(f"{self._output}: {failure.strerror}; nothing is sampled from now on")
        with self._changed:
            for _, sample in samples:
                self._latest[source(sample)] = sample
                self._received[source(sample)] = time.monotonic()
            self._changed.notify_all()

    def _append(self, text: bytes) -> None:
        """Whole, or not at all. Raises OSError."""
        if self._file is None or not text:
            return
        if (written := os.write(self._file, text)) < len(text):
            os.ftruncate(self._file, self._written)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._written += written

    def _hear_from(self, node: str) -> None:
        with self._changed:
            self._heard[node] = time.monotonic()
            self._changed.notify_all()

    def _has_ended(self, node: str, number: int) -> None:
        with self._changed:
            self._ended[node] = number
            self._changed.notify_all()

    # -- between both

    def _open_file(self) -> None:
        if self._output is None:
            return
        try:
            self._file = os.open(self._output, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            self._written = _whole(self._file)
        except OSError as failure:
            self._warn(f"cannot write {self._output}: {failure.strerror}; nothing is sampled")
            self._running = False

    def _start_remotes(self) -> None:
        if self._watched.allocated is None or not self._running:
            return
        try:
            for nodes in self._watched.allocated.by_component(self._watched.nodes):
                self._remotes.append(start_sampling(self._watched.allocated, self._interval, nodes))
        except OSError as failure:
            self._warn(f"cannot run srun: {failure.strerror}; the nodes are not sampled")
        self._tell({"watch": self._watched.there})

    def _nodes(self) -> set[str]:
        """Those that are to be heard; "" is this machine."""
        return {"", *(node for remote in self._remotes if remote.open for node in remote.nodes)}

    def _all_ended(self) -> bool:
        lately = time.monotonic() - GONE_INTERVALS * max(self._interval, PAGE_SECONDS)
        here = [node for node, moment in self._heard.items() if moment >= lately]
        return all(self._ended.get(node, 0) >= self._ends for node in here)

    def _complaint(self) -> str:
        return "; ".join({complaint(remote) for remote in self._remotes})

    def _wait_for(self, holds: Callable[[], bool], seconds: float) -> bool:
        with self._changed:
            self._changed.wait_for(lambda: holds() or not self._running, seconds)
            return holds()

    def _warn(self, text: str) -> None:
        self.warnings.append(text)


@contextlib.contextmanager
def _no_signals() -> Iterator[None]:
    """A thread that begins here takes no signal that the main thread waits for."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _whole(file: int) -> int:
    """Cuts off the last line if a launcher was killed while it wrote it, and goes to the end."""
    size = os.fstat(file).st_size
    begin = max(0, size - 4096)
    tail = os.pread(file, size - begin, begin)
    whole = begin + tail.rfind(b"\n") + 1
    os.ftruncate(file, whole)
    return os.lseek(file, whole, os.SEEK_SET)
