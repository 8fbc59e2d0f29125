"""The commands preflight and ui, and the options of all that load a deployment."""

import json
import sys
from itertools import chain
from pathlib import Path
from typing import Any

import click

from launcher.cli.console import err, out
from launcher.cli.options import find_load_workers, find_url, load_workers_option, one, url_option
from launcher.experiment.load_placement import load_place
from launcher.experiment.target import check_server
from launcher.lifecycle import registry


@click.command()
@click.option("--name", help="which deployment [default: that of this folder, else openenv]")
@click.option("--json", "as_json", is_flag=True, help="print JSON")
def preflight(name: str | None, as_json: bool) -> None:
    """Check a deployment before an experiment: servers, Envoy, backends, distribution."""
    from launcher.checks import preflight as checking
    from launcher.checks.preflight_nodes import on_nodes

    state = _state(name)
    checks = []
    admin_urls = registry.admin_urls(state)
    serving = checking.checks(state["connection"], state["deployment"]["server_port"], admin_urls)
    for check in chain(serving, on_nodes(state)):
        checks.append(check)
        if not as_json:
            verdict = "[green]\\[OK]  [/]" if check.ok else "[red]\\[FAIL][/]"
            out.print(verdict, f"{check.name}:", end=" ")
            out.print(check.detail, markup=False)
            if check.advice:
                out.print(f"       {check.advice}", markup=False)
    if as_json:
        print(json.dumps([vars(check) for check in checks], indent=2))
    if not all(check.ok for check in checks):
        sys.exit(1)


def _state(name: str | None) -> dict[str, Any]:
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

    address = find_url(url)
    check_server(address)
    wanted = page.WebUI(
        address,
        load_place(address, find_load_workers(load_workers)),
        web_host,
        one(web_port, "--web-port", int, 1, 65_535),
        Path().absolute(),
    )

    def ready() -> None:
        print(wanted.address, flush=True)
        err.print(wanted.place.story, markup=False)
        err.print(f"from your own machine: {wanted.tunnel}", markup=False)
        err.print("wait, steps and timeout of the users: under 'Custom parameters' on the page")

    page.hold(wanted, ready, lambda event: err.print(event, markup=False))
