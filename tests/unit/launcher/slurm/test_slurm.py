"""What we read from Slurm and what we ask of it: values in, values out."""

import contextlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from launcher.deployment.paths import RunDir
from launcher.deployment.spec import Deployment
from launcher.errors import UsageError
from launcher.lifecycle.batch_job import submission
from launcher.planning.plan import place_sized
from launcher.runtimes.nodes import nodes_for
from launcher.slurm import commands
from launcher.slurm.allocation import (
    Allocation,
    allocation,
    choose_nodes,
    Component,
    expand,
    expected_allocation,
    ignored_partition,
)
from launcher.slurm.commands import Job, parse_job
from launcher.slurm.messages import node_names
from launcher.slurm.sbatch import sbatch_argv
from launcher.slurm.srun import step_argv
from launcher.system.command import error_line
from launcher.system.machine import limits

PLAIN = Allocation("7", (Component(("n1", "n2", "n3"), (4, 4, 4)),))
HETEROGENEOUS = Allocation(
    "7", (Component(("a1",), (8,), "7"), Component(("b1", "b2"), (2, 2), "8"))
)


def names(nodelist: str) -> list[str]:
    return nodelist.split("+")


# -- an allocation, from Slurm's variables


def test_outside_of_an_allocation_there_is_none() -> None:
    assert allocation({}, names) is None
    assert allocation({"SLURM_JOB_ID": "7"}, names) is None


def test_cores_are_those_of_the_task_where_it_was_given_some() -> None:
    variables = {"SLURM_JOB_ID": "7", "SLURM_JOB_NODELIST": "n1+n2", "SLURM_CPUS_PER_TASK": "3"}
    found = allocation(variables | {"SLURM_JOB_CPUS_PER_NODE": "64(x2)"}, names)
    assert found == Allocation("7", (Component(("n1", "n2"), (3, 3)),))


def test_cores_are_those_of_each_node_otherwise() -> None:
    variables = {"SLURM_JOB_ID": "7", "SLURM_JOB_NODELIST": "n1+n2+n3"}
    found = allocation(variables | {"SLURM_JOB_CPUS_PER_NODE": "64(x2),16"}, names)
    assert found is not None
    assert [found.cores(node) for node in found.nodes] == [64, 64, 16]


def test_a_heterogeneous_allocation_has_its_components_in_order() -> None:
    variables = {
        "SLURM_JOB_ID": "8",
        "SLURM_HET_SIZE": "2",
        "SLURM_JOB_ID_HET_GROUP_0": "7",
        "SLURM_JOB_ID_HET_GROUP_1": "8",
        "SLURM_JOB_NODELIST_HET_GROUP_0": "a1",
        "SLURM_JOB_CPUS_PER_NODE_HET_GROUP_0": "8",
        "SLURM_JOB_NODELIST_HET_GROUP_1": "b1+b2",
        "SLURM_CPUS_PER_TASK_HET_GROUP_1": "2",
        "SLURM_JOB_CPUS_PER_NODE_HET_GROUP_1": "64(x2)",
    }
    assert allocation(variables, names) == HETEROGENEOUS


def test_an_allocation_survives_a_file() -> None:
    assert Allocation.from_dict(json.loads(json.dumps(asdict(HETEROGENEOUS)))) == HETEROGENEOUS


@pytest.mark.parametrize(
    ("counts", "cores"),
    [("", []), ("48", [48]), ("48(x3)", [48] * 3), ("48(x2),16,8(x2)", [48, 48, 16, 8, 8])],
)
def test_counts_are_expanded(counts: str, cores: list[int]) -> None:
    assert expand(counts) == cores


@pytest.mark.parametrize(
    ("fields", "nodes"),
    [
        ({}, ["n1", "n2", "n3"]),
        ({"nodes": 2}, ["n1", "n2"]),
        ({"nodes": 1}, ["n1"]),
        ({"client_nodes": 1}, ["n1", "n2", "n3"]),
        ({"nodes": 2, "client_nodes": 1}, ["n1", "n2", "n3"]),
    ],
)
def test_a_deployment_takes_the_first_nodes(fields: dict[str, Any], nodes: list[str]) -> None:
    assert choose_nodes(PLAIN, Deployment(**fields)) == nodes


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"nodes": 4}, "--nodes 4 is more than the 3 node(s) of allocation 7: n1 n2 n3"),
        ({"nodes": 3, "client_nodes": 1}, "--nodes 3 --client-nodes 1 is more than the 3 node(s)"),
        ({"client_nodes": 2}, "allocation 7 has 3 node(s), of which 2 for clients"),
    ],
)
def test_more_nodes_than_there_are_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match="(?s)^" + message.replace("(", r"\(").replace(")", r"\)")):
        choose_nodes(PLAIN, Deployment(**fields))


def test_an_allocation_of_one_node_says_what_would_do() -> None:
    with pytest.raises(UsageError, match="Envoy and a server need two: allocate more"):
        choose_nodes(Allocation("7", (Component(("n1",), (4,)),)), Deployment())


@pytest.mark.parametrize(
    ("variables", "lost"),
    [
        ({}, False),
        ({"PARTITION": "debug"}, False),
        ({"PARTITION": "debug", "SLURM_JOB_PARTITION": "debug"}, False),
        ({"PARTITION": "debug", "SLURM_JOB_PARTITION": "big"}, True),
    ],
)
def test_a_partition_that_sbatch_did_not_read(variables: dict[str, str], lost: bool) -> None:
    assert bool(ignored_partition(variables)) == lost


