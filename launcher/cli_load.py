"""The commands preflight and ui, and the options of all that load a deployment."""

import json
import sys
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from launcher import registry
from launcher.cells import numbers, parse_url
from launcher.errors import UsageError
from launcher.loadplace import load_place
from launcher.target import check_server

# A table that goes into a file or a pipe is not folded.
out = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else 200)
err = Console(stderr=True, highlight=False, soft_wrap=True)

url_option = click.option(
    "--url",
    envvar="OPENENV_URL",
    help="where sessions go [env: OPENENV_URL; default: openenv-connection.env in this folder]",
)
load_workers_option = click.option(
    "--load-workers",
    metavar="N",
    help="Locust processes that make the load, on the deployment's client nodes where it has some, "
    "else here [default: one a core, at least 2; more where their descriptors are too few]",
)


def choice(text: str, option: str, of: Sequence[str]) -> str:
    """Raises `UsageError`."""
    if text not in of:
        raise UsageError(f"{option} {text!r} is none of {', '.join(of)}")
    return text


def one(text: str | None, option: str, kind: Any, low: float, high: float) -> Any:
    return None if text is None else numbers(text, option, kind, low, high)[0]


def find_load_workers(text: str | None) -> int | None:
    chosen = one(text, "--load-workers", int, 1, 4096)
    return None if chosen is None else int(chosen)


def find_url(url: str | None) -> str:
    if url is None:
        connection = registry.connection(Path())
        if connection is None:
            raise UsageError("where to? give --url, or run `launcher up` in this folder first")
        url = connection["OPENENV_URL"]
    return parse_url(url)


@click.command()
@click.option("--name", help="which deployment [default: that of this folder, else openenv]")
@click.option("--json", "as_json", is_flag=True, help="print JSON")
def preflight(name: str | None, as_json: bool) -> None:
    """Check a deployment before an experiment: servers, Envoy, backends, distribution."""
    from launcher import preflight as checking
    from launcher.doctor.preflight import on_nodes

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
    from launcher import ui as page

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
