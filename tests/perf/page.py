"""`python -m tests.perf.page FILE [MORE...] [--output PAGE]`: the page on performance, from the JSON of one
run of `make bench`, and of further ones for figures that it lacks. Every figure and every sentence about
figures is computed from these files."""

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from tests.perf import page_tables as tables
from tests.perf import table
from tests.perf.targets import failures, lines, Result

SECTIONS = (
    ("Servers side by side", ("1", "2", "3"), tables.servers),
    ("Load generators side by side", ("4",), tables.loads),
    ("Envoy", ("5",), tables.envoys),
    ("Ways to make Envoy cheaper", ("ways",), tables.ways),
    ("The whole kit", ("6", "7", "8", "9"), tables.whole),
    ("How it scales", ("10",), tables.scaling),
    ("Where the time of a session goes", ("where",), tables.where),
    ("Where the time of the server goes", ("layers",), tables.layers),
    ("What carries over to an app of your own", ("own",), tables.own),
    ("What the kit's own work costs", ("sampling", "summary"), tables.own_work),
)


def page(run: Result, file: str) -> str:
    """Markdown."""
    parts = [f"# Performance\n\n{_origin(run, file)}", f"## Targets\n\n{_targets(run)}"]
    for title, figures, body in SECTIONS:
        if set(figures) & set(run["figures"]):
            parts.append(f"## {title}\n\n{body(run).strip()}\n")
    parts.append(f"## How it was measured\n\n{_how(run)}")
    parts.append(f"## Measure again\n\n{_again()}")
    return "\n".join(parts)


def _origin(run: Result, file: str) -> str:
    machine, versions = run["machine"], run["versions"]
    tree = {True: ", with changes that are not committed", False: "", None: ""}[run["dirty"]]
    listed = ", ".join(f"{name} {version}" for name, version in versions.items())
    quick = "\n\n**A quick run: its sizes say whether the benchmark works, and nothing else.**"
    return (
        f"Written by `python -m tests.perf.page {file}` (`make performance JSON=…`), not by hand: change "
        "what is measured, or the words in `tests/perf/page*.py`, and run it again.\n\n"
        f"Measured on {run['begun']} at commit {run['commit'] or 'unknown'}{tree}, on "
        f"{machine['cores']} cores ({machine['cpu'] or 'CPU unknown'}), {machine['memory_gib']:.1f} GiB, "
        f"Linux {machine['kernel']}; load, Envoy and servers share them. {listed}."
        f"{quick if run['quick'] else ''}\n"
        + "".join(
            f"\nMeasured by itself, at commit {more['commit']} on {more['begun']}: "
            f"{', '.join(more['figures'])}.\n"
            for more in run.get("more", ())
            if more["figures"]
        )
    )


def joined(run: Result, further: Iterable[Result]) -> Result:
    """The run with the figures that others have and it has not."""
    whole = {**run, "more": []}
    for other in further:
        new = {
            name: told for name, told in other["figures"].items() if name not in whole["figures"]
        }
        made = [each for each in other["measurements"] if each["figure"].split()[0] in new]
        whole["figures"] = {**whole["figures"], **new}
        whole["measurements"] = [*whole["measurements"], *made]
        whole["more"].append({**other, "figures": new})
    return whole


def _targets(run: Result) -> str:
    told = lines(run)
    counts = Counter(line.verdict for line in told)
    parts = [
        f"{counts[name]} {name}" for name in ("met", "NOT MET", "not measured") if counts[name]
    ]
    missed = sorted({line.target.number for line in told if line.met is False}, key=int)
    which = f" Not met: {', '.join(missed)}." if missed else ""
    head = ("", "what", "figure", "spread", "wanted", "peer", "peer's", "ratio", "verdict")
    return (
        f"Of {len(told)} conditions {', '.join(parts) or 'none was asked for'}.{which} Figures are medians, "
        "the spread is from the lowest to the highest measurement (for efficiency its interval), a ratio is "
        "the figure over the peer's in the same run.\n\n" + table.markdown(head, table.rows(run))
    )


def _how(run: Result) -> str:
    sizes = run["sizes"]
    told = [
        f"{sizes['rounds']} rounds, in each of which the kit and its peers took turns; bursts of "
        f"{sizes['sessions']:,} sessions whose step waits {sizes['wait']:g} s, steps of "
        f"{sizes['stepping']:,} sessions × {sizes['steps']}.",
        "CPU is what the kernel counts for all processes of the thing measured (`/proc/PID/stat`), memory "
        "their proportional set size with all sessions open less that at rest; the kernel's own for their "
        "sockets is not in it, but it is in what many sessions take of the machine.",
        "Servers are loaded by a client without any framework (`tests/perf/peers/raw_client.py`), clients "
        "load a server without any (`raw_server.py`); every answer is checked.",
    ]
    busy = sum(not each["idle"] for each in run["measurements"])
    if busy:
        told.append(
            f"{busy} of {len(run['measurements'])} measurements began while the machine was not idle."
        )
    told += [f"{figure}: {text}." for figure, texts in run["notes"].items() for text in texts]
    told += [f"{text}." for text in failures(run)]
    errors = {each["title"]: each["error"] for each in run["figures"].values() if each["error"]}
    told += [f"Could not be measured: {title}: {error}." for title, error in errors.items()]
    return "".join(f"- {each}\n" for each in told)


def _again() -> str:
    return (
        "```bash\n"
        "make bench                        # all of it, within half an hour; as root also figure 10\n"
        "make bench ONLY=1,2,3             # some figures\n"
        "make performance JSON=experiments/results/bench-TIME/bench.json    # this page\n"
        "```\n\n"
        "`bench.json` holds every single measurement, the machine, all versions and the commit.\n"
    )


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="tests.perf.page", description=__doc__)
    parser.add_argument("files", type=Path, nargs="+", metavar="FILE")
    parser.add_argument("--output", type=Path)
    given = parser.parse_args(arguments)
    runs = []
    for file in given.files:
        try:
            runs.append(json.loads(file.read_text()))
        except (OSError, ValueError) as failure:
            print(f"error: {file}: {failure}", file=sys.stderr)
            return 1
    names = " ".join(file.name for file in given.files)
    written = page(joined(runs[0], runs[1:]), names)
    if given.output:
        given.output.write_text(written)
    else:
        print(written, end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
