"""The commands that find ceilings: ceiling, experiment."""

import json
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, TYPE_CHECKING, TypeVar

import click
from click.core import ParameterSource
from pydantic import ValidationError

from analysis.errors import ResultsError
from analysis.results.file_names import EXPERIMENT, RUN
from benchmark.server.environment import MAX_WAIT_SECONDS
from launcher.cli.console import err, out
from launcher.cli.grid import common, load_options
from launcher.cli.options import one
from launcher.cli.progress import Display
from launcher.cli.scaling_tables import print_answers, print_scaling, scaling_told
from launcher.deployment.spec import Deployment
from launcher.errors import LauncherError, ResultInvalid, UsageError
from launcher.experiment.grid import default_output, Grid, MAX_BATCH, numbers
from launcher.experiment.resume import merge, read_recorded, read_run
from launcher.experiment.target import resolve
from launcher.system.signals import Interrupted

if TYPE_CHECKING:
    from analysis.scaling.criterion import Criterion
    from launcher.experiment.ceiling import CeilingSearch
    from launcher.experiment.journal import Journal, Phase
    from launcher.experiment.target import Target

F = TypeVar("F", bound=Callable[..., Any])
Line = Mapping[str, Any]

OF_THE_PHASE = {"url": "http://of-its-deployment", "expected_hosts": None, "require_hosts": False}
"""What an experiment knows by itself, and is not asked."""

# Options that are chosen anew each time a search is resumed.
PER_START = (
    *("output_dir", "load_workers", "source_addresses", "require_valid", "resume", "as_json"),
)

# Options that stay as recorded unless they are given again; `server_nodes` can be extended.
CHANGEABLE = ("url", "server_nodes")

KEPT = ("local", "runtime", "app", "image", "max_concurrent_envs", "workers_per_node")
"""Of the deployments of an experiment, what does not change while it goes on."""

SIZES = {"workers_per_node", "max_concurrent_envs"}
"""What `--sessions` chooses where it is not given."""


def search_options(command: F) -> F:
    """Which ceiling, and how exactly."""
    for option in reversed(
        (
            click.option("--wait", metavar="S", help="seconds that a step waits [default: 1.0]"),
            click.option(
                "--wait-grid", metavar="S,S,...", help="a ceiling for each of these waits"
            ),
            click.option(
                "--start", default="32", metavar="N", help="the first batch [default: 32]"
            ),
            click.option(
                "--max-batch",
                metavar="N",
                help="no larger batch [default: what load workers, ports and Envoy can open]",
            ),
            click.option(
                "--precision",
                default="0.05",
                metavar="SHARE",
                help="go on until the batch that fails is no more than that share above the ceiling; 0: "
                "until the ceiling is exact [default: 0.05]",
            ),
            click.option(
                "--reps",
                default="3",
                metavar="N",
                help="repetitions: each after the first confirms or moves the bracket [default: 3]",
            ),
            click.option(
                "--success",
                default="0.95",
                metavar="SHARE",
                help="of a batch, how many sessions must succeed [default: 0.95]",
            ),
            click.option(
                "--p99",
                metavar="EXPRESSION",
                help="the most seconds that 99 % of the sessions may take, as 'wait*2+1'",
            ),
            click.option("--json", "as_json", is_flag=True, help="print JSON"),
        )
    ):
        command = option(command)
    return command


def phase_options(command: F) -> F:
    """`load_options` without what an experiment knows by itself."""
    decorated: Any = load_options(command)
    parameters = decorated.__click_params__
    decorated.__click_params__ = [each for each in parameters if each.name not in OF_THE_PHASE]
    return command


@click.command()
@load_options
@search_options
def ceiling(**options: Any) -> None:
    """Find the largest batch that meets the criterion: batches grow until one fails, then the gap is
    halved, which leaves a bracket of a batch that passed and one that failed; each repetition after the
    first confirms or moves the bracket."""
    options = _resumed(options)
    wanted = _wanted(options)
    answers = _find(wanted, options, resolve(wanted.grid.url))
    if options["as_json"]:
        _print_json(answers)
    else:
        print_answers(answers)
        out.print(f"results: {options['output_dir']}", markup=False)


