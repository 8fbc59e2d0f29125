"""Estimates when a grid will end from the cells that it has done. Pure."""

from collections.abc import Mapping, Sequence
from statistics import median

from launcher.experiment.grid import Cell


def seconds_left(todo: Sequence[Cell], done: Mapping[Cell, float]) -> float | None:
    """`done` has the seconds that cells took. None when no cell is done.

    A cell takes its own waits, plus the overhead of the cells with its batch. Without such cells
    the overhead grows in proportion to the batch.
    """
    if not done:
        return None
    overheads = {cell: max(0.0, seconds - _waits(cell)) for cell, seconds in done.items()}
    return sum(_waits(cell) + _overhead(cell, overheads) for cell in todo)


def _waits(cell: Cell) -> float:
    arriving = cell.batch / cell.arrival_rate if cell.arrival_rate else 0.0
    return cell.wait * cell.steps + arriving


def _overhead(cell: Cell, known: Mapping[Cell, float]) -> float:
    same = [seconds for other, seconds in known.items() if other.batch == cell.batch]
    if same:
        return median(same)
    nearest = min(known, key=lambda other: abs(other.batch - cell.batch))
    return known[nearest] * max(1.0, cell.batch / nearest.batch)
