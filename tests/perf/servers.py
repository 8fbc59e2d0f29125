"""The servers to measure: the kit's own and its peers, each started as its users start it."""

import contextlib
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from tests.perf.processes import (
    cpu,
    CpuTime,
    get_json,
    last_line,
    memory,
    output_of,
    python,
    running,
    tree,
    wait_for,
    wait_until_still,
)
from tests.perf.run import Run

START_SECONDS = 60.0
LOAD_SECONDS = 420.0
STOCK = "tests.perf.peers.stock:app"
PLAIN = "tests.perf.peers.plain:app"


@dataclass(frozen=True)
class Subject:
    """A kind of server: its argv for an address, the port to measure, and the page that responds once it is
    ready; with None, it is ready when the port accepts a connection."""

    name: str
    argv: Callable[[str], list[str]]
    port: int = 8000
    ready: str | None = ":8000/health"


def kit(name: str = "kit", *more: str) -> Subject:
    """One worker, loaded through its own port, the one that Envoy connects to."""
    argv = python("benchmark.server", *more, "--drain", "0", "--host")
    return Subject(name, lambda address: [*argv, address], 8002, ":8001/ready")


def uvicorn(name: str, app: str, *more: str) -> Subject:
    argv = python("uvicorn", app, "--port", "8000", *more, "--host")
    return Subject(name, lambda address: [*argv, address])


def module(name: str, *arguments: str) -> Subject:
    argv = python(*arguments)
    return Subject(name, lambda address: [*argv, address, "8000"], ready=None)


KIT, PICOWS = kit(), module("picows", "tests.perf.peers.picows_server")
STOCK_SERVER, PLAIN_SERVER = uvicorn("stock OpenEnv", STOCK), uvicorn("plain FastAPI", PLAIN)
RAW = module("raw server", "tests.perf.peers.raw_server")


@dataclass
class Server:
    """A running server that is ready."""

    subject: Subject
    address: str
    process: subprocess.Popen[str]
    run: Run

    @property
    def pids(self) -> list[int]:
        return tree(self.process.pid)

    @property
    def url(self) -> str:
        return f"http://{self.address}:{self.subject.port}"

    @property
    def websocket(self) -> str:
        return f"ws://{self.address}:{self.subject.port}/ws"


@contextlib.contextmanager
def serving(run: Run, subject: Subject, places: int, **variables: str) -> Iterator[Server]:
    """Starts a server on an address of its own, with places for this many sessions."""
    address = run.new_address()
    environment = {"MAX_CONCURRENT_ENVS": str(places), "WORKERS": "1", "PORT": "8000"} | variables
    log = run.log(f"server-{address}")
    with running(subject.argv(address), log, environment) as process:
        what = f"{subject.name} is ready"
        wait_for(lambda: _ready(subject, address), START_SECONDS, f"{what}; see {log}", process)
        yield Server(subject, address, process, run)


def _ready(subject: Subject, address: str) -> bool:
    if subject.ready is not None:
        return bool(get_json(f"http://{address}{subject.ready}").get("ready", True))
    import socket

    socket.create_connection((address, subject.port), timeout=1).close()
    return True


def load(run: Run, address: str, port: int, sessions: int, *more: str) -> dict[str, Any]:
    """Runs this many sessions of the neutral load; returns what it reports."""
    argv = _load(address, port, sessions, *more)
    return output_of(argv, LOAD_SECONDS, run.log("load"))


def _load(address: str, port: int, sessions: int, *more: str) -> list[str]:
    return python("tests.perf.peers.raw_client", address, str(port), str(sessions), *more)


def held(
    run: Run,
    address: str,
    port: int,
    sessions: int,
    pids: Callable[[], list[int]],
    *more: str,
    after: int = 0,
) -> tuple[dict[str, Any], int, CpuTime]:
    """Opens and resets sessions, makes `after` steps, and the rest once all sessions have made these. Returns
    what the load reports, the growth of the processes' memory in bytes until then, and the CPU time that
    they used afterwards."""
    argv = _load(address, port, sessions, f"--hold={after}", *more)
    rest = memory(pids())
    pipe = subprocess.PIPE
    with running(argv, run.log("load"), stdin=pipe, stdout=pipe) as client:
        assert client.stdout is not None
        line = client.stdout.readline()
        growth, before = memory(pids()) - rest, cpu(pids())
        if line.strip() != "held":
            return (
                {"sessions": sessions, "failed": sessions, "errors": {line[:200]: 1}},
                0,
                CpuTime(),
            )
        assert client.stdin is not None
        client.stdin.write("\n")
        client.stdin.flush()
        outcome = last_line(client, LOAD_SECONDS, argv)
    return outcome, growth, cpu(pids()) - before


def burst(
    run: Run, address: str, port: int, sessions: int, pids: Callable[[], list[int]]
) -> tuple[dict[str, Any], CpuTime]:
    """Starts all sessions at once, each with one step. Returns what the load reports, and the CPU time that
    the processes used."""
    before = cpu(pids())
    outcome = load(run, address, port, sessions, "--wait", str(run.sizes.wait))
    wait_until_still(pids())
    return outcome, cpu(pids()) - before
