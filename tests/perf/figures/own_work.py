"""The cost of a sample of all processes, and of a large summary."""

from tests.perf.processes import output_of, python
from tests.perf.run import Run

SECONDS = 300.0


def sampling(run: Run) -> None:
    run.settle()
    more = ("--seconds", "2") if run.quick else ()
    argv = python("tests.perf.sampling_cost", "--json", "--sessions", str(run.sizes.sampled), *more)
    outcome = output_of(argv, SECONDS, run.log("sampling"))
    values = {"sample_ms": outcome["sample_ms"], "core_percent": 100 * outcome["core_share"]}
    run.record("sampling", "kit", 1, values)


def summary(run: Run) -> None:
    run.settle()
    argv = python("tests.perf.summary_size", "--json", "--rows", str(run.sizes.rows))
    outcome = output_of(argv, SECONDS, run.log("summary"))
    run.record("summary", "kit", 1, {name: float(value) for name, value in outcome.items()})
