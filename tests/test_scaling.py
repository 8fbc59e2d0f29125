"""The experiment command of the runbook, and a test of it.

    python tests/test_scaling.py --url $OPENENV_URL --requests-grid 32,128 --wait-grid 1.0

is `launcher grid` under the name that the runbook uses.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.helpers.local import Deployment


def test_grid_reaches_every_server_and_records_every_session(
    deployment: "Deployment", tmp_path: Path
) -> None:
    output = tmp_path / "results"
    done = run_script(
        deployment,
        *("--requests-grid", "8,40", "--wait-grid", "0.1,0.2", "--reps", "2"),
        *("--expected-hosts", "2", "--require-hosts", "--output-dir", str(output)),
    )
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in (output / "raw.jsonl").read_text().splitlines()]
    assert len(rows) == 2 * 2 * (8 + 40)
    assert all(row["success"] for row in rows)
    assert {row["host_url"] for row in rows if row["batch_size"] == 40} == {
        f"{node}:8000" for node in deployment.connection["WORKER_NODES"].split()
    }


def run_script(deployment: "Deployment", *arguments: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, __file__, "--url", deployment.url, *arguments]
    return subprocess.run(
        argv, cwd=deployment.folder, capture_output=True, text=True, timeout=120, check=False
    )


if __name__ == "__main__":
    from launcher.cli.grid import grid
    from launcher.cli.main import run

    run(grid, "tests/test_scaling.py")
