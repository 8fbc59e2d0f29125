"""The command that serves Locust's web page: ui."""

from pathlib import Path

import click

from launcher.cli.display.console import say
from launcher.cli.options import (
    find_url,
    load_workers_option,
    name_option,
    option,
    options,
    url_option,
)
from launcher.cli.parameters import Integer
from launcher.experiment.load_placement import place_load
from launcher.experiment.target import resolve

ui_options = options(
    url_option,
    name_option,
    load_workers_option,
    option("--web-host", "The address that the page listens on.", metavar="ADDRESS", default_text=""
           "127.0.0.1; all addresses of the first client node if there are client nodes"),
    option("--web-port", "The port of the page.", Integer(1, 65_535), default=8089),
)  # fmt: skip


@click.command()
@ui_options
def ui(
    url: str | None, name: str | None, load_workers: int | None, web_host: str | None, web_port: int
) -> None:
    """Serve Locust's web page against a deployment until Ctrl-C.

    Prints the address of the page once all load workers have joined.
    """
    from launcher.experiment import locust_ui

    target = resolve(find_url(url, name))
    target.check_server()
    placement = place_load(target, load_workers)
    page = locust_ui.WebUI(target.url, placement, web_host, web_port, Path().absolute())

    def ready() -> None:
        print(page.address, flush=True)
        say(str(page.placement))
        say(f"from your own machine: {page.tunnel}")
        say("wait, steps and timeout of the users: under 'Custom parameters' on the page")

    locust_ui.hold(page, ready, say)
