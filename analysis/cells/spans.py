"""When the sessions of a cell began, opened and ended."""

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.rows.fields import Array


@dataclass(frozen=True)
class Spans:
    """When sessions began, opened and ended, in seconds since the first began; NaN where unknown.
    `late` is how much later than meant they began. `first` is the first moment in the rows."""

    first: str
    began: Array
    opened: Array
    ended: Array
    late: Array


def spans(rows: pd.DataFrame) -> Spans:
    """A session counts from when it was meant to begin, not from when the load got to it. The time for
    which one was held until all were open is not in its total latency."""
    started, meant = rows["timestamp"].to_numpy(), rows["intended_timestamp"].to_numpy()
    begin = np.where(np.isnat(meant), started, meant)
    second = np.timedelta64(1, "s")
    began = (begin - np.fmin.reduce(begin)) / second
    opened = began + rows["connect_latency"].to_numpy()
    held = np.nan_to_num(rows["hold_latency"].to_numpy())
    ended = began + rows["total_latency"].to_numpy() + held
    first = np.fmin.reduce(started)
    text = "" if np.isnat(first) else f"{np.datetime_as_string(first, unit='us')}+00:00"
    return Spans(text, began, opened, ended, (started - meant) / second)


def wall_time(times: Spans) -> float:
    """Seconds from the start of the first session to the end of the last; NaN when none ended."""
    whole = ~np.isnan(times.ended)
    if not whole.any():
        return math.nan
    return round(float(times.ended[whole].max() - times.began[whole].min()), 9)


def peak_open(times: Spans) -> int | None:
    """Most sessions open at one moment; None when it is not known when any was."""
    opened, ended = open_spans(times)
    if not len(opened):
        return None
    still = np.searchsorted(ended, opened, side="right")
    return int((np.arange(1, len(opened) + 1) - still).max())


def open_spans(times: Spans) -> tuple[Array, Array]:
    """When sessions opened, and when they ended: each sorted for itself."""
    known = ~np.isnan(times.opened + times.ended)
    return np.sort(times.opened[known]), np.sort(times.ended[known])
