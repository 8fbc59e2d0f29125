"""Experiments on a Slurm cluster: each phase in a part of an allocation, or in a job of its own."""

import csv
import io
import json
import shlex
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from tests.helpers.cluster import Cluster
from tests.helpers.cluster_user import Alice, as_alice, assert_error
from tests.helpers.local import wait_for

UP = ("--runtime", "venv", "--cpus-per-task", "1", "--drain", "0", "--max-concurrent-envs", "6")
SEARCH = ("--success", "1", "--precision", "0", "--wait", "0.5", "--start", "8", "--reps", "1")
LOAD = ("--load-workers", "1")
EXPERIMENT = ("experiment", *UP, *SEARCH, *LOAD, "--output-dir", "exp", "--server-nodes")

pytestmark = pytest.mark.timeout(180, method="signal", func_only=True)


@pytest.fixture
def alice(cluster: Cluster) -> Iterator[Alice]:
    with as_alice(cluster) as alice:
        yield alice


def table(alice: Alice, file: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(alice.run("cat", file, check=True).stdout)))


def story(alice: Alice) -> dict[str, Any]:
    return dict(json.loads(alice.run("cat", "exp/experiment.json", check=True).stdout))


def statuses(alice: Alice) -> dict[str, str]:
    return {servers: phase["status"] for servers, phase in story(alice)["phases"].items()}


def cells(alice: Alice, servers: int) -> int:
    return len(alice.run("cat", f"exp/nodes-{servers}/summary.csv").stdout.splitlines()) - 1


def assert_twice(alice: Alice) -> None:
    assert [line["ceiling"] for line in table(alice, "exp/ceilings.csv")] == ["6", "12"]
    one, two = table(alice, "exp/scaling.csv")
    assert float(one["efficiency"]) == float(two["efficiency"]) == 1.0
    assert {line["bound"] for line in (one, two)} == {"admission cap"}
    assert statuses(alice) == {"1": "complete", "2": "complete"}
    hosts = [line["unique_hosts"] for line in table(alice, "exp/nodes-2/summary.csv")]
    assert set(hosts) == {"2"}


def test_each_phase_has_its_own_job_when_run_on_the_login_node(alice: Alice) -> None:
    done = alice.launch(*EXPERIMENT, "1,2")
    assert done.returncode == 0, done.stderr
    assert_twice(alice)
    assert done.stderr.count("submitted") == 2
    phases = story(alice)["phases"]
    assert [phase["url"] for phase in phases.values()] == ["http://node1:8000"] * 2
    assert alice.launch("status", "experiment").returncode == 1
    alice.nothing_left()


def test_each_phase_uses_a_part_of_the_allocation(alice: Alice) -> None:
    command = ("launcher", *EXPERIMENT, "1,2", "--client-nodes", "1", "--baseline", "envoy")
    done = alice.run("salloc", "--quiet", "--nodes=4", "--cpus-per-task=1", *command)
    assert done.returncode == 0, done.stderr
    assert_twice(alice)
    assert "1 load worker(s) on client node(s) node3" in done.stderr
    assert "1 load worker(s) on client node(s) node4" in done.stderr
    assert [phase["nodes"] for phase in story(alice)["phases"].values()] == [2, 3]
    assert "submitted" not in done.stderr
    alice.nothing_left()


def test_experiment_fails_when_the_allocation_is_too_small(alice: Alice) -> None:
    command = ("launcher", *EXPERIMENT, "1,4")
    done = alice.run("salloc", "--quiet", "--nodes=3", "--cpus-per-task=1", *command)
    assert_error(done, "--nodes 5 is more than the 3 node(s) of allocation", code=2)
    assert alice.run("ls").stdout == ""
    alice.nothing_left()


def test_interrupted_experiment_cancels_its_job_and_can_be_resumed(alice: Alice) -> None:
    front = alice.spawn("launcher", *EXPERIMENT, "1,2")
    wait_for(lambda: cells(alice, 2) > 0, 120, "a batch of two servers is done")
    front.send_signal(signal.SIGINT)
    done = alice.ended(front)
    assert done.returncode == 128 + signal.SIGINT, done.stderr
    assert "Traceback" not in done.stderr
    assert statuses(alice) == {"1": "complete", "2": "interrupted"}
    alice.nothing_left()
    done = alice.launch("experiment", "--resume", "--output-dir", "exp")
    assert done.returncode == 0, done.stderr
    assert "1 server(s): already complete" in done.stderr
    assert_twice(alice)
    alice.nothing_left()


def test_experiment_can_be_interrupted_while_its_job_is_pending(alice: Alice) -> None:
    front = alice.spawn("launcher", *EXPERIMENT, "1", "--sbatch=--hold")
    wait_for(lambda: any("PENDING" in job for job in alice.jobs()), 30, "the job waits")
    front.send_signal(signal.SIGTERM)
    done = alice.ended(front)
    assert done.returncode == 128 + signal.SIGTERM, done.stderr
    assert statuses(alice) == {"1": "interrupted"}
    alice.nothing_left()


def test_phase_fails_when_its_job_ends(alice: Alice) -> None:
    front = alice.spawn("launcher", *EXPERIMENT, "1,2")
    wait_for(lambda: cells(alice, 1) > 0, 120, "a batch is done")
    alice.run("scancel", "--user", "alice", check=True)
    done = alice.ended(front, 90)
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert statuses(alice) == {"1": "failed"}
    alice.nothing_left()


def test_ceiling_is_unknown_when_the_load_shares_a_node_with_a_server(alice: Alice) -> None:
    command = shlex.join(("launcher", *EXPERIMENT, "2"))
    alice.write("job.sh", f"#!/bin/sh\n{command}\n")
    done = alice.run("sbatch", "--wait", "--nodes=3", "--output=job.log", "job.sh")
    log = alice.run("cat", "job.log").stdout
    assert done.returncode == 1, log
    assert "unknown: batch 8 is INVALID: " in log
    assert statuses(alice) == {"2": "failed"}
    alice.nothing_left()
