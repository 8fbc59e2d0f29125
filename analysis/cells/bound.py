"""What limited a cell, judged by counters. Pure.

Counters of failed sessions come before busy CPUs: a refusal is a fact, a busy CPU an explanation.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from analysis.cells.bound_cell import Candidate, causes, Cell
from analysis.cells.bound_rules import RULES
from analysis.cells.reasons import Bound
from analysis.cells.samples import Sample, Sampled


def bound(
    line: Mapping[str, Any],
    messages: Sequence[str],
    samples: Sequence[Sample],
    facts: Mapping[str, Any],
    caps: Mapping[str, Any],
) -> dict[str, Any]:
    """What limited one cell, as run.json keeps it: {"by": `Bound`, "evidence": a text, "candidates":
    everything that may have limited it, the most direct first}.

    `line` is the cell's summary, `messages` are error messages of some of its rows, `samples` what
    `Sampler.cell_samples` returns, `facts` the cell's entry in run.json.
    """
    cell = Cell(line, line["errors"], causes(messages), Sampled(samples), facts, caps)
    candidates = sorted(
        (candidate for rule in RULES for candidate in rule(cell)), key=lambda each: each.rank
    )
    first = next((each for each in candidates if each.limits), None)
    first = first or Candidate(Bound.UNKNOWN, _inspected(cell))
    return first.as_dict() | {"candidates": [candidate.as_dict() for candidate in candidates]}


def _inspected(cell: Cell) -> str:
    """The values that were inspected when none of them explains the cell."""
    worst = max(cell.errors.items(), key=lambda pair: pair[1], default=None)
    failures = (
        f"{worst[1]:,} of {cell.batch:,} sessions ended with {worst[0]}"
        if worst
        else "no session failed"
    )
    values = [_busiest(cell, "load workers", "load-"), _busiest(cell, "servers", "server-")]
    values.append(_busiest(cell, "Envoy", "envoy"))
    used, limit = cell.places
    if limit:
        values.append(f"places {used:,} of {limit:,}")
    if usages := cell.sampled.usages(""):
        values.append(f"descriptors at most {max(usage.fullness for usage in usages):.0%}")
    if overflows := cell.sampled.rise("node", "listen_overflows"):
        values.append(f"{overflows:,} connections met a full listen queue")
    inspected = ", ".join(text for text in values if text)
    return f"{failures}; " + (f"inspected: {inspected}" if inspected else "there are no samples")


def _busiest(cell: Cell, what: str, prefix: str) -> str:
    usages = cell.sampled.usages(prefix)
    return f"{what} busy {max(usage.busiest for usage in usages):.0%}" if usages else ""
