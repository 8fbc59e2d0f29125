"""The doctor on faulty nodes; each fault is real."""

import contextlib
import json
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from tests.helpers.cluster import Cluster
from tests.helpers.local import wait_for

IMAGES = "/home/alice/.local/share/openenv-slurm/images"
FOUR = ("--nodes", "3", "--client-nodes", "1", "--nodelist=node[1-4]")
VENV = (*FOUR, "--runtime", "venv")


def doctor(cluster: Cluster, *options: str, **others: Any) -> tuple[int, dict[str, Any]]:
    done = cluster.run("launcher", "doctor", "--json", *options, check=False, **others)
    assert done.stdout, done.stderr
    return done.returncode, dict(json.loads(done.stdout))


def failing_nodes(report: dict[str, Any], verdict: str = "FAIL") -> dict[str, list[str]]:
    """The nodes of each check that does not pass."""
    return {c["check"]: c["nodes"] for c in report["checks"] if c["verdict"] == verdict}


def jobs(cluster: Cluster) -> list[str]:
    return cluster.run("squeue", "--noheader", "--name=openenv-doctor").stdout.split()


@contextlib.contextmanager
def broken(cluster: Cluster, node: str, do: str, undo: str) -> Iterator[None]:
    """Breaks a node as root, and repairs it at the end of `with`."""
    cluster.run("sh", "-ec", do, node=node, user="root")
    try:
        yield
    finally:
        cluster.run("sh", "-ec", undo, node=node, user="root")


@contextlib.contextmanager
def few_descriptors(cluster: Cluster, node: str, count: int) -> Iterator[None]:
    lower = f"prlimit --pid $(pgrep -x slurmd) --nofile={count}:{count}"
    with broken(cluster, node, lower, "daemons restart slurmd"):
        yield
    wait_for(lambda: "idle" in state(cluster, node), 30, f"{node} can be used again")


def state(cluster: Cluster, node: str) -> str:
    return cluster.run("sinfo", "--noheader", f"--nodes={node}", "--format=%T").stdout


@pytest.mark.usefixtures("images")
def test_doctor_passes_on_good_nodes(cluster: Cluster) -> None:
    code, report = doctor(cluster, *FOUR, "--sessions", "150", "--cpus-per-task", "2")
    assert (code, report["ok"], failing_nodes(report), failing_nodes(report, "WARN")) == (
        0,
        True,
        {},
        {},
    )
    assert report["nodes"] == ["node1", "node2", "node3", "node4"]
    assert {c["check"] for c in report["checks"]} >= {"apptainer", "image", "names", "clocks"}
    assert report["limits"][0]["limit"] == "places of the servers"
    assert report["limits"][0]["sessions"] == 400
    assert jobs(cluster) == []


def test_doctor_prints_a_readable_report(cluster: Cluster) -> None:
    few = ("--workers-per-node", "1", "--max-concurrent-envs", "100")
    done = cluster.run("launcher", "doctor", *VENV, *few, "--sessions", "15000", check=False)
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    assert lines[0] == "Envoy node1; servers node2 node3; clients node4"
    assert "[OK]   names: every node resolves every other node" in lines
    assert "[FAIL] sessions: the places of the servers allow 200 of 15,000" in lines
    assert any("--max-concurrent-envs 7500" in line for line in lines)
    assert "\x1b[" not in done.stdout


def test_doctor_checks_the_nodes_of_the_allocation(cluster: Cluster) -> None:
    for count, first in ((3, "places of the servers"), (1, "places of the servers")):
        argv = ["salloc", f"-N{count}", "launcher", "doctor", "--json", "--runtime", "venv"]
        report = json.loads(cluster.run(*argv).stdout)
        assert len(report["nodes"]) == count
        assert report["limits"][0]["limit"] == first


def test_doctor_warns_of_few_descriptors_on_one_node(cluster: Cluster) -> None:
    with few_descriptors(cluster, "node2", 3000):
        code, report = doctor(cluster, *VENV, "--sessions", "6000", "--max-concurrent-envs", "5000")
    assert code == 1
    assert failing_nodes(report, "WARN")["descriptors"] == ["node2"]
    tight = [limit for limit in report["limits"] if not limit["enough"]]
    assert [limit["limit"] for limit in tight] == ["descriptors of the servers"]
    assert tight[0]["sessions"] == 2 * 2900
    assert "raise the hard limit there to 3,100" in tight[0]["change"]


