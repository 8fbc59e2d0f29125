"""Runs cells against one URL, into one result folder."""

import time
from collections.abc import Mapping
from contextlib import ExitStack
from functools import partial
from typing import Any

from analysis.cells.bound import bound
from analysis.cells.reasons import Bound, Reason
from launcher.errors import DeploymentEnded, LoadFailed, PreflightFailed, ResultInvalid
from launcher.experiment.eta import seconds_left
from launcher.experiment.grid import Cell, Grid
from launcher.experiment.load_placement import LoadPlacement
from launcher.experiment.load_processes import AllSessionsOpen, CellEnded, LoadProcesses, Progress
from launcher.experiment.recorder import AttemptFacts, Recording
from launcher.experiment.target import Processes, replaced
from launcher.sampling import Sampler
from launcher.sampling.changes import merged
from launcher.system.signals import Interrupted


class ProgressListener:
    """Receives the events of an experiment; the command line shows them."""

    def cell_started(self, cell: Cell, number: int, of: int, left: float | None) -> None:
        """`of` is 0 when the number of cells is unknown; `left` is the estimated number of seconds
        until all cells have ended, None when unknown."""

    def progress(self, progress: Progress) -> None: ...

    def pause(self) -> None:
        """Stops the listener's threads until the next call, because processes will be started."""

    def cell_ended(self, cell: Cell, line: dict[str, Any]) -> None: ...

    def warn(self, text: str) -> None: ...


