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
from analysis.results.file_names import RUN
from benchmark.server.environment import MAX_WAIT_SECONDS
from launcher.cli.console import err, out
from launcher.cli.grid import common, load_options
from launcher.cli.options import one
from launcher.cli.progress import Display
from launcher.cli.scaling_tables import print_answers, print_scaling, scaling_told
from launcher.deployment.spec import Deployment
from launcher.errors import LauncherError, ResultInvalid, UsageError
from launcher.experiment.grid import default_output, Grid, MAX_BATCH, numbers
from launcher.system.files import read_json
from launcher.system.signals import Interrupted

if TYPE_CHECKING:
    from analysis.scaling.criterion import Criterion
    from launcher.experiment.ceiling import Wanted
    from launcher.experiment.scaling_run import Journal, Phase

F = TypeVar("F", bound=Callable[..., Any])
Line = Mapping[str, Any]

OF_THE_PHASE = {"url": "http://of-its-deployment", "expected_hosts": None, "require_hosts": False}
"""What an experiment knows by itself, and is not asked."""

MAY_DIFFER = {
    *("url", "output_dir", "load_workers", "source_addresses", "require_valid", "resume"),
    *("as_json", "server_nodes"),
}
"""Between one sitting and the next; `server_nodes` may become more."""

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
    options = _gone_on(options)
    answers = _find(_wanted(options), options)
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

    options, deployment = _experiment_gone_on(options, deployment)
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

    def measure(phase: "Phase", connection: Mapping[str, str]) -> list[dict[str, Any]]:
        answers = _find(_for_phase(wanted, phase, connection), options)
        for line in answers:
            _say(f"{phase.servers} server(s): {sentence(line)}")
        return answers

    with experiments.held(folder):
        journal = experiments.Journal(folder, asked, resume=options["resume"])
        try:
            experiments.run(phases, journal, _say, measure)
        except Interrupted:
            again = f"--resume --output-dir {shlex.quote(str(folder))}"
            _say(f"go on with: launcher experiment {again}")
            raise
        except LauncherError:
            with suppress(LauncherError):
                _report(journal, wanted.criterion, as_json=options["as_json"])
            raise
        _report(journal, wanted.criterion, as_json=options["as_json"])


def _wanted(options: Mapping[str, Any]) -> "Wanted":
    """Raises `UsageError`."""
    from launcher.experiment.ceiling import Wanted

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
    if grid.timeout <= grid.longest:
        raise UsageError(
            f"--timeout {grid.timeout:g} s ends sessions before their wait of {grid.longest:g} s is "
            "over; raise --timeout"
        )
    precision = one(options["precision"], "--precision", float, 0, 1)
    return Wanted(grid, _criterion(options, grid.waits, grid.steps), start, most, precision)


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


def _gone_on(options: dict[str, Any]) -> dict[str, Any]:
    """With --resume, what is not asked for is what it was begun with."""
    if options["output_dir"] is None and not options["resume"]:
        return options | {"output_dir": default_output()}
    if not options["resume"]:
        return options
    folder = _resumed_folder(options)
    run = read_json(folder / RUN)
    if run is None or "search" not in run:
        raise UsageError(
            f"{folder} has no search for a ceiling to go on with ({RUN} is missing, or a grid's); "
            "leave out --resume"
        )
    merged = _merged(folder, options, run["search"])
    return merged | {"url": options["url"] or run["grid"]["url"]}


def _experiment_gone_on(
    options: dict[str, Any], deployment: Deployment
) -> tuple[dict[str, Any], Deployment]:
    from analysis.results.file_names import EXPERIMENT

    for name in ("nodes", "dir"):
        if name in deployment.model_fields_set:
            raise UsageError(f"--{name} is for `up`: an experiment chooses it by --server-nodes")
    if options["output_dir"] is None and not options["resume"]:
        raise UsageError("--output-dir: where is the experiment to be recorded?")
    if not options["resume"]:
        return options, deployment
    folder = _resumed_folder(options)
    before = read_json(folder / EXPERIMENT)
    if before is None:
        raise UsageError(
            f"{folder} has no experiment to go on with ({EXPERIMENT}); leave out --resume"
        )
    merged = _merged(folder, options, before["options"])
    merged["server_nodes"] = options["server_nodes"] or before["options"]["server_nodes"]
    return merged, _same_deployment(folder, deployment, before["deployment"])


def _resumed_folder(options: Mapping[str, Any]) -> Path:
    if options["output_dir"] is None:
        raise UsageError("--resume needs --output-dir: what is to go on?")
    return Path(options["output_dir"])


def _merged(folder: Path, options: Mapping[str, Any], before: Line) -> dict[str, Any]:
    """Raises `UsageError` where they were asked for and differ."""
    given = (_given() & options.keys()) - MAY_DIFFER
    for name in sorted(given):
        if str(options[name]) != str(before.get(name)):
            raise UsageError(
                f"{folder} was begun with --{name.replace('_', '-')} {before.get(name)}, not "
                f"{options[name]}; leave it out to go on, or choose a new --output-dir"
            )
    kept = {name: value for name, value in before.items() if name not in MAY_DIFFER}
    return {**options, **kept}


def _same_deployment(folder: Path, now: Deployment, before: Line) -> Deployment:
    given = json.loads(now.as_given())
    for name in KEPT:
        if name in given and given[name] != before.get(name):
            raise UsageError(
                f"{folder} was begun with {name} {before.get(name, 'left open')}, not {given[name]}; "
                "ceilings of both cannot be compared: choose a new --output-dir"
            )
    try:
        return Deployment(**{**before, **given})
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


def _for_phase(wanted: "Wanted", phase: "Phase", connection: Mapping[str, str]) -> "Wanted":
    grid = replace(
        wanted.grid,
        url=connection["OPENENV_URL"],
        output=phase.folder,
        expected_hosts=phase.servers,
        require_hosts=True,
        resume=(phase.folder / RUN).exists(),
    )
    return replace(wanted, grid=grid)


def _find(wanted: "Wanted", options: Mapping[str, Any]) -> list[dict[str, Any]]:
    from launcher.experiment import grid_run as grids
    from launcher.experiment.ceiling import begin, find, largest, most

    sessions = largest(wanted)
    wanted = replace(wanted, grid=grids.equipped(wanted.grid, sessions))
    place = grids.check(wanted.grid, sessions)
    limit = most(wanted, place)
    recording = begin(wanted, place, _plain_options(options))
    _say(
        f"searching the ceiling of {wanted.grid.url}, {wanted.criterion.text}, batches from "
        f"{wanted.start} to {limit.batch}; {place.story}"
    )
    watcher = Display()
    try:
        return find(wanted, place, limit, recording, watcher)
    except ResultsError as failure:
        raise ResultInvalid(str(failure)) from None
    finally:
        watcher.bar.stop()


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
