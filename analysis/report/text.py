"""The sentences of a report, each computed from the tables."""

from collections import Counter
from collections.abc import Mapping, Sequence
from math import inf, sqrt

from analysis.cells.codes import Bound
from analysis.report.series import curve_key, Line, unevenness
from analysis.results.folder import Results
from analysis.scaling.brackets import parse
from analysis.scaling.ceilings import censored
from analysis.scaling.efficiency import UNBANDED, Usl
from analysis.words import count, known, listed, percent, plural, span

TARGET = 100_000
"""Sessions of the question that a report answers: how many nodes for so many?"""

MOST_REASONS = 6

MEANS_DIFFER = 0.01
"""Of efficiency: what is said of both."""

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
    name = subject(line)
    if not known(line["ceiling"]):
        return f"{name}: {_no_ceiling(line)}.{_bound(line)}"
    if censored(line):
        return f"{name}: at least {_at_least(line)}.{_interval(line)}{_bound(line)}"
    if not line["ceiling"]:
        first = line["first_failing"]
        tried = f"; {count(first)}, the smallest that failed" if known(first) else ""
        return f"{name}: no batch met the criterion{tried}.{_bound(line)}"
    return (
        f"{name}: ceiling {count(line['ceiling'])} sessions, mean success there "
        f"{percent(line['success_at_ceiling'])}.{_failing(line)}{_interval(line)}{_bound(line)}"
    )


def _no_ceiling(line: Line) -> str:
    hidden, first = line["first_invalid"], line["first_failing"]
    if not known(hidden):
        return "no ceiling, as no cell is VALID"
    failed = f", below {count(first)}, which failed" if known(first) else ""
    return f"the ceiling cannot be told{failed}: {count(hidden)} is INVALID"


def _at_least(line: Line) -> str:
    """The number, and why it is no more than that."""
    number, first, hidden = (line[name] for name in ("ceiling", "first_failing", "first_invalid"))
    if line["reached"]:
        return f"{count(number)} sessions; the {Bound.LOAD} was the bound, so the servers may hold more"
    if not known(hidden):
        return f"{count(number)} sessions; no larger batch failed, so the ceiling itself was not reached"
    if known(first) and first > number:
        return f"{count(number)}, below {count(first)}; cannot be told between: {count(hidden)} is INVALID"
    return f"{count(number)}; cannot be told beyond: {count(hidden)} is INVALID"


def _failing(line: Line) -> str:
    first = line["first_failing"]
    if not known(first):
        return ""
    if first <= line["ceiling"]:
        return f" Not in every repetition: {count(first)} failed in some."
    return f" {count(first)} failed."


def _interval(line: Line) -> str:
    number = int(line["repetitions"])
    if number < 2:
        return _one_repetition(line) if number else ""
    least, most = line["ceiling_low"], line["ceiling_high"]
    if least == most:
        return f" The same in all {plural(number, 'repetition')}."
    over = f"(bootstrap over {plural(number, 'repetition')} and their brackets: {line['brackets']})"
    if not known(most):
        return f" 95 % interval from {count(round(least))} on {over}."
    return f" 95 % interval {span(least, most)} {over}."


def _one_repetition(line: Line) -> str:
    (bracket,) = parse(line["brackets"])
    if bracket.high is None or censored(line) or bracket.most == bracket.low:
        return " One repetition: no interval."
    return (
        f" One repetition: no interval; the ceiling is from {count(bracket.low)} to below "
        f"{count(bracket.high)}."
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
        said.append(f"{subject(line)}: {_efficiency(line, base)}.")
    return said


def _efficiency(line: Line, base: str) -> str:
    told = str(line["interpretation"])
    if told.startswith(UNBANDED):
        return f"efficiency {told}"
    share, of_means = line["efficiency"], line["efficiency_of_means"]
    text = f"efficiency {percent(share)}"
    if known(of_means) and abs(of_means - share) > MEANS_DIFFER:
        text += (
            f" by the runbook's formula, which takes the best repetition of each; {percent(of_means)} "
            "by their means"
        )
    return f"{line['scaling_factor']:.2f} times the ceiling of {base}; {text}{_band(line)}: {told}"


def _band(line: Line) -> str:
    low, high = line["efficiency_low"], line["efficiency_high"]
    if not known(low):
        return " (one repetition: no interval)"
    end = f"to {percent(high)}" if known(high) else "without an upper end"
    return f" (95 % interval {percent(low)} {end})"


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
    where = f"{line['folder']} " if "folder" in line else ""
    return (
        f"{where}{line['mode']}{extra} {count(line['batch_size'])} × {line['wait_seconds']:g} s{steps} "
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
        return (
            f"{question} By the fit no number of servers is enough{reach}: its ceiling never exceeds "
            f"{count(round(_highest(fit)))}. {beyond}."
        )
    answer = f"{question} {plural(nodes.best, 'server')} ({_nodes_range(fit, target)})"
    if nodes.best <= most:
        return f"{answer}, within what was measured."
    return f"{answer}. {beyond}, and {nodes.best:,} is {nodes.best / most:.3g} times as many."


def _highest(fit: Usl) -> float:
    """The greatest ceiling of the law, or what it tends to."""
    if fit.coherence > 0:
        return fit.at(max(1.0, sqrt(max(0.0, 1 - fit.contention) / fit.coherence)))
    return fit.rate / fit.contention if fit.contention > 0 else inf


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


def even(counts: Mapping[str, int]) -> str:
    """The runbook's word for a distribution: even up to 10 % above the mean."""
    ratio = unevenness(counts)
    if ratio != ratio:  # noqa: PLR0124 (NaN)
        return "unknown"
    return f"{'even' if ratio <= 1.1 else 'uneven'} (max/mean {ratio:.2f})"
