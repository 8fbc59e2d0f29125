"""Locust with its web page, run against a deployment."""

import getpass
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from launcher.deployment.placement import Process, Role
from launcher.errors import PortTaken
from launcher.experiment.load_placement import LoadPlacement
from launcher.lifecycle.supervisor import Supervisor, Unready
from launcher.system import http
from launcher.system.files import check_writable
from launcher.system.ports import first_taken
from launcher.system.signals import Interrupted

START_SECONDS = 60.0


@dataclass(frozen=True)
class WebUI:
    url: str
    placement: LoadPlacement
    web_host: str | None
    port: int
    logs: Path

    @property
    def host(self) -> str:
        """The address that the page's server listens on."""
        return self.web_host or self.placement.master_bind

    @property
    def address(self) -> str:
        return f"http://{self._reachable}:{self.port}"

    @property
    def tunnel(self) -> str:
        """The SSH command that forwards the page to the user's own machine."""
        login = f"{getpass.getuser()}@{socket.gethostname()}"
        return f"ssh -L {self.port}:{self._reachable}:{self.port} {login}"

    @property
    def _reachable(self) -> str:
        """The host for a URL; a wildcard address is replaced by the node's."""
        node = "127.0.0.1" if self.placement.is_local else self.placement.nodes[0]
        host = {"0.0.0.0": node, "::": "::1" if self.placement.is_local else node}.get(
            self.host, self.host
        )
        return f"[{host}]" if ":" in host else host


def processes(ui: WebUI, master_port: int) -> list[Process]:
    placement = ui.placement
    locust = ("-P", "-m", "locustfiles.web", "--loglevel", "WARNING")
    bind = ("--master-bind-host", placement.master_bind, "--master-bind-port", str(master_port))
    page = ("--web-host", ui.host, "--web-port", str(ui.port), "--host", ui.url)
    join = ("--master-host", placement.master_address, "--master-port", str(master_port))
    master, worker = (*locust, "--master", *bind, *page), (*locust, "--worker", *join)
    return [
        placement.process("benchmark-env-ui-master", placement.nodes[0], master, ui.logs),
        *(
            placement.process(f"benchmark-env-ui-load-{number}", node, worker, ui.logs)
            for number, node in enumerate(placement.nodes, 1)
        ),
    ]


def hold(ui: WebUI, on_ready: Callable[[], None], report: Callable[[str], None]) -> None:
    """Serves the page until Ctrl-C. Raises `PortTaken`, `StartFailed`, `DeploymentFailed`."""
    check_writable(ui.logs)
    runtime = ui.placement.runtime()
    supervisor = Supervisor(runtime, report)
    with supervisor.signals:
        try:
            if ui.placement.is_local and (taken := first_taken(ui.host, [ui.port])):
                raise PortTaken(f"{taken}; choose another --web-port")
            node = ui.placement.nodes[0]
            # Stands for the page's process: the runtime checks that its port is free on the node.
            page = Process("--web-port", Role.LOAD, node, (), {}, (ui.port,), ui.logs)
            runtime.prepare((page,), ui.placement.programs().files, None)
            port = runtime.free_port(node)
            for process in processes(ui, port):
                process.log.unlink(missing_ok=True)
                supervisor.start(process)
            supervisor.wait_ready(lambda: _unready(ui), time.monotonic() + START_SECONDS)
            on_ready()
            supervisor.hold()
        except Interrupted:
            return
        finally:
            supervisor.stop()
            runtime.close()


def _unready(ui: WebUI) -> Unready | None:
    try:
        joined = len(http.get_json(f"{ui.address}/stats/requests", 2.0).get("workers", []))
    except (OSError, ValueError):
        return Unready(f"no page at {ui.address}")
    expected = len(ui.placement.nodes)
    return None if joined >= expected else Unready(f"{joined} of {expected} load workers joined")
