"""Runs `launcher grid` and reads the files that it writes."""

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from tests.helpers.local import Deployment, LAUNCHER


def rows_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "raw.jsonl").read_text().splitlines()]


def run_json(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "run.json").read_text()))


def grid(deployment: Deployment, output: Path, *arguments: str) -> Any:
    return deployment.run("grid", "--url", deployment.url, "--output-dir", str(output), *arguments)


def start_grid(
    deployment: Deployment,
    output: Path,
    env: dict[str, str],
    *arguments: str,
    under: Sequence[str] = (),
) -> subprocess.Popen[str]:
    argv = [
        *under,
        *LAUNCHER,
        "grid",
        "--url",
        deployment.url,
        "--output-dir",
        str(output),
        *arguments,
    ]
    return subprocess.Popen(
        argv, env=env, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def summary_of(folder: Path) -> list[dict[str, Any]]:
    frame = pd.read_csv(folder / "summary.csv")
    return [{str(key): value for key, value in line.items()} for line in frame.to_dict("records")]
