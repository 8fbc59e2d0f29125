"""Figure 10: ceilings of 1, 2 and 4 servers whose nodes are each limited to a share of a core, on a virtual
cluster, so that one machine can show how servers scale. Load and Envoy have no quota."""

import csv
import os
import subprocess
import sys
import time

from tests.perf.machine import ROOT
from tests.perf.processes import NotMeasured, running
from tests.perf.run import Run

SANDBOX = str(ROOT / "deploy/sandbox")
QUOTA = "0.03"
SERVERS = "1,2,4"
SECONDS = 480.0
UP = ("--runtime", "venv", "--workers-per-node", "1", "--cpus-per-task", "2")
CAP = ("--max-concurrent-envs", "8192", "--baseline", "envoy", "--load-workers", "2")
BOUND = "server CPU"
SEARCH = ("--wait", "0.2", "--p99", "wait+3", "--start", "64", "--reps", "5", "--precision", "0.05")


def scaling(run: Run) -> None:
    """Raises `NotMeasured` where a virtual cluster cannot run."""
    if os.geteuid() != 0:
        raise NotMeasured("needs root: the nodes are namespaces of this machine")
    if run.quick:
        raise NotMeasured("takes minutes, so it is not part of a quick run")
    name = f"bench-{os.getpid()}"
    log = run.log("sandbox")
    run.note("10", f"{QUOTA} of a core per node; {' '.join(SEARCH)}")
    up = ("--nodes", "5", "--cpu-quota", QUOTA, "--no-quota", "node1")
    run.settle()
    try:
        _command("up", "--name", name, *up)
        arguments = ("launcher", "experiment", "--server-nodes", SERVERS, *UP, *CAP, *SEARCH)
        inside = [sys.executable, SANDBOX, "run", "--name", name, "--", *arguments, "--output-dir"]
        with running([*inside, "/home/alice/bench"], log) as process:
            deadline = time.monotonic() + SECONDS
            while process.poll() is None:
                if time.monotonic() > deadline:
                    raise NotMeasured(f"not within {SECONDS:.0f} s; see {log}")
                time.sleep(0.1)
        if process.returncode:
            raise NotMeasured(f"exit code {process.returncode} of launcher experiment; see {log}")
        output = _command("run", "--name", name, "--", "cat", "/home/alice/bench/scaling.csv")
        _record(run, output)
    finally:
        subprocess.run(
            [sys.executable, SANDBOX, "down", "--name", name], capture_output=True, check=False
        )


def _record(run: Run, table: str) -> None:
    """Records no efficiency where something other than the servers was the limit."""
    for line in csv.DictReader(table.splitlines()):
        limited_by_servers = BOUND in line["bound"]
        values = {
            "servers": _number(line["servers"]),
            "ceiling": _number(line["ceiling"]),
            "efficiency": _number(line["efficiency"]) if limited_by_servers else None,
            "low": _number(line["efficiency_low"]),
            "high": _number(line["efficiency_high"]),
        }
        name = f"{line['servers']} server{'s' if line['servers'] != '1' else ''}"
        run.record("10", name, 1, values, note=line["bound"])


def _number(text: str) -> float | None:
    return float(text) if text else None


def _command(*arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, SANDBOX, *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=400,
    )
    if done.returncode:
        output = (done.stderr.strip().splitlines() or ["nothing"])[-1]
        raise NotMeasured(f"sandbox {arguments[0]}: {output[:300]}")
    return done.stdout
