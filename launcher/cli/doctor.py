"""The command that checks nodes before a deployment: doctor."""

import sys
from typing import Any

import click
from rich.table import Table

from launcher.checks.doctor import diagnose, Diagnosis
from launcher.checks.survey import survey
from launcher.cli.display.console import out, print_json, say
from launcher.cli.options import deployment_options, json_option
from launcher.deployment.spec import Deployment
from launcher.errors import FAILED
from launcher.runtimes.findings import Finding
from launcher.system.machine import machine
from launcher.system.signals import interruptible

STYLES = {"OK": "green", "WARN": "yellow", "FAIL": "red"}


@click.command()
@deployment_options
@json_option
def doctor(deployment: Deployment, as_json: bool) -> None:
    """Check the nodes that a deployment would get.

    Prints how many sessions they can hold and which limit binds first. Takes the options of `up`;
    outside of an allocation it allocates the nodes from Slurm for the time of the checks. Exits with
    1 if a check fails.
    """
    with interruptible():
        diagnosis = diagnose(survey(deployment, say), machine(), deployment.sessions)
    if as_json:
        print_json(_plain(diagnosis, deployment.sessions))
    else:
        _print(diagnosis, deployment.sessions)
    if not diagnosis.ok:
        sys.exit(FAILED)


def _print(diagnosis: Diagnosis, sessions: int | None) -> None:
    out.print(_roles(diagnosis))
    for finding in diagnosis.findings:
        print_finding(finding)
    table = Table("limit", "sessions", "why", box=None)
    table.columns[1].justify = "right"
    for bound in diagnosis.bounds:
        short = sessions is not None and bound.sessions < sessions
        table.add_row(bound.limit, f"{bound.sessions:,}", bound.why, style=STYLES["FAIL"] * short)
    out.print(table)
    for finding in diagnosis.fit:
        print_finding(finding)


def print_finding(finding: Finding) -> None:
    out.print(f"{f'[{finding.verdict}]':<6}", style=STYLES[finding.verdict], end=" ")
    out.print(f"{finding.check}: {finding.detail}")
    if finding.advice:
        out.print(f"       {finding.advice}")


def _roles(diagnosis: Diagnosis) -> str:
    placement = diagnosis.survey.placement
    roles = [f"Envoy {placement.envoy_node}"] if placement.envoy_node else []
    roles.append(f"servers {' '.join(server.name for server in placement.servers)}")
    if placement.client_nodes:
        roles.append(f"clients {' '.join(node.name for node in placement.client_nodes)}")
    return "; ".join(roles)


def _plain(diagnosis: Diagnosis, sessions: int | None) -> dict[str, Any]:
    return {
        "ok": diagnosis.ok,
        "nodes": [node.name for node in diagnosis.survey.nodes],
        "job": diagnosis.survey.job,
        "sessions": sessions,
        "checks": [vars(finding) for finding in (*diagnosis.findings, *diagnosis.fit)],
        "limits": [
            vars(bound) | {"enough": sessions is None or bound.sessions >= sessions}
            for bound in diagnosis.bounds
        ],
    }
