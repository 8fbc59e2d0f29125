"""What kept a cell from going better, judged by counters. Pure.

What counted sessions that failed comes before what only was busy: a refusal is a fact, a busy CPU an
explanation.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from analysis.cells.bound_rules import Candidate, Cell, RULES
from analysis.cells.samples import Sample, Sampled

UNKNOWN = "unknown"


def bound(
    line: Mapping[str, Any],
    errors: Mapping[str, int],
    messages: Sequence[str],
    samples: Sequence[Sample],
    facts: Mapping[str, Any],
    caps: Mapping[str, Any],
) -> dict[str, Any]:
    """What bound one cell: {"by": a name, "evidence": a sentence, "candidates": all that it may have
    been, the most direct first}.

    `line` is the cell's of summary.csv, `errors` counts its rows by error, `messages` are a few of
    theirs, `samples` as `Sampler.of_cell` gives them, `facts` the cell's of run.json.
    """
    cell = Cell(line, errors, "\n".join(messages).lower(), Sampled(samples), facts, caps)
    found = [candidate for rule in RULES for candidate in rule(cell)]
    found.sort(key=lambda candidate: candidate.rank)
    first = next((each for each in found if each.rank[0] < 3), None)
    first = first or Candidate(UNKNOWN, _seen(cell))
    candidates = [{"by": each.by, "evidence": each.evidence} for each in found]
    return {"by": first.by, "evidence": first.evidence, "candidates": candidates}


def _seen(cell: Cell) -> str:
    """What was looked at without a finding."""
    worst = max(cell.errors.items(), key=lambda pair: pair[1], default=None)
    what = (
        f"{worst[1]:,} of {cell.batch:,} sessions ended with {worst[0]}" if worst else "none failed"
    )
    seen = [_busiest(cell, "the load", "load-"), _busiest(cell, "servers", "server-")]
    seen.append(_busiest(cell, "Envoy", "envoy"))
    used, limit = cell.places
    if limit:
        seen.append(f"places {used:,} of {limit:,}")
    if usages := cell.sampled.usages(""):
        seen.append(f"descriptors at most {max(usage.fullness for usage in usages):.0%}")
    if overflows := cell.sampled.rise("node", "listen_overflows"):
        seen.append(f"{overflows:,} connections found a listening queue full")
    told = ", ".join(text for text in seen if text)
    return f"{what}; " + (f"looked at: {told}" if told else "there are no samples of it")


def _busiest(cell: Cell, what: str, prefix: str) -> str:
    usages = cell.sampled.usages(prefix)
    return f"{what} busy {max(usage.busiest for usage in usages):.0%}" if usages else ""