def test_doctor_fails_when_a_port_is_taken_on_one_node(cluster: Cluster) -> None:
    held = cluster.popen("python3", "-m", "http.server", "8000", node="node3")
    try:
        listens = ["sh", "-c", "ss -ltn | grep -q :8000"]
        wait_for(
            lambda: not cluster.run(*listens, node="node3", check=False).returncode,
            20,
            "it listens",
        )
        code, report = doctor(cluster, *VENV)
    finally:
        held.terminate()
        held.communicate()
    assert (code, failing_nodes(report)) == (1, {"ports": ["node3"]})
    detail = next(c["detail"] for c in report["checks"] if c["check"] == "ports")
    assert "port 8000" in detail
    assert "python3" in detail


@pytest.mark.usefixtures("images")
def test_doctor_fails_when_images_differ_or_are_missing(cluster: Cluster) -> None:
    """Uses images in /tmp, which is local to each node."""
    options = (*FOUR, "--images", "/tmp/images")
    copy = f"mkdir /tmp/images && cp {IMAGES}/server.sif {IMAGES}/envoy.sif {IMAGES}/locust.sif"
    try:
        cluster.run("srun", "-w", "node[1-4]", "sh", "-ec", f"{copy} /tmp/images")
        assert doctor(cluster, *options)[0] == 0
        cluster.run("cp", f"{IMAGES}/locust.sif", "/tmp/images/server.sif", node="node2")
        code, report = doctor(cluster, *options)
        assert (code, failing_nodes(report)) == (1, {"image": ["node2"]})
        cluster.run("rm", "/tmp/images/server.sif", node="node2")
        code, report = doctor(cluster, *options)
        assert (code, failing_nodes(report)) == (1, {"image": ["node2"]})
        assert "does not exist" in next(c["detail"] for c in report["checks"] if c["nodes"])
    finally:
        cluster.run("srun", "-w", "node[1-4]", "rm", "-rf", "/tmp/images")


@pytest.mark.usefixtures("images")
def test_doctor_fails_when_apptainer_is_broken_on_one_node(cluster: Cluster) -> None:
    program = "/usr/bin/apptainer"
    with broken(cluster, "node3", f"chmod 000 {program}", f"chmod 755 {program}"):
        code, report = doctor(cluster, *FOUR)
    assert (code, failing_nodes(report)) == (1, {"apptainer": ["node3"]})
    fails = (
        f"mv {program} {program}.ok; printf '%s\\n' '#!/bin/sh' '[ $1 = version ] && exec echo 1.4.5' \
'echo FATAL: no namespaces >&2; exit 255' > {program}; chmod 755 {program}"
    )
    with broken(cluster, "node3", fails, f"mv {program}.ok {program}"):
        code, report = doctor(cluster, *FOUR)
    assert (code, failing_nodes(report)) == (1, {"apptainer": ["node3"]})
    assert "FATAL: no namespaces" in next(c["detail"] for c in report["checks"] if c["nodes"])


@pytest.mark.usefixtures("images")
def test_doctor_warns_without_fuse_on_one_node(cluster: Cluster) -> None:
    with broken(cluster, "node4", "chmod 600 /dev/fuse", "chmod 666 /dev/fuse"):
        report = doctor(cluster, *FOUR)[1]
    assert failing_nodes(report, "WARN") | failing_nodes(report) == {"apptainer": ["node4"]}


def test_doctor_fails_when_a_node_resolves_a_name_wrongly(cluster: Cluster) -> None:
    kept, hosts = "/tmp/hosts", "/etc/hosts"
    wrong = f"sed 's/^.* node3$/127.0.1.1 node3/' {kept} > {hosts}"
    none = f"sed /node3/d {kept} > {hosts}"
    with broken(cluster, "node2", f"cp {hosts} {kept}", f"cat {kept} > {hosts}; rm {kept}"):
        for change, expected in (
            (wrong, "node2 resolves node3 to"),
            (none, "node2 cannot resolve node3"),
        ):
            cluster.run("sh", "-ec", change, node="node2", user="root")
            code, report = doctor(cluster, *VENV)
            assert (code, failing_nodes(report)) == (1, {"names": ["node2"]})
            assert expected in json.dumps(report)


