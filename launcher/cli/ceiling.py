"""The command `ceiling`, and the search that it shares with `experiment`."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, TYPE_CHECKING

import click

from analysis.errors import ResultsError
from analysis.scaling.criterion import Criterion
from launcher.cli.display.console import out, print_json, say
from launcher.cli.display.progress import Display
from launcher.cli.display.scaling_tables import print_answers
from launcher.cli.grid import common, load_options, resumed_run, wait_options, waits
from launcher.cli.options import criterion_options, given_options, json_option, option, options
from launcher.cli.parameters import Integer, Number
from launcher.errors import ResultInvalid, UsageError
from launcher.experiment import grid_run
from launcher.experiment.grid import default_output, Grid, MAX_BATCH
from launcher.experiment.resume import merge
from launcher.experiment.target import resolve, Target

if TYPE_CHECKING:
    from launcher.experiment.ceiling import CeilingSearch  # imports pandas

# Options that are chosen anew each time a search is resumed.
PER_START = (
    *("url", "name", "output_dir", "load_workers", "source_addresses", "require_valid"),
    *("resume", "as_json"),
)

search_options = options(
    wait_options,
    option("--start", "The first batch.", Integer(1, MAX_BATCH), default=32),
    option("--max-batch", "The largest batch to try.", Integer(1, MAX_BATCH),
           default_text="what load workers, ports and Envoy can open"),
    option("--precision", "Search until the failing batch is at most this share above the ceiling; "
           "0 searches for the exact ceiling.", Number(0, 1), default=0.05),
    option("--reps", "The repetitions of the search; each after the first confirms or moves the "
           "bracket.", Integer(1, 1_000_000), default=3),
    criterion_options,
    json_option,
)  # fmt: skip


@click.command()
@load_options
@search_options
def ceiling(**values: Any) -> None:
    """Find the largest batch that meets the criterion.

    Batches grow until one fails; then the gap is halved until a passing and a failing batch are
    close to each other. Each repetition after the first confirms or moves this bracket.
    """
    values = _resumed(values)
    search = requested_search(values)
    answers = run_search(search, values, resolve(search.grid.url))
    if values["as_json"]:
        print_json(answers)
    else:
        print_answers(answers)
        out.print(f"results: {values['output_dir']}")


def requested_search(values: Mapping[str, Any]) -> "CeilingSearch":
    """Raises `UsageError`."""
    from launcher.experiment.ceiling import CeilingSearch

    if values["shape"] == "open":
        raise UsageError(
            "--shape open cannot be searched: its sessions arrive at a rate, not in batches; use burst "
            "or hold"
        )
    start, max_batch = values["start"], values["max_batch"]
    if max_batch is not None and start > max_batch:
        raise UsageError(f"--start {start} is more than --max-batch {max_batch}")
    waits = _search_waits(values)
    grid = Grid(batches=(start,), waits=waits, reps=values["reps"], **common(values))
    grid_run.check_timeout(grid)
    criterion = _criterion(values, waits, grid.steps)
    return CeilingSearch(grid, criterion, start, max_batch, values["precision"])


def _search_waits(values: Mapping[str, Any]) -> tuple[float, ...]:
    chosen = waits(values)
    if 0 in chosen and values["shape"] == "burst":
        raise UsageError(
            f"{'--wait' if values['wait_grid'] is None else '--wait-grid'} 0: sessions that do not "
            "wait are not open at the same time, so they have no ceiling; give a wait, or --shape hold"
        )
    return chosen


def _criterion(values: Mapping[str, Any], waits: Sequence[float], steps: int) -> Criterion:
    try:
        criterion = Criterion(values["success"], values["p99"])
        for wait in waits if criterion.p99 else ():
            criterion.limit({"wait_seconds": wait, "steps": steps})
    except ResultsError as failure:
        raise UsageError(f"--p99: {failure}") from None
    return criterion


def _resumed(values: dict[str, Any]) -> dict[str, Any]:
    """With --resume, options that are not given have the values that the search was started with."""
    if not values["resume"]:
        return values | {"output_dir": values["output_dir"] or default_output()}
    run = resumed_run(values)
    if "search" not in run:
        folder = values["output_dir"]
        raise UsageError(f"{folder} holds a grid, not a search for a ceiling; omit --resume")
    return merge_options(values, run["search"])


def merge_options(values: Mapping[str, Any], recorded: Mapping[str, Any]) -> dict[str, Any]:
    """Raises `UsageError` if an option on the command line differs from the recorded one."""
    context = click.get_current_context()
    parameters = {each.name: each for each in context.command.params}
    typed = {
        name: parameters[name].type_cast_value(context, value)
        for name, value in recorded.items()
        if name in values and name not in PER_START
    }
    given = given_options() & values.keys()
    # An experiment can be extended by other numbers of servers.
    changeable = ("server_nodes",)
    folder = values["output_dir"]
    return merge(folder, values, given, typed, per_start=PER_START, changeable=changeable)


def run_search(
    search: "CeilingSearch", values: Mapping[str, Any], target: Target
) -> list[dict[str, Any]]:
    from launcher.experiment.ceiling import batch_limit, find_ceilings, largest_batch

    sessions = largest_batch(search, target)
    search = replace(search, grid=grid_run.with_source_addresses(search.grid, sessions))
    placement = grid_run.check(search.grid, target, sessions)
    limit = batch_limit(search, placement)
    recording = grid_run.open_recording(search.grid, placement, {"search": values})
    say(
        f"searching for the ceiling of {search.grid.url}, {search.criterion.text}, batches from "
        f"{search.start} to {limit.batch}; {placement}"
    )
    display = Display()
    try:
        return find_ceilings(search, placement, limit, recording, display)
    except ResultsError as failure:
        raise ResultInvalid(str(failure)) from None
    finally:
        display.bar.stop()
