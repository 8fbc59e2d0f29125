"""The sentences of a report, each computed from the tables."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from analysis.report_series import (
    column,
    curve_key,
    known,
    Line,
    Panel,
    plural,
    points,
    steepest,
    success,
    total,
    unevenness,
)
from analysis.report_words import count, listed, percent, seconds, span
from analysis.results import Results
from analysis.scaling import Usl

TARGET = 100_000
"""Sessions of the question that a report answers: how many nodes for so many?"""

MOST_REASONS = 6

ONE_COUNT = "ceilings of one number of servers do not tell how they grow"

SHARED = "The load ran on a node that it measured ({where}): the figures are of both together."


def subject(line: Line, servers: bool = True) -> str:
    """Of which cells a ceiling is: 2 servers, wait 1 s. What is usual is not said."""
    parts = []
    if servers:
        number = line["servers"]
        parts.append(plural(int(number), "server") if known(number) else "unknown servers")
    parts.append(f"wait {line['wait_seconds']:g} s")
    if line["mode"] != "ws":
        parts.append(str(line["mode"]))
    if line["shape"] != "burst":
        parts.append(f"shape {line['shape']}")
    if line["steps"] != 1:
        parts.append(plural(int(line["steps"]), "step"))
    return ", ".join(parts)


def ceiling_sentence(line: Line) -> str:
    """One line of ceilings.csv."""
    if not line["repetitions"]:
        return f"{subject(line)}: no ceiling, as no cell is VALID."
    if not known(line["ceiling"]) or not line["ceiling"]:
        first = line["first_failing"]
        tried = f"; {count(first)}, the smallest that failed" if known(first) else ""
        return f"{subject(line)}: no batch met the criterion{tried}.{_bound(line)}"
    number = count(line["ceiling"])
    if not line["reached"]:
        text = (
            f"{subject(line)}: at least {number} sessions; no larger batch failed, so the ceiling "
        )
        return f"{text}itself was not reached. {_interval(line)}{_bound(line)}"
    return (
        f"{subject(line)}: ceiling {number} sessions, mean success there "
        f"{percent(line['success_at_ceiling'])}.{_failing(line)} {_interval(line)}{_bound(line)}"
    )


def _failing(line: Line) -> str:
    first = line["first_failing"]
    if not known(first):
        return ""
    if first <= line["ceiling"]:
        return f" Not in every repetition: {count(first)} failed in some."
    return f" {count(first)} failed."


def _interval(line: Line) -> str:
    if not known(line["ceiling_low"]):
        return "One repetition: no interval."
    low, high = (float(line[f"ceiling_{end}"]) for end in ("low", "high"))
    if low == high:
        return f"The same in all {plural(int(line['repetitions']), 'repetition')}."
    return (
        f"95 % interval {span(low, high)} (bootstrap over "
        f"{plural(int(line['repetitions']), 'repetition')}: {line['by_repetition']})."
    )


def _bound(line: Line) -> str:
    if not known(line["bound"]):
        return ""
    evidence = f": {line['bound_evidence']}" if known(line["bound_evidence"]) else ""
    return f" Bound by: {line['bound']}{evidence}."


def efficiency_sentences(lines: Sequence[Line]) -> list[str]:
    """Of scaling.csv, each line beyond its baseline."""
    said = []
    for line in lines:
        if line["servers"] == baseline(line, lines)["servers"]:
            continue
        base = plural(int(baseline(line, lines)["servers"]), "server")
        if not known(line["efficiency"]):
            said.append(f"{subject(line)}: no efficiency, as {base} has no ceiling.")
            continue
        said.append(
            f"{subject(line)}: {line['scaling_factor']:.2f} times the ceiling of {base}; efficiency "
            f"{percent(line['efficiency'])}{_band(line)}: {line['interpretation']}."
        )
    return said


def _band(line: Line) -> str:
    if not known(line["efficiency_low"]):
        return " (one repetition: no interval)"
    low, high = percent(line["efficiency_low"]), percent(line["efficiency_high"])
    return f" (95 % interval {low} to {high})"


def baseline(line: Line, lines: Sequence[Line]) -> Line:
    """The line of the fewest servers among those that differ in nothing else."""
    return min((one for one in lines if curve_key(one) == curve_key(line)), key=_servers)


def _servers(line: Line) -> float:
    return float(line["servers"])


def cell_name(line: Line) -> str:
    extra = "" if line["shape"] == "burst" else f" {line['shape']}"
    if known(line["arrival_rate"]):
        extra += f" at {line['arrival_rate']:g}/s"
    steps = "" if line["steps"] == 1 else f", {plural(int(line['steps']), 'step')}"
    return (
        f"{line['mode']}{extra} {count(line['batch_size'])} × {line['wait_seconds']:g} s{steps} "
        f"#{line['repetition']}"
    )


def validity_sentences(lines: Sequence[Line]) -> list[str]:
    """How many cells are VALID, and why others are not: one sentence for each reason."""
    bad = [line for line in lines if not line["valid"]]
    if not bad:
        return [
            f"All {plural(len(lines), 'cell')} are VALID." if len(lines) > 1 else "1 cell, VALID."
        ]
    why: dict[str, list[str]] = {}
    for line in bad:
        why.setdefault(str(line["reasons"]), []).append(cell_name(line))
    few = list(why.items())[:MOST_REASONS]
    more = len(bad) - sum(len(names) for _, names in few)
    return [
        f"{len(lines) - len(bad)} of {plural(len(lines), 'cell')} are VALID, {len(bad)} INVALID.",
        *(f"INVALID: {listed(names)}: {reason}." for reason, names in few),
        *([f"INVALID for other reasons: {plural(more, 'cell')}, see all cells."] if more else []),
    ]


def status_sentences(results: Sequence[Results]) -> list[str]:
    """Runs that did not end as planned."""
    said = []
    for one in results:
        status, planned = one.run.get("status"), one.run.get("planned_cells")
        if status and status != "complete":
            error = f": {one.run['error']}" if one.run.get("error") else ""
            cells = plural(len(one.summary), "cell")
            of = f" of {planned}" if planned else ""
            said.append(f"{one.name} is not complete ({status}{error}); {cells}{of} recorded.")
    return said


def sharing_sentence(results: Sequence[Results]) -> str:
    """Whether the load had nodes of its own."""
    known_of = {
        one.name: one.run["placement"].get("load_shares_node")
        for one in results
        if one.run.get("placement")
    }
    shared = [name for name, shares in known_of.items() if shares]
    if shared:
        return SHARED.format(where=listed(shared))
    if len(known_of) == len(results) and all(shares is False for shares in known_of.values()):
        return "The load ran on no node that it measured."
    return "Whether the load shared a node with what it measured is not known."


def warning_sentences(results: Sequence[Results], lines: Sequence[Line]) -> list[str]:
    """Warnings of folders, then those of cells, each once with how many cells have it."""
    told = [
        text if len(results) == 1 else f"{one.name}: {text}"
        for one in results
        for text in one.warnings
    ]
    of_cells = Counter(
        text
        for line in lines
        if known(line["warnings"])
        for text in str(line["warnings"]).split("; ")
    )
    cells = [f"{text} (in {plural(number, 'cell')})" for text, number in of_cells.most_common(12)]
    more = len(of_cells) - len(cells)
    return [*told, *cells, *([f"and {plural(more, 'other warning')} of cells"] if more else [])]


def nodes_sentence(fit: Usl | None, why_not: str | None, target: int = TARGET) -> str:
    """How many servers for `target` sessions, and how far beyond what was measured that is."""
    question = f"How many nodes for {count(target)} sessions?"
    if fit is None:
        return f"{question} It cannot be said: {why_not or ONE_COUNT}."
    least, most = min(fit.servers), max(fit.servers)
    beyond = f"This is an EXTRAPOLATION: the law was fitted on {least} to {most} servers"
    nodes = fit.nodes_for(target)
    if nodes.best is None:
        reach = f", at best {nodes.low:,} would be" if nodes.low else ""
        return f"{question} By the fit no number of servers is enough{reach}. {beyond}."
    answer = f"{question} {plural(nodes.best, 'server')} ({_nodes_range(fit, target)})"
    if nodes.best <= most:
        return f"{answer}, within what was measured."
    return f"{answer}. {beyond}, and {nodes.best:,} is {nodes.best / most:.3g} times as many."


def _nodes_range(fit: Usl, target: int) -> str:
    if not fit.samples:
        return "one repetition: no range"
    low, _, high = fit.nodes_for(target)
    end = "to no number being enough" if high is None else f"to {high:,}"
    return f"95 % range {low:,} {end}" if low is not None else "95 % range: no number is enough"


def fit_sentence(fit: Usl) -> str:
    return (
        f"Fit of the universal scalability law C(N) = {fit.rate:.4g}·N / (1 + {fit.contention:.3g}·(N−1) "
        f"+ {fit.coherence:.3g}·N·(N−1)), C in sessions, on {', '.join(map(str, fit.servers))} servers."
    )


def interval_text(panels: Sequence[Panel]) -> str:
    """What points and bars are."""
    most = max((p.repetitions for p in _all_points(panels)), default=0)
    if most == 0:
        return ""
    if most == 1:
        return "One repetition: no interval."
    return f"Points are means over up to {most} valid repetitions, bars go from the least to the greatest."


def _all_points(panels: Sequence[Panel]) -> list[Any]:
    return [p for panel in panels for wait in panel.waits for p in points(panel, wait, success)]


def invalid_text(panels: Sequence[Panel]) -> str:
    bad = sum(not line["valid"] for panel in panels for line in panel.lines)
    if not bad:
        return ""
    return f"{plural(bad, 'INVALID cell')} drawn as hollow crosses where there is a value, never joined."


def success_text(panels: Sequence[Panel], least: float) -> str:
    """What the figure of success shows, in numbers."""
    said = []
    for panel in panels:
        for wait in panel.waits:
            found = points(panel, wait, success)
            if not found:
                continue
            worst = min(found, key=lambda point: point.mean)
            name = _named(panel, wait)
            if worst.mean >= least:
                said.append(f"{name}: at least {percent(worst.mean)} at every batch")
            else:
                said.append(f"{name}: down to {percent(worst.mean)} at {count(worst.x)}")
    return _semicolons(said) or "No valid cell."


def p99_text(panels: Sequence[Panel], limit: Callable[[Line], float | None]) -> str:
    said = []
    for panel in panels:
        for wait in panel.waits:
            found = points(panel, wait, column("total_p99"))
            if not found:
                continue
            most = limit(panel.line(wait))
            name = _named(panel, wait)
            bounded = f" (criterion {seconds(most)})" if most is not None else ""
            last = found[-1]
            said.append(f"{name}: {seconds(last.mean)} at {count(last.x)}{bounded}")
    return _semicolons(said) or "No session succeeded in a valid cell."


def latency_text(panels: Sequence[Panel]) -> str:
    """The parts of a session at the largest batch of each wait."""
    said = []
    for panel in panels:
        for wait in panel.waits:
            last = {
                part: points(panel, wait, column(f"{part}_p99"))[-1:]
                for part in ("connect", "reset", "step")
            }
            if all(last.values()):
                parts = ", ".join(f"{part} {seconds(p[0].mean)}" for part, p in last.items())
                said.append(f"{_named(panel, wait)} at {count(last['step'][0].x)}: {parts}")
    return f"p99 at the largest batch: {_semicolons(said)}" if said else "No session succeeded."


def partly_text(panels: Sequence[Panel]) -> str:
    """Which fields of the heat map have fewer repetitions than they should."""
    fields: dict[tuple[str, float, float], list[bool]] = {}
    for panel in panels:
        for line in panel.lines:
            field = (panel.title, line[panel.x], line["wait_seconds"])
            fields.setdefault(field, []).append(bool(line["valid"]))
    partly = [
        f"{f'{title}, ' if title else ''}{count(x)} × {wait:g} s ({sum(valid)} of {len(valid)})"
        for (title, x, wait), valid in fields.items()
        if 0 < sum(valid) < len(valid)
    ]
    return f"Fewer valid repetitions: {listed(partly)}." if partly else ""


def heat_text(panels: Sequence[Panel]) -> str:
    all_points = _all_points(panels)
    if not all_points:
        return "No valid cell."
    low, high = min(p.mean for p in all_points), max(p.mean for p in all_points)
    return f"{plural(len(all_points), 'field')}, from {percent(low)} to {percent(high)}."


def open_text(panels: Sequence[Panel], limit: int) -> str:
    """The highest curve of each panel, and how many are not drawn."""
    said = []
    for panel in panels:
        every = steepest(panel, len(panel.lines))
        if not every:
            continue
        highest = max(every, key=lambda cell: max(cell[1].curve[1]))
        most = max(highest[1].curve[1])
        name = f"{panel.title}: at" if panel.title else "At"
        drawn = (
            f"; the {limit} largest of {len(every)} curves are drawn" if len(every) > limit else ""
        )
        said.append(f"{name} most {count(most)} open, in {cell_name(highest[0])}{drawn}")
    return _semicolons(said) or "No session was open."


def _semicolons(said: Sequence[str], most: int = 9) -> str:
    more = [f"and {len(said) - most} more"] if len(said) > most else []
    return f"{'; '.join([*said[:most], *more])}." if said else ""


def _named(panel: Panel, wait: float) -> str:
    return f"{panel.title}, wait {wait:g} s" if panel.title else f"wait {wait:g} s"


def distribution_text(panels: Sequence[Panel]) -> str:
    """max / mean over all valid cells, and in the most uneven of them."""
    return " ".join(filter(None, (_distributed(panel) for panel in panels)))


def _distributed(panel: Panel) -> str:
    cells = [
        (line, detail)
        for line, detail in zip(panel.lines, panel.details, strict=True)
        if line["valid"]
    ]
    told = []
    for name, counts in (
        ("host", [detail.hosts for _, detail in cells]),
        ("load worker", [detail.load_workers for _, detail in cells]),
    ):
        together = total(counts)
        if not sum(together.values()):
            told.append(f"{name}s unknown")
            continue
        text = f"{plural(len(together), name)}, max/mean {unevenness(together):.2f}"
        worst, line = max(
            ((unevenness(one), line) for one, (line, _) in zip(counts, cells, strict=True) if one),
            key=lambda pair: pair[0],
        )
        told.append(f"{text}; most uneven cell {cell_name(line)}: {worst:.2f}")
    where = f"{panel.title}: " if panel.title else ""
    return f"{where}{'. '.join(told)}."


def even(counts: Mapping[str, int]) -> str:
    """The runbook's word for a distribution: even up to 10 % above the mean."""
    ratio = unevenness(counts)
    if ratio != ratio:  # noqa: PLR0124 (NaN)
        return "unknown"
    return f"{'even' if ratio <= 1.1 else 'uneven'} (max/mean {ratio:.2f})"


