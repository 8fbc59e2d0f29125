"""Open arrivals at a server with a known service time show the queue that theory predicts."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.rows.files import read
from tests.helpers.local import launch, ROOT, Server, serving

SERVICE = 0.04  # seconds: far longer than the rest of a session

# A load at which most sessions do not wait: what they take besides their step is not queueing.
IDLE = 0.1


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
    """Seconds from the due time of each session to its end, by due time in seconds. `load` is the
    share of the server's capacity that arrives."""
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
    """The mean wait of these arrivals (Lindley's recursion)."""
    wait, waits = 0.0, [0.0]
    for gap in np.diff(arrivals):
        wait = max(0.0, wait + SERVICE - gap)
        waits.append(wait)
    return float(np.mean(waits))


def interval(waits: "np.ndarray[tuple[int], np.dtype[np.float64]]") -> float:
    """Half of a 99.9 % confidence interval of the mean, from 12 batches, because waits are correlated."""
    means = [part.mean() for part in np.array_split(waits, 12)]
    return float(4.44 * np.std(means, ddof=1) / np.sqrt(len(means)))  # t with 11 degrees of freedom


@pytest.mark.parametrize(("load", "sessions"), [(0.5, 350), (0.8, 700)])
def test_mean_wait_matches_queueing_theory(
    load: float, sessions: int, counter: Server, idle: float, tmp_path: Path
) -> None:
    measured = sojourns(counter, tmp_path, load, sessions)
    waits = measured.to_numpy() - idle
    theory = SERVICE * load / (2 * (1 - load))  # M/D/1: Pollaczek–Khinchine without variance
    assert abs(waits.mean() - theory) < interval(waits)
    assert waits.mean() == pytest.approx(
        queue(measured.index.to_numpy()), rel=0.3, abs=0.2 * SERVICE
    )


def test_wait_grows_with_time_above_capacity(counter: Server, tmp_path: Path) -> None:
    measured = sojourns(counter, tmp_path, 1.5, 300)
    growth, _ = np.polyfit(measured.index, measured.to_numpy(), 1)
    assert growth == pytest.approx(0.5, rel=0.2)  # seconds of wait a second
    ninth = len(measured) // 9
    assert measured.iloc[-ninth:].median() > 4 * measured.iloc[ninth : 2 * ninth].median()


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
