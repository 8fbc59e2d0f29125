"""Serves the OpenEnv apps of `tests/helpers/apps`, by plain uvicorn and by the kit."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.helpers.local import get_json, new_address, Server, serving, wait_for

APPS = Path(__file__).with_name("apps")


@contextlib.contextmanager
def stock(app: str, folder: Path, **variables: Any) -> Iterator[Server]:
    """Plain uvicorn with one process."""
    address = new_address()
    log = folder / f"stock-{address}.log"
    argv = [sys.executable, "-m", "uvicorn", app, "--host", address, "--port", "8000"]
    argv += ["--ws", "websockets-sansio"]
    environment = os.environ | {key: str(value) for key, value in variables.items()}
    with log.open("wb") as output:
        process = subprocess.Popen(argv, cwd=APPS, env=environment, stdout=output, stderr=output)
    server = Server(address, process, log)
    try:
        wait_for(lambda: process.poll() or get_json(f"{server.url}/health"), 60, "uvicorn answers")
        yield server
    finally:
        if process.poll() is None:
            server.stop()


@contextlib.contextmanager
def kit(app: str, folder: Path, *arguments: str, **variables: Any) -> Iterator[Server]:
    """The kit's server; one worker unless WORKERS is given."""
    variables = {"WORKERS": 1, "PYTHONPATH": APPS} | variables
    with serving(folder, "--app", app, "--drain", "0", *arguments, **variables) as server:
        yield server


@dataclass(frozen=True)
class Pair:
    """The same app served in both ways."""

    stock: Server
    kit: Server


@contextlib.contextmanager
def pair(app: str, folder: Path, **variables: Any) -> Iterator[Pair]:
    with stock(app, folder, **variables) as reference, kit(app, folder, **variables) as ours:
        yield Pair(reference, ours)