DEFINITIONS = {
    "session": "one WebSocket connection with one environment: connect, reset, steps, close.",
    "cell": "one (mode, shape, batch, wait, steps, arrival rate, repetition). Of several attempts the "
    "last one counts.",
    "batch": "how many sessions a cell starts.",
    "wait": "seconds that the environment waits within a step.",
    "shape": "burst: all sessions start together. hold: all open, then all step together, then all "
    "close. open: sessions arrive at a given rate whatever the system does.",
    "success": "sessions that did all of their steps without an error, as a share of the batch.",
    "p50, p99": "percentiles over the successful sessions of a cell, linear between rows; "
    "computed from raw.jsonl.",
    "total": "from the start of a session's connect to its end; in shape open from its intended start.",
    "step": "mean over the steps of a session; contains the wait.",
    "rps": "successful sessions per second of wall time, from the first start to the last end.",
    "ceiling": "largest batch with a valid cell that meets the criterion. 'At least': no larger batch "
    "failed. Of one repetition: largest batch that met it before any smaller one failed.",
    "interval of a ceiling": "95 % bootstrap interval of the mean over the ceilings of the repetitions, "
    "widened to contain the ceiling itself.",
    "efficiency": "ceiling / (baseline ceiling × servers / baseline servers); the baseline is the fewest "
    "servers measured.",
    "USL": "universal scalability law (Gunther): C(N) = rate·N / (1 + contention·(N−1) + "
    "coherence·N·(N−1)).",
    "INVALID": "a cell that says nothing about what it meant to measure: sessions or workers of the load "
    "lost, a load worker late, too few hosts reached, a server replaced, a node shared with the load.",
    "bound": "what kept larger batches from succeeding, by the measurement named as evidence.",
    "peak open": "most sessions open at one moment, between connect and end, from the rows.",
    "start spread": "p99 of actual start − intended start.",
    "load lag": "most that a load worker's loop ran late.",
    "max/mean": "sessions of the busiest host (or load worker) by the mean over all; 1 is even.",
}
