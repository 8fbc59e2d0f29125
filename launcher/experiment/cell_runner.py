"""Cells against one URL, into one result folder."""

import time
from collections.abc import Mapping
from contextlib import ExitStack
from types import TracebackType
from typing import Any

from analysis.cells.bound import bound
from analysis.cells.codes import Bound, Reason
from launcher.errors import (
    DeploymentEnded,
    LoadFailed,
    PreflightFailed,
    ResultInvalid,
)
from launcher.experiment.eta import seconds_left
from launcher.experiment.grid import Cell, Grid
from launcher.experiment.load_placement import LoadPlace
from launcher.experiment.load_processes import CellEnded, Held, Load, Progress
from launcher.experiment.recorder import Recording
from launcher.experiment.target import deployment_at, incarnations, replaced, sessions_open
from launcher.sampling import Sampler
from launcher.sampling.replaced import merged
from launcher.system.signals import Interrupted


class Watcher:
    """Told how an experiment goes; the command line draws it."""

    def cell_started(self, cell: Cell, number: int, of: int, left: float | None) -> None:
        """`of` is 0 where nobody knows how many there will be; `left` is how many seconds all that is
        to come may take, None is not known."""

    def progress(self, progress: Progress) -> None: ...

    def pause(self) -> None:
        """Ends its threads, if it has any, until the next call: processes are to be started."""

    def cell_ended(self, cell: Cell, line: dict[str, Any]) -> None: ...

    def warn(self, text: str) -> None: ...


