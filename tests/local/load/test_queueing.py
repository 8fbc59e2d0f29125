"""Open arrivals at a server with a known service time show the queue that theory predicts."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.rows.files import read
from tests.helpers.local import launch, ROOT, Server, serving

SERVICE = 0.04  # seconds: far longer than the rest of a session

FloatArray = np.ndarray[tuple[int], np.dtype[np.float64]]


@pytest.fixture(scope="module")
def counter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(
        tmp_path_factory.mktemp("counter"),
        *("--app", "tests.helpers.one_at_a_time:app", "--drain", "0"),
        WORKERS=1,
        MAX_CONCURRENT_ENVS=10_000,
        SERVICE_SECONDS=SERVICE,
        PYTHONPATH=ROOT,
    ) as server:
        yield server


@dataclass
class Run:
    """Sessions in the order of their due times; all in seconds, times since the first due time."""

    due: FloatArray
    latency: FloatArray  # from the due time to the end, as the row says
    served: FloatArray  # when the server ended each step, as the server says


def run(server: Server, folder: Path, load: float, sessions: int) -> Run:
    """`load` is the share of the server's capacity that arrives."""
    before = len(served_at(server))
    output = folder / f"load-{load}"
    how = ("--shape", "open", "--arrival-rate", str(load / SERVICE), "--seed", "3")
    done = launch(
        *("grid", "--url", server.url, "-n", str(sessions), "--wait", "0", *how),
        *("--output-dir", str(output)),
    )
    assert done.returncode == 0, done.stderr
    rows = read(output / "raw.jsonl", messages=True).frame()
    assert rows["success"].all()
    due = pd.to_datetime(rows["intended_timestamp"], format="ISO8601")
    started = pd.to_datetime(rows["timestamp"], format="ISO8601")
    assert (started - due).dt.total_seconds().quantile(0.5) < SERVICE  # the load does not wait
    first = due.min()
    seconds = (due - first).dt.total_seconds()
    latency = pd.Series(rows["total_latency"].to_numpy(), index=seconds).sort_index()
    served = np.array(served_at(server)[before:]) - first.timestamp()
    return Run(latency.index.to_numpy(), latency.to_numpy(), served)


def served_at(server: Server) -> list[float]:
    lines = server.log.read_text().splitlines()
    return [float(line.split()[1]) for line in lines if line.startswith("served ")]


def queue(arrivals: FloatArray) -> FloatArray:
    """How long each of these arrivals waits for its turn (Lindley's recursion)."""
    waits = [0.0]
    for gap in np.diff(arrivals):
        waits.append(max(0.0, waits[-1] + SERVICE - gap))
    return np.array(waits)


def interval(waits: FloatArray) -> float:
    """Half of a 99.9 % confidence interval of the mean, from 12 batches, because waits are correlated."""
    means = [part.mean() for part in np.array_split(waits, 12)]
    return float(4.44 * np.std(means, ddof=1) / np.sqrt(len(means)))  # t with 11 degrees of freedom


@pytest.mark.parametrize(("load", "sessions"), [(0.5, 350), (0.8, 700), (1.5, 300)])
def test_rows_show_the_queue(load: float, sessions: int, counter: Server, tmp_path: Path) -> None:
    measured = run(counter, tmp_path, load, sessions)
    assert len(measured.served) == sessions
    # What a row has besides the server's own time is short, however long the queue is.
    rest = measured.latency - (measured.served - measured.due)
    assert 0 < np.median(rest) < SERVICE / 2
    # A machine that stops for a moment makes waits longer. Nothing makes them shorter.
    predicted = queue(measured.due)
    waits = measured.latency - SERVICE
    assert waits.mean() > 0.95 * predicted.mean()
    assert np.quantile(waits - predicted, 0.02) > -SERVICE / 4
    if load < 1:
        theory = SERVICE * load / (2 * (1 - load))  # M/D/1: Pollaczek–Khinchine without variance
        assert abs(predicted.mean() - theory) < interval(predicted)
    else:
        growth, _ = np.polyfit(measured.due, predicted, 1)
        assert growth == pytest.approx(load - 1, rel=0.2)  # seconds of wait a second


def test_burst_does_not_show_the_queue(counter: Server, tmp_path: Path) -> None:
    """80 % of a second's work at once: each session waits for all before it, whatever the rate."""
    output = tmp_path / "burst"
    batch = round(0.8 / SERVICE)
    done = launch(
        *("grid", "--url", counter.url, "-n", str(batch), "--wait", "0"),
        *("--output-dir", str(output)),
    )
    assert done.returncode == 0, done.stderr
    rows = read(output / "raw.jsonl", messages=True).frame()
    assert rows["total_latency"].max() > 0.9 * batch * SERVICE