@search_options
@phase_options
@click.option(
    "--server-nodes", metavar="N,N,...", help="numbers of servers to find the ceiling of, as 1,2,4"
)
@click.option(
    "--baseline",
    default="direct",
    metavar="direct|envoy",
    help="one server alone, as in the runbook's phase 1, or behind an Envoy [default: direct]",
)
def experiment(deployment: Deployment, **options: Any) -> None:
    """Find the ceiling of 1, 2, 4 … servers, a deployment for each, and how well it scales. Takes the
    options of `up` but --nodes and --dir.

    Each ceiling is searched as `ceiling` does: each repetition after the first confirms or moves the
    bracket. A deployment that a killed experiment left is ended with `launcher down experiment`.
    """
    from launcher.experiment import scaling_run as experiments
    from launcher.experiment.ceiling import sentence
    from launcher.experiment.journal import experiment_lock, Journal

    options, deployment = _resumed_experiment(options, deployment)
    phases = _phases(options, deployment)
    wanted = _wanted(options | OF_THE_PHASE)
    experiments.check(phases)
    folder = options["output_dir"]
    asked = {
        "arguments": sys.argv[1:],
        "criterion": wanted.criterion.text,
        "server_nodes": [phase.servers for phase in phases],
        "options": _plain_options(options),
        "deployment": json.loads(deployment.as_given()),
    }

    def measure(phase: "Phase", target: "Target") -> list[dict[str, Any]]:
        answers = _find(_for_phase(wanted, phase, target), options, target)
        for line in answers:
            _say(f"{phase.servers} server(s): {sentence(line)}")
        return answers

    with experiment_lock(folder):
        journal = Journal(folder, asked, resume=options["resume"])
        try:
            experiments.run(phases, journal, _say, measure)
        except Interrupted:
            again = f"--resume --output-dir {shlex.quote(str(folder))}"
            _say(f"to continue, run: launcher experiment {again}")
            raise
        except LauncherError:
            with suppress(LauncherError):
                _report(journal, wanted.criterion, as_json=options["as_json"])
            raise
        _report(journal, wanted.criterion, as_json=options["as_json"])


def _wanted(options: Mapping[str, Any]) -> "CeilingSearch":
    """Raises `UsageError`."""
    from launcher.experiment.ceiling import CeilingSearch

    if options["shape"] == "open":
        raise UsageError(
            "--shape open has no batches to search: its sessions arrive at a rate; use burst or hold"
        )
    start = one(options["start"], "--start", int, 1, MAX_BATCH)
    most = one(options["max_batch"], "--max-batch", int, 1, MAX_BATCH)
    if most is not None and start > most:
        raise UsageError(f"--start {start} is more than --max-batch {most}")
    grid = Grid(
        batches=(start,),
        waits=_waits(options),
        modes=("ws",),
        reps=one(options["reps"], "--reps", int, 1, 1e6),
        **common(dict(options)),
    )
    if grid.timeout <= grid.min_session_seconds:
        raise UsageError(
            f"--timeout {grid.timeout:g} s ends sessions before their wait of "
            f"{grid.min_session_seconds:g} s is over; raise --timeout"
        )
    precision = one(options["precision"], "--precision", float, 0, 1)
    return CeilingSearch(grid, _criterion(options, grid.waits, grid.steps), start, most, precision)


def _waits(options: Mapping[str, Any]) -> tuple[float, ...]:
    if options["wait"] and options["wait_grid"]:
        raise UsageError("--wait and --wait-grid exclude each other")
    flag = "--wait" if options["wait_grid"] is None else "--wait-grid"
    text = options["wait_grid"] or options["wait"] or "1.0"
    waits = numbers(text, flag, float, 0, MAX_WAIT_SECONDS)
    if 0 in waits and options["shape"] == "burst":
        raise UsageError(
            f"{flag} 0: sessions that wait for nothing are not open together, so that they have no "
            "ceiling; give a wait, or --shape hold"
        )
    return waits


def _criterion(options: Mapping[str, Any], waits: Sequence[float], steps: int) -> "Criterion":
    from analysis.scaling.criterion import Criterion

    success = one(options["success"], "--success", float, 0.001, 1)
    try:
        criterion = Criterion(success, options["p99"])
        for wait in waits if criterion.p99 else ():
            criterion.limit({"wait_seconds": wait, "steps": steps})
    except ResultsError as failure:
        raise UsageError(f"--p99: {failure}") from None
    return criterion


def _given() -> set[str]:
    """The options that stand on the command line."""
    context = click.get_current_context()
    source = context.get_parameter_source
    return {name for name in context.params if source(name) is ParameterSource.COMMANDLINE}


def _resumed(options: dict[str, Any]) -> dict[str, Any]:
    """With --resume, options that are not given are those recorded."""
    if options["output_dir"] is None and not options["resume"]:
        return options | {"output_dir": default_output()}
    if not options["resume"]:
        return options
    folder = _resumed_folder(options)
    run = read_run(folder)
    if "search" not in run:
        raise UsageError(f"{folder} holds a grid, not a search for a ceiling; omit --resume")
    return _merged(folder, options, run["search"] | {"url": run["grid"]["url"]})


