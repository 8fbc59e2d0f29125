"""The sentences of a report, each computed from the tables."""

from collections.abc import Mapping, Sequence

from analysis.cells.reasons import Caution, Finding, Reason
from analysis.report import texts
from analysis.report.formatting import count, known, listed, percent, plural, span
from analysis.report.series import curve_key, Line, unevenness
from analysis.results.folder import Results
from analysis.scaling.brackets import parse
from analysis.scaling.ceilings import censored, status
from analysis.scaling.efficiency import Verdict
from analysis.scaling.usl import NoFit, Usl

# The number of sessions for which a report estimates the number of nodes.
TARGET = 100_000

MAX_REASONS = 6

# The efficiency by means is shown where it differs by more than this.
MEANS_DIFFER = 0.01

# The largest max/mean that the runbook calls even.
EVEN = 1.1


def subject(line: Line, servers: bool = True) -> str:
    number = line["servers"]
    of = plural(int(number), "server") if known(number) else "unknown servers"
    return ", ".join([*[of] * servers, f"wait {line['wait_seconds']:g} s", *unusual(line)])


def unusual(line: Line) -> list[str]:
    """The mode, shape and number of steps of a cell, where they are not the usual ones."""
    mode = [str(line["mode"])] if line["mode"] != "ws" else []
    shape = [f"shape {line['shape']}"] if line["shape"] != "burst" else []
    return mode + shape + ([plural(int(line["steps"]), "step")] if line["steps"] != 1 else [])


def ceiling(line: Line, spec: str) -> str:
    """The ceiling as a number; marked when it is a lower bound."""
    if not line["ceiling"] or not known(line["ceiling"]):
        return "none"
    return f"{'≥ ' if censored(line) else ''}{line['ceiling']:{spec}}"


def ceiling_sentence(line: Line) -> str:
    is_known = known(line["ceiling"])
    text = texts.CEILINGS[status(line)].format(
        ceiling=count(line["ceiling"]) if is_known else "",
        success=percent(line["success_at_ceiling"]) if known(line["success_at_ceiling"]) else "–",
        first_invalid=count(line["first_invalid"]) if known(line["first_invalid"]) else "",
    )
    interval = _interval(line) if is_known and (line["ceiling"] or censored(line)) else ""
    return f"{subject(line)}: {text}.{_failing(line)}{interval}{_bound(line)}"


def _failing(line: Line) -> str:
    first, ceiling = line["first_failing"], line["ceiling"]
    if not known(first):
        return ""
    if not known(ceiling) or not ceiling:
        return f" {count(first)} is the smallest batch that failed."
    if first <= ceiling:
        return f" {count(first)} failed in some repetitions."
    return f" {count(first)} failed."


def _interval(line: Line) -> str:
    number = int(line["repetitions"])
    if number < 2:
        return _one_repetition(line) if number else ""
    low, high = line["ceiling_low"], line["ceiling_high"]
    if low == high:
        return f" The same in all {plural(number, 'repetition')}."
    source = (
        f"(bootstrap over {plural(number, 'repetition')} and their brackets: {line['brackets']})"
    )
    if not known(high):
        return f" 95 % interval: at least {count(round(low))} {source}."
    return f" 95 % interval {span(low, high)} {source}."


def _one_repetition(line: Line) -> str:
    (bracket,) = parse(line["brackets"])
    if bracket.high is None or censored(line) or bracket.max_ceiling == bracket.low:
        return " One repetition: no interval."
    return (
        f" One repetition: no interval; the ceiling is at least {count(bracket.low)} and below "
        f"{count(bracket.high)}."
    )


def _bound(line: Line) -> str:
    if not known(line["bound"]):
        return ""
    evidence = f": {line['bound_evidence']}" if known(line["bound_evidence"]) else ""
    return f" Bound by: {line['bound']}{evidence}."


def efficiency_sentences(lines: Sequence[Line]) -> list[str]:
    sentences = []
    for line in lines:
        base = baseline(line, lines)["servers"]
        if line["servers"] != base:
            sentences.append(f"{subject(line)}: {_efficiency(line, plural(int(base), 'server'))}.")
    return sentences


def _efficiency(line: Line, base: str) -> str:
    interpretation = line["interpretation"]
    text = texts.interpretation(interpretation)
    match interpretation.verdict:
        case Verdict.NO_BASELINE:
            return f"no efficiency, because {base} has no ceiling"
        case Verdict.AT_LEAST | Verdict.AT_MOST | Verdict.UNDETERMINED:
            return f"efficiency {text}"
    share, by_means = line["efficiency"], line["efficiency_of_means"]
    efficiency = f"efficiency {percent(share)}"
    if known(by_means) and abs(by_means - share) > MEANS_DIFFER:
        efficiency += (
            " by the runbook's formula, which uses the best repetition of each; "
            f"{percent(by_means)} by their means"
        )
    factor = f"{line['scaling_factor']:.2f} times the ceiling of {base}"
    return f"{factor}; {efficiency}{_efficiency_interval(line)}: {text}"


