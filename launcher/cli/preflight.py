"""The command that checks a deployment before an experiment: preflight."""

import sys
from functools import partial
from itertools import chain
from pathlib import Path

import click

from launcher.cli.display.console import print_json
from launcher.cli.doctor import print_finding
from launcher.cli.options import find_running, json_option, name_option
from launcher.deployment.state import DeploymentState
from launcher.errors import FAILED
from launcher.lifecycle import registry


@click.command()
@name_option
@json_option
def preflight(name: str | None, as_json: bool) -> None:
    """Check a deployment before an experiment.

    Checks each server, Envoy, its backends, how it distributes sessions, and the nodes. If nobody
    uses the deployment, it also opens a session in each of its places, all at once, resets it and
    makes one step; at most 2,000 sessions, and new ones for at most 60 s. Exits with 1 if a check
    fails.
    """
    from launcher.checks import preflight as checking
    from launcher.checks.preflight_nodes import node_checks
    from launcher.checks.sessions import session_checks

    state = _state(name)
    findings = []
    port = state.deployment.server_port
    serving = checking.serving_checks(state.connection, port, state.admin_urls)
    requested = state.deployment.max_concurrent_envs
    balanced = bool(state.envoys)
    places = partial(registry.places, state)
    sessions = session_checks(state.url, places, state.server_names, requested, balanced=balanced)
    for finding in chain(serving, sessions, node_checks(state)):
        findings.append(finding)
        if not as_json:
            print_finding(finding)
    if as_json:
        keys = {"name": "check", "ok": "passed", "detail": "detail", "advice": "advice"}
        print_json([{key: getattr(each, keys[key]) for key in keys} for each in findings])
    if not all(finding.passed for finding in findings):
        sys.exit(FAILED)


def _state(name: str | None) -> DeploymentState:
    """The state of the named deployment; without a name, of the deployment of this folder."""
    if name is None and registry.connection(Path()) is not None:
        return registry.read_state(Path())
    return find_running(name).state
