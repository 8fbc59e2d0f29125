"""`make mutants`: mutation testing, with mutmut, of the code that decides.

Texts are not mutated: codes decide, and rewording a message must not fail a test. Prints every surviving
mutant (`mutmut show NAME` shows it), the score of every file and the total, and fails below `FLOOR`.
"""

import argparse
import json
import os
import sys
from pathlib import Path

from mutmut.mutation import mutators
from mutmut.stats import status_by_exit_code

FLOOR = 0.9
KILLED = ("killed", "timeout", "segfault", "caught by type check")
TEXT_OPERATORS = (
    mutators.operator_string,
    mutators.operator_symmetric_string_methods_swap,
    mutators.operator_unsymmetrical_string_methods_swap,
)


def run(names: list[str], children: int) -> None:
    """Runs the mutants that match the names (globs), or all of them."""
    mutators.mutation_operators[:] = [
        entry for entry in mutators.mutation_operators if entry[1] not in TEXT_OPERATORS
    ]
    from mutmut.__main__ import cli

    cli(["run", "--max-children", str(children), *names], standalone_mode=False)


def report() -> float:
    """Prints what survived and the scores; returns the share of mutants that were killed."""
    all_killed = all_tested = not_run = 0
    for meta in sorted(Path("mutants").rglob("*.meta")):
        codes = json.loads(meta.read_text())["exit_code_by_key"]
        status = {
            name: status_by_exit_code[code] for name, code in codes.items() if code is not None
        }
        survivors = [name for name, state in status.items() if state not in KILLED]
        not_run += len(codes) - len(status)
        all_tested += len(status)
        all_killed += len(status) - len(survivors)
        for name in survivors:
            print(f"{status[name]}: {name}")
        if status:
            killed = f"{len(status) - len(survivors)} of {len(status)}"
            print(f"{meta.relative_to('mutants').with_suffix('')}: {killed} killed")
    score = all_killed / all_tested if all_tested else 0.0
    print(f"mutation score: {score:.1%} ({all_killed} of {all_tested}; {not_run} not run)")
    return score


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="mutants to run, as globs [default: all]")
    parser.add_argument("--children", type=int, default=os.cpu_count() or 1, help="processes")
    arguments = parser.parse_args()
    run(arguments.names, arguments.children)
    sys.exit(report() < FLOOR)
