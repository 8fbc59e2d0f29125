"""Tries the environments of a checkout of OpenEnv, unmodified:

    python -m tests.tools.catalogue dockerfiles OPENENV      # what every Dockerfile is converted to
    python -m tests.tools.catalogue serve OPENENV NAME=PYTHON...

It installs nothing: PYTHON is that of an environment in which the packages are. `serve` runs
`launcher up --local FOLDER --python PYTHON`, and opens 50 sessions at once, or as many as there are places,
with the environment's own client.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from launcher.errors import UsageError
from launcher.images.dockerfile import read, stages
from launcher.images.dockerfile.ignore import copy_context
from launcher.images.dockerfile.instructions import CannotConvert
from launcher.images.dockerfile.sources import Sources
from launcher.images.environment import _define, Environment
from launcher.images.project import find_project
from tests.helpers.local import LAUNCHER

SESSIONS = 50
SECONDS = 300
# Runs in the environment of the app: its own client, or OpenEnv's generic one.
CLIENTS = """
import asyncio, importlib, inspect, os, sys
from openenv.core import EnvClient, GenericEnvClient
def own():
    try:
        module = importlib.import_module(sys.argv[1])
    except ImportError:
        return GenericEnvClient
    for kind in vars(module).values():
        if inspect.isclass(kind) and issubclass(kind, EnvClient) and kind.__module__ == module.__name__:
            return kind
    return GenericEnvClient
async def session(kind, start):
    await start.wait()
    async with kind(base_url=os.environ["OPENENV_URL"]) as env:
        result = await env.reset()
        return result.observation is not None
async def main():
    kind, start, count = own(), asyncio.Event(), int(sys.argv[2])
    tasks = [asyncio.create_task(session(kind, start)) for _ in range(count)]
    start.set()
    done = await asyncio.gather(*tasks, return_exceptions=True)
    failed = [repr(each)[:100] for each in done if each is not True]
    print(kind.__name__, sum(each is True for each in done), *failed[:1], sep="|")
asyncio.run(main())
"""


def convert(checkout: Path) -> None:
    files = sorted(path for path in checkout.rglob("Dockerfile*") if path.suffix != ".dockerignore")
    converted = 0
    for file in files:
        whole = "COPY src/" in file.read_text() or "COPY envs/" in file.read_text()
        environment = Environment(file, context=checkout if whole else None)
        with tempfile.TemporaryDirectory() as folder:
            sources = Sources(Path(folder, "context"), Path(folder, "added"))
            try:
                copy_context(environment.folder, Path(folder, "context"), file)
                made = _define(stages(read(file.read_text()), {}), environment, sources)
            except (CannotConvert, UsageError) as failure:
                row: tuple[str, ...] = ("refused", str(failure))
            else:
                converted += 1
                row = (f"{made.app} in {made.started.folder}", *made.notes)
        print(file.relative_to(checkout), *row, sep=" | ", flush=True)
    print(f"{len(files)} Dockerfiles: {converted} converted, {len(files) - converted} refused")


def serve(folder: Path, python: str) -> tuple[str, ...]:
    app = find_project(folder).app
    with tempfile.TemporaryDirectory() as run:
        clients = Path(run, "clients.py")
        clients.write_text(CLIENTS)
        options = ("--local", "--nodes", "2", "--workers-per-node", "2", "--python", python)
        paths = os.pathsep.join(map(str, find_project(folder).import_path(app)))
        argv = [*LAUNCHER, "up", *options, "--local-address", "127.88.0.2", str(folder)]
        argv += ["--detach", "--json"]
        started = time.monotonic()
        done = subprocess.run(
            argv, cwd=run, capture_output=True, text=True, timeout=SECONDS, check=False
        )
        ready = time.monotonic() - started
        if done.returncode:
            return app, "", "", f"{ready:.1f}", done.stderr.strip().splitlines()[-1]
        try:
            log = Path(run, "benchmark-env-server-1.log").read_text()
            found = next((line for line in log.splitlines() if line.startswith("Sessions of")), "")
            places = int(json.loads(subprocess.run(
                [*LAUNCHER, "status", "--json"], cwd=run, capture_output=True, text=True, check=False
            ).stdout)["places"].get("server-1", {}).get("free", 0))  # fmt: skip
            count = min(SESSIONS, places or SESSIONS)
            url = json.loads(done.stdout)["OPENENV_URL"]
            ran = subprocess.run(
                [python, clients, f"{folder.name}.client", str(count)],
                env=os.environ | {"OPENENV_URL": url, "PYTHONPATH": paths},
                capture_output=True, text=True, timeout=SECONDS, check=False,
            )  # fmt: skip
            said = (ran.stdout.strip() or ran.stderr.strip()).splitlines()[-1].split("|")
            right = f"{said[1]} of {count}" if len(said) > 1 else "0"
            return app, said[0], right, f"{ready:.1f}", found.partition(": ")[2], *said[2:]
        finally:
            subprocess.run([*LAUNCHER, "down"], cwd=run, capture_output=True, check=False)


def main() -> None:
    action, checkout, *names = sys.argv[1:]
    root = Path(checkout).resolve()
    if action == "dockerfiles":
        convert(root)
        return
    print("environment | app | client | sessions right | seconds to ready | found", flush=True)
    for each in names:
        name, _, python = each.partition("=")
        try:
            row = serve(root / "envs" / name, python)
        except (UsageError, subprocess.SubprocessError) as failure:
            row = (str(failure)[:150],)
        print(name, *row, sep=" | ", flush=True)


if __name__ == "__main__":
    main()
