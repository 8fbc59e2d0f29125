"""Serves environments of OpenEnv's catalogue through Envoy, and opens sessions with their own clients.

Takes `ENVIRONMENT=PYTHON` for each: a Python environment in which the environment is installed, unmodified,
with this package beside it. Prints a table, and exits with 1 unless all sessions succeeded.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

SESSIONS = Path(__file__).with_name("catalogue_sessions.py")
SERVERS, WORKERS = 2, 2
COLUMNS = (
    "environment",
    "client",
    "OpenEnv",
    "served by",
    "sessions",
    "servers",
    "workers",
    "steps/s",
)
ON_THE_ENGINE = "are served on the session engine"


def measure(name: str, python: str, sessions: int, steps: int, address: str) -> dict[str, Any]:
    """What the sessions have printed, and by which code the server has served them."""
    with tempfile.TemporaryDirectory() as folder:
        launcher = (python, "-P", "-m", "launcher", "up", "--local", "--local-address", address)
        size = ("--nodes", str(1 + SERVERS), "--workers-per-node", str(WORKERS))
        app = ("--app", f"{name}.server.app:app", "--max-concurrent-envs", str(sessions))
        place = ("--name", "catalogue", "--dir", folder, "--drain", "0")
        opener = ("--", python, "-P", str(SESSIONS), name, str(sessions), str(steps))
        done = subprocess.run(
            [*launcher, *size, *app, *place, *opener],
            stdout=subprocess.PIPE,
            text=True,
            check=False,
        )
        if done.returncode:
            sys.exit(f"error: {name} in {python} failed with {done.returncode}:\n{done.stdout}")
        logs = [log.read_text() for log in Path(folder).glob("benchmark-env-server-*.log")]
    engine = len(logs) == SERVERS and all(ON_THE_ENGINE in log for log in logs)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found | {"environment": name, "served by": "engine" if engine else "its own code"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("environments", nargs="+", metavar="ENVIRONMENT=PYTHON")
    parser.add_argument("--sessions", type=int, default=50)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--local-address", default="127.60.0.2")
    options = parser.parse_args()
    table = Table(*COLUMNS, box=None)
    failures: list[str] = []
    for environment in options.environments:
        name, _, python = environment.partition("=")
        row = measure(name, python, options.sessions, options.steps, options.local_address)
        failures += [f"{name}: {failure}" for failure in row["failures"]]
        table.add_row(*(str(row[column]) for column in COLUMNS))
    Console(width=110).print(table)
    sys.exit("\n".join(failures) or None)


if __name__ == "__main__":
    main()
