"""When the sessions of a cell started, opened and ended."""

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.rows.fields import Array


@dataclass(frozen=True)
class Spans:
    """Seconds since the first session started, one value per session; NaN when unknown. `late` is how
    long after it was due a session started, `first` the first timestamp of the rows."""

    first: str
    starts: Array
    opened: Array
    ended: Array
    late: Array


def spans(rows: pd.DataFrame) -> Spans:
    """A session starts when it was due, even when the load generator started it later. The total latency
    does not include the time for which a session was held until all were open."""
    started, due = rows["timestamp"].to_numpy(), rows["intended_timestamp"].to_numpy()
    start = np.where(np.isnat(due), started, due)
    second = np.timedelta64(1, "s")
    starts = (start - np.fmin.reduce(start)) / second
    opened = starts + rows["connect_latency"].to_numpy()
    held = np.nan_to_num(rows["hold_latency"].to_numpy())
    ended = starts + rows["total_latency"].to_numpy() + held
    first = np.fmin.reduce(started)
    text = "" if np.isnat(first) else f"{np.datetime_as_string(first, unit='us')}+00:00"
    return Spans(text, starts, opened, ended, (started - due) / second)


def wall_time(times: Spans) -> float:
    """Seconds from the start of the first session to the end of the last; NaN when none ended."""
    whole = ~np.isnan(times.ended)
    if not whole.any():
        return math.nan
    return round(float(times.ended[whole].max() - times.starts[whole].min()), 9)


def peak_open(times: Spans) -> int | None:
    """The most sessions open at the same time; None when no session opened and ended."""
    opened, ended = open_spans(times)
    if not len(opened):
        return None
    still = np.searchsorted(ended, opened, side="right")
    return int((np.arange(1, len(opened) + 1) - still).max())


def open_spans(times: Spans) -> tuple[Array, Array]:
    """The times at which sessions opened, and those at which they ended, each sorted."""
    known = ~np.isnan(times.opened + times.ended)
    return np.sort(times.opened[known]), np.sort(times.ended[known])
