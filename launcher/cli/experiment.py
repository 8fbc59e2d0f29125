"""The command that measures how ceilings scale with the number of servers: experiment."""

import json
import shlex
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TYPE_CHECKING

import click
from pydantic import ValidationError

from analysis.errors import ResultsError
from analysis.results.file_names import EXPERIMENT, RUN
from analysis.scaling.criterion import Criterion
from launcher.cli.ceiling import (
    merge_options,
    requested_search,
    run_search,
    search_options,
)
from launcher.cli.display.console import out, print_json, say, warn
from launcher.cli.display.scaling_tables import print_scaling, scaling_summary
from launcher.cli.grid import resumed_folder, session_options
from launcher.cli.options import deployment_options, option, options
from launcher.cli.parameters import CommaSeparated, Integer
from launcher.deployment.read import with_values
from launcher.deployment.spec import Deployment
from launcher.errors import LauncherError, ResultInvalid, UsageError
from launcher.experiment.journal import experiment_lock, Journal, Phase
from launcher.experiment.resume import merge, read_recorded
from launcher.experiment.target import Target
from launcher.system.arguments import without_values
from launcher.system.signals import Interrupted

if TYPE_CHECKING:
    from launcher.experiment.ceiling import CeilingSearch  # imports pandas

# Load options that each phase sets itself, and their placeholders until then.
SET_BY_PHASE = {
    "url": "http://set-by-each-phase",
    "name": None,
    "expected_hosts": None,
    "require_hosts": False,
}
# Fields of the deployments that must not change between the start of an experiment and its resumption.
FIXED = ("local", "runtime", "app", "image", "max_concurrent_envs", "workers_per_node")
# Fields that --sessions chooses if they are not given.
SIZES = {"workers_per_node", "max_concurrent_envs"}
# Fields that --server-nodes and --output-dir choose for each phase.
CHOSEN = ("nodes", "dir")


experiment_options = options(
    search_options,
    session_options,
    option("--server-nodes", "The numbers of servers to find the ceiling of, such as 1,2,4.",
           CommaSeparated(Integer(1, 99_999))),
    option("--baseline", "Whether a single server is measured directly, as in phase 1 of the "
           "runbook, or behind Envoy.", click.Choice(["direct", "envoy"]), default="direct"),
)  # fmt: skip


@click.command()
@partial(deployment_options, hidden=CHOSEN)
@experiment_options
def experiment(deployment: Deployment, **values: Any) -> None:
    """Find the ceiling of 1, 2, 4 … servers and how well it scales.

    Starts one deployment after the other, searches its ceiling as `ceiling` does, and stops it. Takes
    the options of `up`, except --nodes and --dir. `launcher down experiment` stops a deployment that
    a killed experiment left behind.
    """
    from launcher.experiment import scaling_run
    from launcher.experiment.ceiling import sentence

    values, deployment = _resumed(values, deployment)
    phases = _phases(values, deployment)
    search = requested_search(values | SET_BY_PHASE)
    scaling_run.check(phases, say)
    folder = values["output_dir"]
    request = {
        "arguments": without_values(sys.argv[1:]),
        "criterion": search.criterion.text,
        "server_nodes": [phase.servers for phase in phases],
        "options": values,
        "deployment": json.loads(deployment.as_given()),
    }

    def measure(phase: Phase, target: Target) -> list[dict[str, Any]]:
        answers = run_search(_for_phase(search, phase, target), values, target)
        for line in answers:
            say(f"{phase.servers} server(s): {sentence(line)}")
        return answers

    with experiment_lock(folder):
        journal = Journal(folder, request, resume=values["resume"])
        try:
            scaling_run.run(phases, journal, say, measure)
        except Interrupted:
            arguments = f"--resume --output-dir {shlex.quote(str(folder))}"
            say(f"to continue, run: launcher experiment {arguments}")
            raise
        except LauncherError:
            with suppress(LauncherError):
                _report(journal, search.criterion, as_json=values["as_json"])
            raise
        _report(journal, search.criterion, as_json=values["as_json"])


def _resumed(values: dict[str, Any], deployment: Deployment) -> tuple[dict[str, Any], Deployment]:
    for name in CHOSEN:
        if name in deployment.model_fields_set:
            raise UsageError(f"--{name} is an option of `up`; an experiment sets it for each phase")
    if values["resume"]:
        folder = resumed_folder(values)
    elif values["output_dir"] is None:
        raise UsageError("an experiment requires --output-dir")
    else:
        return values, deployment
    recorded = read_recorded(folder, EXPERIMENT, "options", "deployment")
    merged = merge_options(values, recorded["options"])
    return merged, _same_deployment(folder, deployment, recorded["deployment"])


def _same_deployment(folder: Path, now: Deployment, recorded: Mapping[str, Any]) -> Deployment:
    given = json.loads(now.as_given())
    unset = dict.fromkeys(FIXED)
    changeable = set(given) - set(FIXED)
    merged = merge(folder, given, set(given), {**unset, **recorded}, changeable=changeable)
    try:
        resumed = Deployment(**{name: merged[name] for name in {**recorded, **given}})
    except ValidationError as failure:
        raise UsageError(f"{folder}: {failure.errors()[0]['msg']}") from None
    return with_values(resumed, now.variables)


def _phases(values: Mapping[str, Any], deployment: Deployment) -> list[Phase]:
    from launcher.experiment.scaling_run import phases

    if deployment.sessions is not None and not deployment.model_fields_set >= SIZES:
        raise UsageError(
            "--sessions would give each phase other servers, so their ceilings could not be compared; "
            "give --workers-per-node, --max-concurrent-envs and --envoy-processes instead"
        )
    if values["server_nodes"] is None:
        raise UsageError("--server-nodes N,N,... is required, such as 1,2,4")
    return phases(deployment, values["server_nodes"], values["baseline"], values["output_dir"])


def _for_phase(search: "CeilingSearch", phase: Phase, target: Target) -> "CeilingSearch":
    grid = replace(
        search.grid,
        url=target.url,
        output=phase.folder,
        expected_hosts=phase.servers,
        require_hosts=True,
        resume=(phase.folder / RUN).exists(),
    )
    return replace(search, grid=grid)


def _report(journal: Journal, criterion: Criterion, *, as_json: bool) -> None:
    """Reports the phases that have results."""
    from analysis.report.report import INSTALL, write

    measured = [folder for folder in journal.folders if (folder / RUN).exists()]
    if not measured:
        return
    try:
        written = write(measured, journal.folder, criterion)
    except ResultsError as failure:
        raise ResultInvalid(str(failure)) from None
    for warning in written.warnings:
        warn(warning)
    if written.missing:
        say(f"{written.missing} is not installed, so there is no report.html: {INSTALL}")
    tables = scaling_summary(journal.folder)
    tables["caveats"] += journal.caveats
    if as_json:
        print_json({**tables, "experiment": journal.content})
    else:
        print_scaling(tables)
        out.print(f"results and report: {journal.folder}")
