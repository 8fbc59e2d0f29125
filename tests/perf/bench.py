"""`python -m tests.perf.bench [--only 1,4,own] [--quick] [--output DIR]`: measures every figure of the
targets next to its peers, prints the table and writes bench.json. Exits with 1 if something could not be
measured, never because something is slow."""

import argparse
import contextlib
import json
import os
import re
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from benchmark.server.process import raise_descriptor_limit
from tests.perf import machine, table, targets
from tests.perf.figures import apps, envoy, layers, load, own_work, scaling, servers, ways, whole
from tests.perf.processes import NotMeasured
from tests.perf.run import QUICK, Run, Sizes

APPS = ("session", "speed", "latency", "episode", "memory", "size")
PARTS: tuple[tuple[tuple[str, ...], str, Callable[[Run], None]], ...] = (
    (APPS, "OpenEnv apps under the kit and under plain uvicorn", apps.apps),
    (("1", "3"), "server: CPU and memory of a session", servers.cost),
    (("2",), "server: steps", servers.steps),
    (("4",), "load: CPU of a session", load.load),
    (("5",), "Envoy: CPU and memory of a session", envoy.envoy),
    (("ways",), "Envoy: ways to make it cheaper", ways.ways),
    (("6", "where"), "whole kit: a burst, and where its time goes", whole.burst),
    (("11",), "time to ready", whole.ready),
    (("7", "9"), "whole kit: a large burst, evenness", whole.large),
    (("layers",), "server: layer by layer", layers.layers),
    (("own",), "a user's own OpenEnv app", layers.own_app),
    (("8",), "whole kit: many sessions held open", whole.held),
    (("10",), "efficiency of 1, 2 and 4 nodes", scaling.scaling),
    (("sampling",), "what sampling costs", own_work.sampling),
    (("summary",), "what a large summary costs", own_work.summary),
)
GROUPS = {"apps": set(APPS)}
KNOWN = [name for names, _, _ in PARTS for name in names]
FILE = "bench.json"


def main(arguments: list[str] | None = None) -> int:
    given = _arguments(arguments)
    only = set(re.split(r"[,\s]+", given.only.strip())) if given.only.strip() else set(KNOWN)
    for group, names in GROUPS.items():
        only = only - {group} | names if group in only else only
    if unknown := sorted(only - set(KNOWN)):
        print(
            f"error: --only {unknown[0]}: choose among {', '.join([*GROUPS, *KNOWN])}",
            file=sys.stderr,
        )
        return 2
    signal.signal(signal.SIGTERM, _interrupt)
    signal.signal(signal.SIGINT, _interrupt)
    raise_descriptor_limit()
    run = Run(
        *(_sizes(given), _folder(given.output), given.address),
        quick=given.quick,
        only=frozenset(only),
    )
    # Keep the deployments of this run apart from those that the user has.
    os.environ["XDG_STATE_HOME"] = str(run.folder / "state")
    os.environ["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    report = machine.facts() | {"begun": _now(), "ended": None, "figures": {}}
    try:
        for names, title, measure in PARTS:
            # The others are measured together.
            asked = tuple(name for name in names if name in only or name not in APPS)
            if only.intersection(asked):
                _part(run, report, asked, title, measure)
    finally:
        _save(run, report | {"ended": _now()})
    return _end(run, report)


def _part(
    run: Run,
    report: dict[str, Any],
    names: tuple[str, ...],
    title: str,
    measure: Callable[[Run], None],
) -> None:
    print(f"{', '.join(names)}: {title}", flush=True)
    started, error = time.monotonic(), None
    try:
        measure(run)
    except NotMeasured as failure:
        error = str(failure)
    except Exception as failure:  # noqa: BLE001 - the other figures must still be measured
        error = f"{type(failure).__name__}: {failure}"
    if error:
        print(f"  could not measure: {error}", flush=True)
    seconds = time.monotonic() - started
    entry = {"title": title, "error": error, "seconds": round(seconds, 1)}
    report["figures"] |= dict.fromkeys(names, entry)
    _save(run, report)


def _end(run: Run, report: dict[str, Any]) -> int:
    result = report | run.as_dict()
    print(f"\n{table.text(result)}\n")
    for line in targets.failures(result):
        print(line)
    print(f"{run.folder / FILE}")
    failed = [name for name, entry in report["figures"].items() if entry["error"]]
    for name in failed:
        error = report["figures"][name]["error"]
        print(f"error: could not measure {name}: {error}", file=sys.stderr)
    return 1 if failed else 0


def _save(run: Run, report: dict[str, Any]) -> None:
    whole = (
        {"command": "python -m tests.perf.bench", "arguments": sys.argv[1:]}
        | report
        | run.as_dict()
    )
    draft = run.folder / f".{FILE}"
    draft.write_text(json.dumps(whole, indent=1))
    draft.replace(run.folder / FILE)


def _sizes(given: argparse.Namespace) -> Sizes:
    sizes = QUICK if given.quick else Sizes()
    if given.rounds is not None:
        sizes = replace(sizes, rounds=given.rounds)
    if given.idle is not None:
        sizes = replace(sizes, idle=given.idle)
    return sizes


def _folder(given: Path | None) -> Path:
    timestamp = time.strftime("%Y-%m-%dT%H-%M-%SZ", time.gmtime())
    folder = (given or machine.ROOT / "experiments" / "results" / f"bench-{timestamp}").absolute()
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _arguments(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="tests.perf.bench", description=__doc__)
    parser.add_argument(
        "--only", default="", help=f"figures to measure, from {', '.join([*GROUPS, *KNOWN])}"
    )
    parser.add_argument(
        "--quick", action="store_true", help="tiny sizes, to check that the benchmark works"
    )
    parser.add_argument("--output", type=Path, help="folder [experiments/results/bench-TIME]")
    parser.add_argument("--address", default="127.0.40.1", help="first loopback address to use")
    parser.add_argument("--rounds", type=int, help="how often each is measured [3]")
    parser.add_argument("--idle", type=float, help="seconds to wait for an idle machine [30]")
    return parser.parse_args(arguments)


def _interrupt(number: int, _: FrameType | None) -> NoReturn:
    """Unwinds every `with` block, which stops what it started; further signals are ignored."""
    with contextlib.suppress(ValueError):
        for each in (signal.SIGINT, signal.SIGTERM):
            signal.signal(each, signal.SIG_IGN)
    sys.exit(128 + number)


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


if __name__ == "__main__":
    sys.exit(main())