def test_doctor_warns_of_a_proxy(cluster: Cluster) -> None:
    proxied = ("env", "http_proxy=http://user:secret@proxy:3128", "no_proxy=node1")
    done = cluster.run(*proxied, "launcher", "doctor", *VENV)
    assert "[WARN] proxy: http_proxy on node1, node2, node3, node4" in done.stdout
    assert "secret" not in done.stdout


def test_doctor_fails_when_the_folder_is_not_shared(cluster: Cluster) -> None:
    code, report = doctor(cluster, *VENV, "--dir", "/tmp")
    assert (code, failing_nodes(report)) == (1, {"folder": ["node1", "node2", "node3", "node4"]})


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_doctor_leaves_no_job_when_stopped(cluster: Cluster, number: signal.Signals) -> None:
    holder = cluster.run("sbatch", "--parsable", "-N6", "--exclusive", "--wrap", "sleep 300").stdout
    try:
        stopped_while(cluster, number, "PD")
    finally:
        cluster.run("scancel", holder.strip())
    wait_for(lambda: "idle" in state(cluster, "node1"), 30, "nodes are free")
    slow = (
        "mv /usr/bin/apptainer /usr/bin/ok; printf '#!/bin/sh\\nsleep 60\\n' > /usr/bin/apptainer; \
chmod 755 /usr/bin/apptainer"
    )
    with broken(cluster, "node1", slow, "mv /usr/bin/ok /usr/bin/apptainer"):
        stopped_while(cluster, number, "R")


def stopped_while(cluster: Cluster, number: signal.Signals, job: str) -> None:
    """Interrupts the doctor once its job is in this state."""
    doing = cluster.popen("launcher", "doctor", *FOUR)
    try:
        listed = ("squeue", "--noheader", "--name=openenv-doctor", f"--states={job}")
        wait_for(lambda: cluster.run(*listed).stdout, 20, f"its job is {job}")
        cluster.run("pkill", f"-{int(number)}", "-f", "bin/launcher doctor")
        doing.wait(20)
    finally:
        doing.kill()
        doing.communicate()
    wait_for(lambda: not jobs(cluster), 20, "its job is gone")


def test_doctor_refuses_without_slurm(cluster: Cluster) -> None:
    path = "PATH=/home/alice/openenv-slurm/.venv/bin"
    done = cluster.run("env", path, "launcher", "doctor", check=False)
    assert done.returncode == 2
    assert done.stderr.startswith(
        "error: Slurm is not installed here: salloc is not on PATH; run this on a login"
    )
    there = ("env", path, "launcher", "doctor", "--local", "--runtime", "venv")
    assert "[OK]   descriptors: " in cluster.run(*there).stdout


def test_doctor_reports_what_slurm_refuses(cluster: Cluster) -> None:
    done = cluster.run("launcher", "doctor", "--partition", "nope", check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("error: Job submit/allocate failed: Invalid partition name")
    assert len(done.stderr.splitlines()) == 1


def test_preflight_checks_the_nodes_of_a_deployment(cluster: Cluster) -> None:
    script = "cd /tmp && launcher preflight --name looked --json; true"
    options = (*VENV, "--name", "looked", "--dir", "/home/alice/looked")
    up = ("launcher", "up", *options, "--", "sh", "-c", script)
    checks = {c["name"]: c for c in json.loads(cluster.run(*up).stdout)}
    assert list(checks) == [
        *("servers", "envoy", "backends", "distribution", "places", "sessions", "steps"),
        *("clocks", "descriptors", "load"),
    ]
    assert all(check["ok"] for check in checks.values())
    with few_descriptors(cluster, "node4", 90):
        checks = {c["name"]: c["ok"] for c in json.loads(cluster.run(*up).stdout)}
    assert [name for name, passed in checks.items() if not passed] == ["descriptors", "load"]