class CellRunner:
    """Runs cells within its `with` block. A signal ends every wait as `Interrupted`; the rows
    recorded until then stay, and sessions that were still open get a row too.

    `planned` has the cells that will be run, where they are known.
    """

    def __init__(
        self,
        grid: Grid,
        placement: LoadPlacement,
        recording: Recording,
        listener: ProgressListener,
        planned: list[Cell] | None = None,
    ) -> None:
        self._grid, self._placement, self._recording = grid, placement, recording
        self._target = placement.target
        self._listener = listener
        self._planned = planned or []
        self._seconds: dict[Cell, float] = {}
        self._load: LoadProcesses | None = None
        self._sampler = self._new_sampler()
        self._running = ExitStack()

    def __enter__(self) -> "CellRunner":
        return self

    def __exit__(self, _: object, failure: BaseException | None, __: object) -> None:
        try:
            self._stop_load()
        finally:
            self._recording.close(failure)

    def run(self, cell: Cell) -> dict[str, Any]:
        """Returns the summary line of the cell's last attempt. A cell that is done is not run again;
        an invalid one is repeated once when that can help.

        Raises `LoadFailed` after an attempt that lost sessions of the load, `PreflightFailed`
        after a cell that reached too few hosts when they are required, `RecordingFailed` when the
        disk is full, and `Interrupted`.
        """
        done = self._recording.lines.get(cell)
        if done is not None:
            self._judge(cell, done)
            return done
        todo = [other for other in self._planned if other not in self._recording.lines]
        left, number = seconds_left(todo, self._seconds), len(self._recording.lines) + 1
        self._listener.cell_started(cell, number, len(self._planned), left)
        line = self._attempt(cell)
        transient = any(reason.is_transient for reason in line["reasons"].codes)
        if transient and self._target.is_running():
            self._listener.warn(f"{cell}: INVALID: {line['reasons']}; repeating it once")
            line = self._attempt(cell)
        self._listener.cell_ended(cell, line)
        self._judge(cell, line)
        return line

    def _attempt(self, cell: Cell) -> dict[str, Any]:
        load = self._load or self._start_load(cell)
        constant = self._recording.start_cell(
            cell, constants(self._grid, cell, self._recording.run["run_id"])
        )
        before, started = self._target.processes(), time.monotonic()
        number = self._sampler.cell = self._recording.started
        facts = AttemptFacts(
            self._placement.sharing_is_avoidable and not self._grid.share_node, self._grid.max_lag
        )
        try:
            facts.load = self._collect(load, order(self._grid, cell, constant))
        except (Interrupted, LoadFailed, DeploymentEnded) as failure:
            self._recording.write_interrupted_rows(
                f"the experiment ended before the session: {failure}"
            )
            self._recording.end_cell(cell, facts)
            raise
        finally:
            self._sampler.cell = None
        self._seconds[cell] = time.monotonic() - started
        facts.replaced = self._replaced(before, number)
        line = self._recording.end_cell(cell, facts, partial(self._find_bound, number))
        if line["lost"]:
            self._stop_load()  # the next attempt starts new load workers
        return line

    def _collect(self, load: LoadProcesses, order: dict[str, Any]) -> CellEnded:
        """Records the rows of a cell; returns what the load reports at its end."""
        for answer in load.run(order):
            if isinstance(answer, bytes):
                self._recording.take(answer)
            elif isinstance(answer, Progress):
                self._recording.flush()
                self._listener.progress(answer)
            elif isinstance(answer, AllSessionsOpen):
                load.release(self._target.sessions_open())
            else:
                return answer
        raise AssertionError("the load ended without a result")

    def _replaced(self, before: Processes, number: int) -> tuple[str, ...]:
        sampled = self._sampler.changes(number)
        changes = merged(replaced(before, self._target.processes()), sampled)
        ended = () if self._target.is_running() else ("the deployment has ended",)
        return (*map(str, changes), *ended)

    def _find_bound(
        self, number: int, line: dict[str, Any], entry: dict[str, Any], failed: list[dict[str, Any]]
    ) -> dict[str, Any] | None:
        messages = [str(row["error_message"]) for row in failed]
        samples = self._sampler.cell_samples(number)
        result: dict[str, Any] = bound(line, messages, samples, entry, self._recording.run["caps"])
        idle = result["by"] is Bound.UNKNOWN and not line["failed"]
        return None if idle else result

    def _judge(self, cell: Cell, line: Mapping[str, Any]) -> None:
        problem = f"{cell}: {line['reasons']}"
        if line["lost"]:
            raise LoadFailed(f"{problem}; the cell is recorded as invalid and the grid stops here")
        if Reason.HOSTS_MISSED in line["reasons"].codes:
            if self._grid.require_hosts:
                raise PreflightFailed(
                    f"{problem}; the result is invalid: check with `launcher preflight` that the URL "
                    "is Envoy's and that every server is healthy"
                )
            self._listener.warn(f"{problem}; the result is invalid")

    def check_valid(self) -> None:
        """Raises `ResultInvalid` when all cells must be valid and one is not."""
        lines = self._recording.in_order
        invalid = [line for line in lines if not line["valid"]]
        if invalid and self._grid.require_valid:
            first = invalid[0]
            raise ResultInvalid(
                f"{len(invalid)} of {len(lines)} cell(s) are INVALID; the first is batch "
                f"{first['batch_size']} × wait {first['wait_seconds']:g} s, repetition "
                f"{first['repetition']}: {first['reasons']}"
            )

    def _start_load(self, cell: Cell) -> LoadProcesses:
        cells = [*self._grid.cells, *self._planned, cell]
        sessions = max(each.max_open_sessions(self._grid.timeout) for each in cells)
        self._listener.pause()
        load = LoadProcesses(
            self._placement, self._recording.logs, sessions, len(self._grid.sources)
        )
        self._load = self._running.enter_context(load)
        self._recording.note_load(load.pids)
        self._sampler = self._new_sampler()  # its threads start after all processes
        self._running.enter_context(self._sampler)
        return load

    def _stop_load(self) -> None:
        self._load = None
        self._running.close()
        for warning in self._sampler.warnings:
            self._listener.warn(warning)
        self._sampler.warnings.clear()

    def _new_sampler(self) -> Sampler:
        recording = self._recording
        return Sampler(recording.samples, self._target.state, recording.run_file, self._grid.url)


def constants(grid: Grid, cell: Cell, run_id: str) -> dict[str, Any]:
    """The values that all rows of a cell have in common."""
    return {
        "run_id": run_id,
        "mode": cell.mode,
        "shape": cell.shape,
        "url": grid.url,
        "batch_size": cell.batch,
        "wait_requested": cell.wait,
        "steps": cell.steps,
        "arrival_rate": cell.arrival_rate,
        "arrivals": grid.arrivals if cell.shape == "open" else None,
        "repetition": cell.repetition,
        "expected_hosts": grid.expected_hosts,
        "hardware": grid.hardware,
    }


def order(grid: Grid, cell: Cell, constant: dict[str, Any]) -> dict[str, Any]:
    """A cell as the load master receives it."""
    return {
        "mode": cell.mode,
        "url": grid.url,
        "wait": cell.wait,
        "timeout": grid.timeout,
        "sources": list(grid.sources),
        "seed": f"{grid.seed} {cell.repetition}",
        "constant": constant,
    }