# -- what Slurm says


def test_a_job_is_read_from_its_first_line() -> None:
    text = (
        "JobId=12 JobName=x JobState=PENDING Reason=Resources Dependency=(null) NodeList=\n"
        "JobId=13 JobState=RUNNING Reason=None NodeList=n[1-2]\n"
    )
    job = parse_job("12", text)
    assert (job.state, job.description, job.active, job.ended) == (
        *("PENDING", "PENDING (Resources)"),
        *(True, False),
    )


@pytest.mark.parametrize(
    ("state", "active", "ended"),
    [
        ("RUNNING", True, False),
        ("SUSPENDED", True, False),
        ("COMPLETING", False, False),
        ("TIMEOUT", False, True),
        ("PREEMPTED", False, True),
        ("UNKNOWN", False, True),
    ],
)
def test_states_of_a_job(state: str, active: bool, ended: bool) -> None:
    job = Job("12", state, "None")
    assert (job.active, job.ended, job.description) == (active, ended, state)


@pytest.mark.parametrize(
    ("text", "nodes"),
    [
        ("node3", ["node3"]),
        ("node3,node5", ["node3", "node5"]),
        ("node[2-4,6]", ["node2", "node3", "node4", "node6"]),
        ("n[08-10]-ib", ["n08-ib", "n09-ib", "n10-ib"]),
    ],
)
def test_names_of_several_nodes(text: str, nodes: list[str]) -> None:
    assert node_names(text) == tuple(nodes)


# -- what we ask of Slurm


def test_one_step_with_a_task_on_every_node() -> None:
    argv = step_argv(PLAIN, ["n2", "n3"], "openenv-x", ["agent"])
    assert argv[0] == "srun"
    assert argv[-1] == "agent"
    for option in (
        "--jobid=7",
        "--nodes=2",
        "--ntasks=2",
        "--ntasks-per-node=1",
        "--nodelist=n2,n3",
    ):
        assert option in argv
    assert {"--overlap", "--no-kill", "--kill-on-bad-exit=0"} <= set(argv)
    assert not [word for word in argv if word.startswith("--het-group")]


def test_each_component_gets_a_step_of_its_own() -> None:
    parts = HETEROGENEOUS.by_component(["a1", "b2"])
    assert parts == [["a1"], ["b2"]]
    argv = step_argv(HETEROGENEOUS, parts[1], "x", ["agent"])
    assert {"--jobid=7", "--het-group=1", "--nodelist=b2", "--nodes=1"} <= set(argv)
    assert [HETEROGENEOUS.job_of(node) for node in HETEROGENEOUS.nodes] == ["7", "8", "8"]
    assert PLAIN.job_of("n2") == "7"


def test_a_job_is_never_started_again_and_outlives_a_node() -> None:
    deployment = Deployment(nodes=5, client_nodes=2, partition="p", time="1:00:00", mem="4G")
    rundir = RunDir(Path("/srv/a b/100%"), "x")
    argv = sbatch_argv(deployment.model_copy(update={"sbatch": ("--gres=gpu:1",)}), rundir)
    assert argv[:2] == ("sbatch", "--parsable")
    assert argv[-1] == "/srv/a b/100%/openenv-job.sh"
    wanted = {"--nodes=7", "--partition=p", "--time=1:00:00", "--mem=4G", "--gres=gpu:1"}
    assert wanted | {"--no-requeue", "--no-kill"} <= set(argv)
    assert "--output=/srv/a b/100%%/benchmark-env-job.log" in argv


def test_a_plan_without_an_allocation_has_names_in_the_place_of_nodes(tmp_path: Path) -> None:
    wanted = Deployment(nodes=3, client_nodes=1, cpus_per_task=2, dir=tmp_path)
    placement = place_sized(wanted, nodes_for(wanted, expected_allocation(wanted)), limits())
    assert placement.envoy_node == "NODE_1"
    assert [server.name for server in placement.servers] == ["NODE_2", "NODE_3"]
    assert [(node.name, node.cores) for node in placement.client_nodes] == [("NODE_4", 2)]
    argv, path, text = submission(wanted)
    assert {"--nodes=4", "--cpus-per-task=2"} <= set(argv)
    assert argv[-1] == str(path)
    assert str(tmp_path) in text


@pytest.mark.parametrize(
    ("output", "says"),
    [
        ("sbatch: error: Invalid --time specification\n", "Invalid --time specification"),
        ("sbatch: unrecognized option '--x'\nTry \"sbatch --help\" for more\n", "unrecognized opt"),
        ("", ""),
    ],
)
def test_what_slurm_says_last(output: str, says: str) -> None:
    assert error_line("sbatch", output).startswith(says)


@pytest.mark.parametrize(
    ("says", "passed_over"), [("", True), ("Invalid job id 7", True), ("Access denied", False)]
)
def test_scancel_may_find_that_a_job_has_just_ended(
    says: str, passed_over: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "scancel"
    program.write_text(f"#!/bin/sh\nprintf '{says}' >&2\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    with contextlib.nullcontext() if passed_over else pytest.raises(commands.SlurmFailed):
        commands.cancel("7")
