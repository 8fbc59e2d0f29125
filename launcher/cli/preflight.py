"""The commands preflight and ui, and the options of all that load a deployment."""

import json
import sys
from itertools import chain
from pathlib import Path
from typing import Any, TYPE_CHECKING

import click

from launcher.cli.console import err
from launcher.cli.doctor import print_finding
from launcher.cli.options import find_load_workers, find_url, load_workers_option, one, url_option
from launcher.deployment.state import DeploymentState
from launcher.experiment.load_placement import place_load
from launcher.experiment.target import resolve
from launcher.lifecycle import registry

if TYPE_CHECKING:
    from launcher.runtimes.findings import Finding


@click.command()
@click.option("--name", help="which deployment [default: that of this folder, else openenv]")
@click.option("--json", "as_json", is_flag=True, help="print JSON")
def preflight(name: str | None, as_json: bool) -> None:
    """Check a deployment before an experiment: servers, Envoy, backends, distribution."""
    from launcher.checks import preflight as checking
    from launcher.checks.preflight_nodes import node_checks

    state = _state(name)
    findings = []
    port = state.deployment.server_port
    serving = checking.serving_checks(state.connection, port, state.admin_urls)
    for finding in chain(serving, node_checks(state)):
        findings.append(finding)
        if not as_json:
            print_finding(finding)
    if as_json:
        print(json.dumps([_plain(finding) for finding in findings], indent=2))
    if not all(finding.passed for finding in findings):
        sys.exit(1)


def _plain(finding: "Finding") -> dict[str, Any]:
    head = {"name": finding.check, "ok": finding.passed}
    return head | {"detail": finding.detail, "advice": finding.advice}


def _state(name: str | None) -> DeploymentState:
    """The state of the deployment with the name; without one, of the deployment of this folder."""
    if name is None and registry.connection(Path()) is not None:
        return registry.read_state(Path())
    found = registry.find(name or registry.usual_name())
    if not found.alive:
        raise registry.gone(found)
    return found.state


@click.command()
@url_option
@load_workers_option
@click.option(
    "--web-host",
    help="address of the page [default: 127.0.0.1; with client nodes: all of the first of them]",
)
@click.option("--web-port", default="8089", metavar="PORT", help="port of the page [default: 8089]")
def ui(url: str | None, load_workers: str | None, web_host: str | None, web_port: str) -> None:
    """Serve Locust's web page with load workers against a deployment, until Ctrl-C."""
    from launcher.experiment import locust_ui as page

    target = resolve(find_url(url))
    target.check_server()
    wanted = page.WebUI(
        target.url,
        place_load(target, find_load_workers(load_workers)),
        web_host,
        one(web_port, "--web-port", int, 1, 65_535),
        Path().absolute(),
    )

    def ready() -> None:
        print(wanted.address, flush=True)
        err.print(str(wanted.placement), markup=False)
        err.print(f"from your own machine: {wanted.tunnel}", markup=False)
        err.print("wait, steps and timeout of the users: under 'Custom parameters' on the page")

    page.hold(wanted, ready, lambda event: err.print(event, markup=False))