def _efficiency_interval(line: Line) -> str:
    low, high = line["efficiency_low"], line["efficiency_high"]
    if not known(low):
        return " (one repetition: no interval)"
    end = f"to {percent(high)}" if known(high) else "without an upper end"
    return f" (95 % interval {percent(low)} {end})"


def baseline(line: Line, lines: Sequence[Line]) -> Line:
    """The line with the fewest servers among those that otherwise agree with `line`."""
    same = (one for one in lines if curve_key(one) == curve_key(line))
    return min(same, key=lambda one: float(one["servers"]))


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
    invalid = [line for line in lines if not line["valid"]]
    if not invalid:
        return [
            f"All {plural(len(lines), 'cell')} are VALID." if len(lines) > 1 else "1 cell, VALID."
        ]
    cells: dict[str, list[str]] = {}
    for line in invalid:
        where = f"{line['folder']} " if "folder" in line else ""
        cells.setdefault(str(line["reasons"]), []).append(where + cell_name(line))
    shown = list(cells.items())[:MAX_REASONS]
    more = len(invalid) - sum(len(names) for _, names in shown)
    return [
        f"{len(lines) - len(invalid)} of {plural(len(lines), 'cell')} are VALID, {len(invalid)} INVALID.",
        *(f"INVALID: {listed(names)}: {reason}." for reason, names in shown),
        *([f"INVALID for other reasons: {plural(more, 'cell')}; see all cells."] if more else []),
    ]


def status_sentences(results: Sequence[Results]) -> list[str]:
    sentences = []
    for one in results:
        run_status, planned = one.run.get("status"), one.run.get("planned_cells")
        if run_status and run_status != "complete":
            error = f": {one.run['error']}" if one.run.get("error") else ""
            cells = plural(len(one.summary), "cell") + (f" of {planned}" if planned else "")
            sentences.append(f"{one.name} is not complete ({run_status}{error}); {cells} recorded.")
    return sentences


def sharing_sentence(results: Sequence[Results]) -> str:
    sharing = {
        one.name: one.run["placement"].get("load_shares_node")
        for one in results
        if one.run.get("placement")
    }
    shared = [name for name, shares in sharing.items() if shares]
    if shared:
        return (
            f"The load generator ran on a node that it measured ({listed(shared)}): the figures are of "
            "both together."
        )
    if len(sharing) == len(results) and all(shares is False for shares in sharing.values()):
        return "The load generator ran on no node that it measured."
    return "Whether the load generator shared a node with what it measured is unknown."


def warning_sentences(results: Sequence[Results]) -> list[str]:
    """The warnings of folders, then those of cells: the first of each code, and the number of cells."""
    by_code: dict[Reason | Caution, list[Finding]] = {}
    for detail in (detail for one in results for detail in one.details):
        for finding in detail.warnings:
            by_code.setdefault(finding.code, []).append(finding)
    warnings = [warning for one in results for warning in one.warnings]
    for same in sorted(by_code.values(), key=len, reverse=True):
        cells = plural(len(same), "cell")
        where = f"in {cells}" if same.count(same[0]) == len(same) else f"the first of {cells}"
        warnings.append(f"{same[0]} ({where})")
    return warnings


def nodes_sentence(fit: Usl | NoFit | None, target: int = TARGET) -> str:
    """The number of servers for `target` sessions, and how far it is beyond what was measured. `fit` is
    None when ceilings of one number of servers are known."""
    question = f"How many nodes for {count(target)} sessions?"
    if fit is None:
        return f"{question} Unknown: ceilings of one number of servers do not show how they grow."
    if isinstance(fit, NoFit):
        return f"{question} Unknown: {texts.no_fit(fit)}."
    low, high = min(fit.servers), max(fit.servers)
    beyond = f"This is an EXTRAPOLATION: the law was fitted to {low} to {high} servers"
    nodes = fit.nodes_for(target)
    if nodes.best is None:
        best_case = f", or {nodes.low:,} at best" if nodes.low else ""
        return (
            f"{question} By the fit, no number of servers is enough{best_case}: its ceiling never exceeds "
            f"{count(round(fit.supremum))}. {beyond}."
        )
    answer = f"{question} {plural(nodes.best, 'server')} ({_nodes_range(fit, target)})"
    if nodes.best <= high:
        return f"{answer}, within what was measured."
    return f"{answer}. {beyond}, and {nodes.best:,} is {nodes.best / high:.3g} times as many."


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


def evenness(counts: Mapping[str, int]) -> str:
    ratio = unevenness(counts)
    if not known(ratio):
        return "unknown"
    return f"{'even' if ratio <= EVEN else 'uneven'} (max/mean {ratio:.2f})"
