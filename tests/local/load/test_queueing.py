"""Open arrivals at a server with a known service time show the queue that theory says is there."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.rows.files import read
from tests.helpers.local import launch, ROOT, Server, serving

SERVICE = 0.04  # seconds: far longer than what else a session takes
IDLE = 0.1
"""A load under which most do not wait; what a session takes then, besides its step, is no queueing."""


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


@pytest.fixture(scope="module")
def idle(counter: Server, tmp_path_factory: pytest.TempPathFactory) -> float:
    return float(sojourns(counter, tmp_path_factory.mktemp("idle"), IDLE, 11).median())


def sojourns(server: Server, folder: Path, load: float, sessions: int) -> pd.Series:
    """Seconds from when each session was due to its end, by when it was due (seconds), under a share
    `load` of what the server can do."""
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
    seconds = (due - due.min()).dt.total_seconds()
    return pd.Series(rows["total_latency"].to_numpy(), index=seconds).sort_index()


def queue(arrivals: "np.ndarray[tuple[int], np.dtype[np.float64]]") -> float:
    """The mean wait of these very arrivals (Lindley's recursion)."""
    wait, waits = 0.0, [0.0]
    for gap in np.diff(arrivals):
        wait = max(0.0, wait + SERVICE - gap)
        waits.append(wait)
    return float(np.mean(waits))


def interval(waits: "np.ndarray[tuple[int], np.dtype[np.float64]]") -> float:
    """Half of a 99.9 % interval of the mean, from 12 batches: waits depend on those before them."""
    means = [part.mean() for part in np.array_split(waits, 12)]
    return float(4.44 * np.std(means, ddof=1) / np.sqrt(len(means)))  # t with 11 degrees of freedom


@pytest.mark.parametrize(("load", "sessions"), [(0.5, 350), (0.8, 700)])
def test_the_mean_wait_is_that_of_the_queue(
    load: float, sessions: int, counter: Server, idle: float, tmp_path: Path
) -> None:
    measured = sojourns(counter, tmp_path, load, sessions)
    waits = measured.to_numpy() - idle
    theory = SERVICE * load / (2 * (1 - load))  # M/D/1: Pollaczek–Khinchine without variance
    assert abs(waits.mean() - theory) < interval(waits)
    assert waits.mean() == pytest.approx(
        queue(measured.index.to_numpy()), rel=0.3, abs=0.2 * SERVICE
    )


def test_above_capacity_the_wait_grows_with_time(counter: Server, tmp_path: Path) -> None:
    measured = sojourns(counter, tmp_path, 1.5, 300)
    growth, _ = np.polyfit(measured.index, measured.to_numpy(), 1)
    assert growth == pytest.approx(0.5, rel=0.2)  # seconds of wait a second
    ninth = len(measured) // 9
    assert measured.iloc[-ninth:].median() > 4 * measured.iloc[ninth : 2 * ninth].median()


def test_a_burst_hides_it(counter: Server, tmp_path: Path) -> None:
    """The same 80 % of a second's work at once: everybody waits for all before, whatever the rate."""
    output = tmp_path / "burst"
    batch = round(0.8 / SERVICE)
    done = launch(
        *("grid", "--url", counter.url, "-n", str(batch), "--wait", "0"),
        *("--output-dir", str(output)),
    )
    assert done.returncode == 0, done.stderr
    rows = read(output / "raw.jsonl", messages=True).frame()
    assert rows["total_latency"].max() > 0.9 * batch * SERVICE
