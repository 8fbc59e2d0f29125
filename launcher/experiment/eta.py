"""When a grid will have ended, from the cells that it has done. Pure."""

from collections.abc import Mapping, Sequence
from statistics import median

from launcher.experiment.grid import Cell


def seconds_left(todo: Sequence[Cell], done: Mapping[Cell, float]) -> float | None:
    """`done` has the seconds that cells took; None as long as there are none.

    A cell takes its waits, and besides as long as cells of its batch took; those of another batch
    count in proportion.
    """
    if not done:
        return None
    besides = {cell: max(0.0, seconds - _certain(cell)) for cell, seconds in done.items()}
    return sum(_certain(cell) + _besides(cell, besides) for cell in todo)


def _certain(cell: Cell) -> float:
    arriving = cell.batch / cell.arrival_rate if cell.arrival_rate else 0.0
    return cell.wait * cell.steps + arriving


def _besides(cell: Cell, known: Mapping[Cell, float]) -> float:
    same = [seconds for other, seconds in known.items() if other.batch == cell.batch]
    if same:
        return median(same)
    nearest = min(known, key=lambda other: abs(other.batch - cell.batch))
    return known[nearest] * max(1.0, cell.batch / nearest.batch)
