"""When sessions are due, in seconds from the start of their cell. Pure."""

import random
from collections.abc import Mapping
from typing import Any


def due(order: Mapping[str, Any], index: int, of: int, count: int) -> list[float]:
    """For the `count` sessions of load worker `index` of `of`: all at once, or one after another at
    `arrival_rate` a second over all load workers.

    Poisson arrivals of each load worker together are Poisson again; the same seed gives the same
    times.
    """
    constant = order["constant"]
    if constant["shape"] != "open":
        return [0.0] * count
    rate, batch = constant["arrival_rate"], constant["batch_size"]
    if order["arrivals"] == "constant":
        return [(index + of * number) / rate for number in range(count)]
    dice = random.Random(f"{order['seed']} {index}")
    moment, times = 0.0, []
    for _ in range(count):
        moment += dice.expovariate(rate * count / batch)
        times.append(moment)
    return times