class Bench:
    """Runs cells from `with` to its end. Every wait can be ended by a signal, as `Interrupted`;
    whatever was recorded until then stays, and sessions that were open are rows too.

    `planned` are the cells that are to come, where they are known.
    """

    def __init__(
        self,
        grid: Grid,
        place: LoadPlace,
        recording: Recording,
        watcher: Watcher,
        planned: list[Cell] | None = None,
    ) -> None:
        self._grid, self._place, self._recording = grid, place, recording
        self._watcher = watcher
        self._planned = planned or []
        self._most = max(cell.most_open(grid.timeout) for cell in [*grid.cells, *self._planned])
        self._seconds: dict[Cell, float] = {}
        self._load: Load | None = None
        self._state = deployment_at(grid.url)
        self._sampler = self._new_sampler()
        self._sampling = ExitStack()

    def __enter__(self) -> "Bench":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        failure: BaseException | None,
        _: TracebackType | None,
    ) -> None:
        status = "complete" if failure is None else "failed"
        if isinstance(failure, (Interrupted, KeyboardInterrupt)):
            status = "interrupted"
        with ExitStack() as ending:  # whatever befalls one, the others follow
            ending.callback(
                self._recording.close, status, None if failure is None else str(failure)
            )
            ending.callback(self._end_load)

    @property
    def completed(self) -> list[dict[str, Any]]:
        """Lines of the cells that are done."""
        return self._recording.in_order

    def run(self, cell: Cell) -> dict[str, Any]:
        """The summary of the cell's last attempt. A cell that is done is not run again; one that is
        invalid is, once, when that can help.

        Raises `LoadFailed` after a second attempt that lost sessions of the load, `PreflightFailed`
        after a cell that reached too few hosts when they are required, `RecordingFailed` when the
        disk is full, and `Interrupted`.
        """
        done = self._recording.lines.get(cell)
        if done is not None:
            self._judge(cell, done)
            return done
        self._announce(cell)
        line = self._attempt(cell)
        if any(reason.is_transient for reason in line["reasons"].codes) and self._stands:
            self._watcher.warn(f"{cell}: INVALID: {line['reasons']}; it is run once more")
            line = self._attempt(cell)
        self._watcher.cell_ended(cell, line)
        self._judge(cell, line)
        return line

    def _announce(self, cell: Cell) -> None:
        done = len(self._recording.lines)
        todo = [other for other in self._planned if other not in self._recording.lines]
        left = seconds_left(todo, self._seconds)
        self._watcher.cell_started(cell, done + 1, len(self._planned), left)

    def _attempt(self, cell: Cell) -> dict[str, Any]:
        load = self._load or self._begin_load(cell)
        constant = self._recording.begin_cell(cell, constants(self._grid, cell, self._run_id))
        before, begun = incarnations(self._state), time.monotonic()
        number = self._sampler.cell = self._recording.begun
        facts: dict[str, Any] = {"interrupted": False, "shares_node": self._shares_node}
        facts["max_lag"] = self._grid.max_lag
        try:
            facts |= self._collect(load, order(self._grid, cell, constant))
        except (Interrupted, LoadFailed, DeploymentEnded) as failure:
            self._recording.write_off(
                "INTERRUPTED", f"the experiment ended before the session: {failure}"
            )
            self._recording.end_cell(cell, facts | {"interrupted": True})
            raise
        finally:
            self._sampler.cell = None
        self._seconds[cell] = time.monotonic() - begun
        seen = self._sampler.replaced(number)
        gone = replaced(before, incarnations(self._state))
        ended = [] if self._stands else ["the deployment has ended"]
        facts["replaced"] = [*map(str, merged(gone, seen)), *ended]
        line = self._recording.end_cell(cell, facts, self._judge_bound(number, facts))
        if line["lost"]:
            self._end_load()  # the next attempt begins with load workers that answer
        return line

    def _collect(self, load: Load, wanted: dict[str, Any]) -> dict[str, Any]:
        """What the load says of the cell when it has ended."""
        for answer in load.run(wanted):
            if isinstance(answer, bytes):
                self._recording.take(answer)
            elif isinstance(answer, Progress):
                self._recording.flush()
                self._watcher.progress(answer)
            elif isinstance(answer, Held):
                load.release(sessions_open(self._grid.url, self._state))
            elif isinstance(answer, CellEnded):
                return answer.facts
        raise AssertionError("the load ended without a word")

    def _judge_bound(self, number: int, facts: dict[str, Any]) -> Any:
        caps = self._recording.run["caps"]

        def judge(line: dict[str, Any], failed: list[dict[str, Any]]) -> dict[str, Any] | None:
            messages = [str(row["error_message"]) for row in failed]
            samples = self._sampler.of_cell(number)
            found: dict[str, Any] = bound(line, messages, samples, facts, caps)
            idle = found["by"] is Bound.UNKNOWN and not line["failed"]
            return None if idle else found

        return judge

    def _judge(self, cell: Cell, line: Mapping[str, Any]) -> None:
        if line["lost"]:
            why = line["reasons"]
            raise LoadFailed(
                f"{cell}: {why}; the cell is recorded as invalid and the grid stops here"
            )
        if Reason.HOSTS_MISSED in line["reasons"].codes:
            problem = f"{cell}: {line['reasons']}"
            if self._grid.require_hosts:
                raise PreflightFailed(
                    f"{problem}; the result is invalid: check with `launcher preflight` that the URL "
                    "is Envoy's and that every server is healthy"
                )
            self._watcher.warn(f"{problem}; the result is invalid")

    def require_valid(self) -> None:
        """Raises `ResultInvalid`."""
        invalid = [line for line in self.completed if not line["valid"]]
        if invalid:
            first = invalid[0]
            raise ResultInvalid(
                f"{len(invalid)} of {len(self.completed)} cell(s) are INVALID; the first is batch "
                f"{first['batch_size']} × wait {first['wait_seconds']:g} s, repetition "
                f"{first['repetition']}: {first['reasons']}"
            )

    def _begin_load(self, cell: Cell) -> Load:
        most = max(self._most, cell.most_open(self._grid.timeout))
        self._watcher.pause()
        load = Load(self._place, self._recording.logs, most, len(self._grid.sources))
        self._load = load.__enter__()
        self._recording.note_load(load.pids)
        self._sampler = self._new_sampler()  # its threads begin after all processes
        self._sampling.enter_context(self._sampler)
        return load

    def _end_load(self) -> None:
        self._sampling.close()
        for warning in self._sampler.warnings:
            self._watcher.warn(warning)
        self._sampler.warnings.clear()
        if self._load is not None:
            load, self._load = self._load, None
            load.__exit__()

    def _new_sampler(self) -> Sampler:
        recording = self._recording
        return Sampler(recording.samples, self._state, recording.run_file, self._grid.url)

    @property
    def _stands(self) -> bool:
        """Whether the deployment is still there to serve, where it was ever known."""
        if self._state is None:
            return True
        now = deployment_at(self._grid.url)
        return now is not None and now["status"] == "ready"

    @property
    def _run_id(self) -> str:
        return str(self._recording.run["run_id"])

    @property
    def _shares_node(self) -> bool:
        return self._place.spoils and not self._grid.share_node


def constants(grid: Grid, cell: Cell, run_id: str) -> dict[str, Any]:
    """What is the same in every row of a cell."""
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
    """A cell as the load master takes it."""
    return {
        "mode": cell.mode,
        "url": grid.url,
        "wait": cell.wait,
        "timeout": grid.timeout,
        "sources": list(grid.sources),
        "seed": f"{grid.seed} {cell.repetition}",
        "constant": constant,
    }
