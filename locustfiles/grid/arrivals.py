"""When the sessions of a cell are due, in seconds from the start of the cell. Pure functions."""

import itertools
import random
from collections.abc import Mapping, Sequence
from typing import Any

# The longest time, as a share of the session timeout, for which the last sessions of a burst wait
# until the first have opened. A flooded system would open them even later.
MAX_HOLD_BACK = 0.5


def due_times(order: Mapping[str, Any]) -> list[float]:
    """Zero for every session, or for shape "open" arrivals at `arrival_rate` sessions per second.

    The times depend only on the order and its seed, not on the number of load workers.
    """
    constant = order["constant"]
    rate, batch = constant["arrival_rate"], constant["batch_size"]
    if constant["shape"] != "open":
        return [0.0] * batch
    if constant["arrivals"] == "constant":
        return [number / rate for number in range(batch)]
    generator = random.Random(order["seed"])
    return list(itertools.accumulate(generator.expovariate(rate) for _ in range(batch)))


def deal(times: Sequence[float], counts: Sequence[int], index: int) -> list[float]:
    """The times of load worker `index`, dealt out in turn until each worker has `counts[worker]`."""
    turns = (
        worker
        for turn in range(max(counts, default=0))
        for worker, count in enumerate(counts)
        if turn < count
    )
    return [time for time, worker in zip(times, turns, strict=False) if worker == index]
