"""When sessions are due, in seconds from the start of their cell. Pure."""

import itertools
import random
from collections.abc import Mapping, Sequence
from typing import Any

HELD_BACK = 0.5
"""For so many of a session's timeouts at most, the last sessions of a burst wait for the first to have
opened: a system that is flooded opens them later still."""


def due(order: Mapping[str, Any]) -> list[float]:
    """For all sessions of the cell, in order: at once, or one after another at `arrival_rate` a second.
    The same seed gives the same times, however many load workers share them."""
    constant = order["constant"]
    rate, batch = constant["arrival_rate"], constant["batch_size"]
    if constant["shape"] != "open":
        return [0.0] * batch
    if constant["arrivals"] == "constant":
        return [number / rate for number in range(batch)]
    dice = random.Random(order["seed"])
    return list(itertools.accumulate(dice.expovariate(rate) for _ in range(batch)))


def dealt(times: Sequence[float], counts: Sequence[int], index: int) -> list[float]:
    """Those of load worker `index`, where they are dealt out in turn until each of them has as many
    as it has sessions: `counts`."""
    turns = (
        worker
        for turn in range(max(counts, default=0))
        for worker, count in enumerate(counts)
        if turn < count
    )
    return [time for time, worker in zip(times, turns, strict=False) if worker == index]