def _resumed_experiment(
    options: dict[str, Any], deployment: Deployment
) -> tuple[dict[str, Any], Deployment]:
    for name in ("nodes", "dir"):
        if name in deployment.model_fields_set:
            raise UsageError(f"--{name} is for `up`: an experiment chooses it by --server-nodes")
    if options["output_dir"] is None and not options["resume"]:
        raise UsageError("an experiment requires --output-dir")
    if not options["resume"]:
        return options, deployment
    folder = _resumed_folder(options)
    recorded = read_recorded(folder, EXPERIMENT, "options", "deployment")
    merged = _merged(folder, options, recorded["options"])
    return merged, _same_deployment(folder, deployment, recorded["deployment"])


def _resumed_folder(options: Mapping[str, Any]) -> Path:
    if options["output_dir"] is None:
        raise UsageError("--resume requires --output-dir")
    return Path(options["output_dir"])


def _merged(folder: Path, options: Mapping[str, Any], recorded: Line) -> dict[str, Any]:
    given = _given() & options.keys()
    return merge(folder, options, given, recorded, per_start=PER_START, changeable=CHANGEABLE)


def _same_deployment(folder: Path, now: Deployment, recorded: Line) -> Deployment:
    given = json.loads(now.as_given())
    unset = dict.fromkeys(KEPT)
    changeable = set(given) - set(KEPT)
    merged = merge(folder, given, set(given), {**unset, **recorded}, changeable=changeable)
    try:
        return Deployment(**{name: merged[name] for name in {**recorded, **given}})
    except ValidationError as failure:
        raise UsageError(f"{folder}: {failure.errors()[0]['msg']}") from None


def _plain_options(options: Mapping[str, Any]) -> dict[str, Any]:
    return {name: str(v) if isinstance(v, Path) else v for name, v in options.items()}


def _phases(options: Mapping[str, Any], deployment: Deployment) -> list["Phase"]:
    from launcher.experiment.scaling_run import phases

    if deployment.sessions is not None and not deployment.model_fields_set >= SIZES:
        raise UsageError(
            "--sessions would give servers of each phase other places, and phases could not be compared; "
            "give --workers-per-node, --max-concurrent-envs and --envoy-processes instead"
        )
    if options["server_nodes"] is None:
        raise UsageError("how many servers? give --server-nodes N,N,... as 1,2,4")
    servers = numbers(options["server_nodes"], "--server-nodes", int, 1, 99_999)
    if options["baseline"] not in ("direct", "envoy"):
        raise UsageError(f"--baseline {options['baseline']!r} is neither direct nor envoy")
    return phases(deployment, servers, options["baseline"], options["output_dir"])


def _for_phase(wanted: "CeilingSearch", phase: "Phase", target: "Target") -> "CeilingSearch":
    grid = replace(
        wanted.grid,
        url=target.url,
        output=phase.folder,
        expected_hosts=phase.servers,
        require_hosts=True,
        resume=(phase.folder / RUN).exists(),
    )
    return replace(wanted, grid=grid)


def _find(
    wanted: "CeilingSearch", options: Mapping[str, Any], target: "Target"
) -> list[dict[str, Any]]:
    from launcher.experiment import grid_run as grids
    from launcher.experiment.ceiling import batch_limit, find_ceilings, largest_batch

    sessions = largest_batch(wanted, target)
    wanted = replace(wanted, grid=grids.with_source_addresses(wanted.grid, sessions))
    placement = grids.check(wanted.grid, target, sessions)
    limit = batch_limit(wanted, placement)
    recording = grids.open_recording(wanted.grid, placement, {"search": _plain_options(options)})
    _say(
        f"searching the ceiling of {wanted.grid.url}, {wanted.criterion.text}, batches from "
        f"{wanted.start} to {limit.batch}; {placement}"
    )
    display = Display()
    try:
        return find_ceilings(wanted, placement, limit, recording, display)
    except ResultsError as failure:
        raise ResultInvalid(str(failure)) from None
    finally:
        display.bar.stop()


def _report(journal: "Journal", criterion: "Criterion", *, as_json: bool) -> None:
    """Of whatever there is."""
    from analysis.report.report import INSTALL, write

    measured = [folder for folder in journal.folders if (folder / RUN).exists()]
    if not measured:
        return
    try:
        made = write(measured, journal.folder, criterion)
    except ResultsError as failure:
        raise ResultInvalid(str(failure)) from None
    for warning in made.warnings:
        err.print(f"warning: {warning}", markup=False, style="yellow")
    if made.missing:
        _say(f"no {made.missing} here, so there is no report.html: {INSTALL}")
    told = scaling_told(journal.folder)
    told["caveats"] += journal.caveats
    if as_json:
        _print_json({**told, "experiment": journal.content})
    else:
        print_scaling(told)
        out.print(f"results and report: {journal.folder}", markup=False)


def _print_json(content: Any) -> None:
    print(json.dumps(content, indent=2, default=str), flush=True)


def _say(text: str) -> None:
    err.print(text, markup=False)
