"""Starts real servers and deployments, each on its own loopback addresses."""

import contextlib
import itertools
import json
import os
import random
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

LAUNCHER = [
    sys.executable,
    "-P",
    "-m",
    "launcher",
]  # its servers run in the same Python environment


MARK = "OPENENV_TEST_RUN"


ROOT = Path(__file__).parents[2]


_start = random.Random(os.getpid()).randrange(254)


# A whole run needs more than the 254 networks of one second octet.
_addresses = (
    f"127.{(_start + more) % 254 + 1}.{third}.2"
    for more in itertools.count()
    for third in range(1, 255)
)


def new_address() -> str:
    """The first of several consecutive loopback addresses that nothing else uses."""
    return next(_addresses)


@dataclass
class Server:
    """One environment server process."""

    address: str
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def url(self) -> str:
        return f"http://{self.address}:8000"

    def ready(self) -> dict[str, Any]:
        return dict(get_json(f"http://{self.address}:8001/ready"))

    def stop(self) -> int:
        self.process.terminate()
        return self.process.wait(20)


@dataclass
class Deployment:
    """A deployment held by a detached launcher."""

    name: str
    folder: Path
    environment: dict[str, str]
    connection: dict[str, str] = field(default_factory=dict)
    python: Path = Path(sys.executable)

    @property
    def url(self) -> str:
        return self.connection["OPENENV_URL"]

    @property
    def state(self) -> dict[str, Any]:
        return dict(json.loads((self.folder / "openenv-deployment.json").read_text()))

    @property
    def admin_url(self) -> str:
        return str(self.state["admin_url"])

    def pid(self, process: str) -> int:
        return next(p["pid"] for p in self.state["processes"] if p["name"] == process)

    def run(self, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
        options = {"python": self.python, "cwd": self.folder, "env": self.environment} | options
        return launch(*arguments, **options)


def launch(
    *arguments: str, python: Path | None = None, **options: Any
) -> subprocess.CompletedProcess[str]:
    options = {"timeout": 120, "capture_output": True, "text": True} | options
    argv = [str(python or LAUNCHER[0]), *LAUNCHER[1:], *arguments]
    return subprocess.run(argv, check=False, **options)


def get_json(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=5) as answer:
        return json.loads(answer.read())


def wait_for(holds: Callable[[], Any], seconds: float, what: str) -> Any:
    """Returns the first true result of `holds`."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError, ValueError):
            if value := holds():
                return value
        time.sleep(0.02)
    raise AssertionError(f"not within {seconds} s: {what}")


def places_used(deployment: Deployment) -> int:
    return sum(
        get_json(f"http://{server['address']}:{server['control_port']}/ready")["used"]
        for server in deployment.state["servers"]
    )


def processes_of(mark: str) -> list[psutil.Process]:
    """Every process with the mark in its environment, which descendants inherit."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get(MARK) == mark and process.pid != os.getpid():
                found.append(process)
    return found


@contextlib.contextmanager
def serving(
    folder: Path,
    *arguments: str,
    address: str | None = None,
    wait: bool = True,
    **variables: Any,
) -> Iterator[Server]:
    """Runs `python -m benchmark.server` on an address of its own."""
    address = address or new_address()
    log = folder / f"server-{address}.log"
    environment = os.environ | {"NODE_NAME": address}
    environment |= {key: str(value) for key, value in variables.items()}
    argv = [sys.executable, "-P", "-m", "benchmark.server", "--host", address, *arguments]
    with log.open("wb") as output:
        process = subprocess.Popen(argv, env=environment, stdout=output, stderr=output, cwd=folder)
    server = Server(address, process, log)
    try:
        if wait:
            wait_for(lambda: server.ready()["ready"] or process.poll(), 30, log.read_text())
        yield server
    finally:
        if process.poll() is None:
            server.stop()


@contextlib.contextmanager
def deployed(
    folder: Path,
    name: str,
    *arguments: str,
    env: dict[str, str] | None = None,
    python: Path | None = None,
) -> Iterator[Deployment]:
    """Runs `launcher up --local --detach`, and `down` at the end of the `with` block."""
    deployment = Deployment(name, folder, dict(env or os.environ))
    deployment.python = python or deployment.python
    options = ["--local-address", new_address(), "--name", name, "--dir", str(folder)]
    done = deployment.run("up", "--local", "--detach", "--json", *options, *arguments)
    assert done.returncode == 0, done.stderr
    deployment.connection = json.loads(done.stdout)
    try:
        yield deployment
    finally:
        deployment.run("down", name)


@contextlib.contextmanager
def serving_stock(folder: Path, **variables: str) -> Iterator[Server]:
    """OpenEnv's own server with the same environment."""
    address = new_address()
    log = folder / f"stock-{address}.log"
    argv = [sys.executable, "-m", "uvicorn", "tests.helpers.stock_app:app", "--host", address]
    argv += ["--port", "8000", "--ws", "websockets-sansio"]
    with log.open("wb") as output:
        process = subprocess.Popen(
            argv, cwd=ROOT, env=os.environ | variables, stdout=output, stderr=output
        )
    stock = Server(address, process, log)
    try:
        wait_for(lambda: get_json(f"{stock.url}/health"), 60, "OpenEnv's server answers")
        yield stock
    finally:
        stock.stop()


def assert_one_line(
    done: "subprocess.CompletedProcess[str]", expected: str, code: int | None = 1
) -> None:
    assert expected in done.stderr
    assert done.returncode == code
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.startswith("error: ")
