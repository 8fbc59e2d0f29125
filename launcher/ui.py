"""Locust with its web page, beside a deployment."""

import getpass
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from launcher import http
from launcher.assets import module_file
from launcher.errors import PortTaken
from launcher.placement import Process, Role
from launcher.ports import first_taken
from launcher.rundir import check_writable
from launcher.runtimes.local import LocalRuntime
from launcher.signals import Interrupted
from launcher.supervisor import Supervisor

START_SECONDS = 60.0
MASTER_HOST = "127.0.0.1"


@dataclass(frozen=True)
class WebUI:
    """Where the page is and what it loads."""

    url: str
    host: str
    port: int
    load_workers: int
    logs: Path

    @property
    def address(self) -> str:
        return f"http://{self._reachable}:{self.port}"

    @property
    def tunnel(self) -> str:
        """What to type at home when this machine is a login node."""
        there = f"{getpass.getuser()}@{socket.gethostname()}"
        return f"ssh -L {self.port}:{self._reachable}:{self.port} {there}"

    @property
    def _reachable(self) -> str:
        """The host as a URL has it; an address that means all addresses is reached on loopback."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)
        return f"[{host}]" if ":" in host else host


def processes(ui: WebUI, master_port: int) -> list[Process]:
    locustfile = str(module_file("locustfiles", "ui.py"))
    locust = (sys.executable, "-P", "-m", "locust", "-f", locustfile, "--loglevel", "WARNING")
    bind = ("--master-bind-host", MASTER_HOST, "--master-bind-port", str(master_port))
    page = ("--web-host", ui.host, "--web-port", str(ui.port), "--host", ui.url)
    join = ("--master-host", MASTER_HOST, "--master-port", str(master_port))
    found = [_process("ui-master", (*locust, "--master", *bind, *page), (ui.port,), ui)]
    for number in range(1, ui.load_workers + 1):
        found.append(_process(f"ui-load-{number}", (*locust, "--worker", *join), (), ui))
    return found


def _process(name: str, argv: tuple[str, ...], ports: tuple[int, ...], ui: WebUI) -> Process:
    return Process(name, Role.LOAD, ui.host, argv, {}, ports, ui.logs / f"benchmark-env-{name}.log")


def hold(
    ui: WebUI, master_port: int, on_ready: Callable[[], None], report: Callable[[str], None]
) -> None:
    """Serves the page until Ctrl-C. Raises `PortTaken`, `StartFailed`, `DeploymentFailed`."""
    taken = first_taken(ui.host, [ui.port])
    if taken:
        raise PortTaken(f"{taken}; choose another --web-port")
    check_writable(ui.logs)
    supervisor = Supervisor(LocalRuntime().start, report)
    with supervisor.signals:
        try:
            for process in processes(ui, master_port):
                process.log.unlink(missing_ok=True)
                supervisor.start(process)
            supervisor.wait_ready(lambda: _missing(ui), time.monotonic() + START_SECONDS)
            on_ready()
            supervisor.hold()
        except Interrupted:
            return
        finally:
            supervisor.stop()


def _missing(ui: WebUI) -> str | None:
    """What keeps the page from being usable: itself, or load workers that have not joined."""
    try:
        joined = len(http.get_json(f"{ui.address}/stats/requests", 2.0).get("workers", []))
    except (OSError, ValueError):
        return f"no page at {ui.address}"
    return (
        None if joined >= ui.load_workers else f"{joined} of {ui.load_workers} load workers joined"
    )
