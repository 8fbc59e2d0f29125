"""Locust with its web page, beside a deployment."""

import getpass
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from launcher.deployment.placement import Process, Role
from launcher.errors import PortTaken
from launcher.experiment.load_placement import load_process, LoadPlace
from launcher.lifecycle.supervisor import Supervisor
from launcher.system import http
from launcher.system.files import check_writable
from launcher.system.ports import first_taken
from launcher.system.signals import Interrupted

START_SECONDS = 60.0


@dataclass(frozen=True)
class WebUI:
    """Where the page is and what it loads."""

    url: str
    place: LoadPlace
    web_host: str | None
    port: int
    logs: Path

    @property
    def host(self) -> str:
        """The address that the page's server binds."""
        return self.web_host or self.place.master_bind

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
        """The host as a URL has it; an address that means all addresses is that of its node."""
        node = "127.0.0.1" if self.place.here else self.place.nodes[0]
        host = {"0.0.0.0": node, "::": "::1" if self.place.here else node}.get(self.host, self.host)
        return f"[{host}]" if ":" in host else host


def processes(ui: WebUI, master_port: int) -> list[Process]:
    place = ui.place
    locust = ("-P", "-m", "locustfiles.web", "--loglevel", "WARNING")
    bind = ("--master-bind-host", place.master_bind, "--master-bind-port", str(master_port))
    page = ("--web-host", ui.host, "--web-port", str(ui.port), "--host", ui.url)
    join = ("--master-host", place.master_address, "--master-port", str(master_port))
    named: list[tuple[str, str, tuple[str, ...]]] = [
        ("benchmark-env-ui-master", place.nodes[0], (*locust, "--master", *bind, *page))
    ]
    for number, node in enumerate(place.nodes, 1):
        named.append((f"benchmark-env-ui-load-{number}", node, (*locust, "--worker", *join)))
    return [load_process(place, name, node, argv, ui.logs) for name, node, argv in named]


def page_of(ui: WebUI) -> Process:
    """The process with the page, as far as its port goes."""
    return Process("--web-port", Role.LOAD, ui.place.nodes[0], (), {}, (ui.port,), ui.logs)


def hold(ui: WebUI, on_ready: Callable[[], None], report: Callable[[str], None]) -> None:
    """Serves the page until Ctrl-C. Raises `PortTaken`, `StartFailed`, `DeploymentFailed`."""
    check_writable(ui.logs)
    runtime = ui.place.runtime()
    supervisor = Supervisor(runtime, report)
    with supervisor.signals:
        try:
            _check_port(ui)
            runtime.prepare((page_of(ui),), ui.place.programs().files, None)
            port = runtime.free_port(ui.place.nodes[0])
            for process in processes(ui, port):
                process.log.unlink(missing_ok=True)
                supervisor.start(process)
            supervisor.wait_ready(lambda: _missing(ui), time.monotonic() + START_SECONDS)
            on_ready()
            supervisor.hold()
        except Interrupted:
            return
        finally:
            supervisor.stop()
            runtime.close()


def _check_port(ui: WebUI) -> None:
    taken = first_taken(ui.host, [ui.port]) if ui.place.here else None
    if taken:
        raise PortTaken(f"{taken}; choose another --web-port")


def _missing(ui: WebUI) -> str | None:
    """What keeps the page from being usable: itself, or load workers that have not joined."""
    try:
        joined = len(http.get_json(f"{ui.address}/stats/requests", 2.0).get("workers", []))
    except (OSError, ValueError):
        return f"no page at {ui.address}"
    wanted = len(ui.place.nodes)
    return None if joined >= wanted else f"{joined} of {wanted} load workers joined"
