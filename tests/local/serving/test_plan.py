"""`launcher plan --sessions`, without Slurm, for hypothetical nodes."""

import json
from pathlib import Path

import pytest

from tests.helpers.local import launch

NODES = ("--node-cores", "64", "--node-mem", "256G", "--node-descriptors", "20000")


def test_plan_shows_the_needs_of_a_hundred_thousand_sessions(tmp_path: Path) -> None:
    done = launch("plan", "--sessions", "100000", "--nodes", "9", *NODES, "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    plan = json.loads(done.stdout)
    needs = plan["needs"]
    assert [(row["role"], row["nodes"]) for row in needs["roles"]][:2] == [
        ("Envoy", 1),
        ("server", 8),
    ]
    assert needs["limits"][0]["sessions"] >= 100_000
    assert needs["client_nodes_wanted"] == 8
    assert plan["capacity"] >= 100_000
    envoys = [process for process in plan["processes"] if process["role"] == "envoy"]
    assert len(envoys) == len(plan["envoy_configs"]) == 11


def test_plan_summary_for_a_million_sessions_on_eighty_nodes(tmp_path: Path) -> None:
    argv = ("plan", "--sessions", "1000000", "--nodes", "80", *NODES, "--summary")
    done = launch(*argv, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) < 20
    assert "bind first, at " in lines[-1]
    assert "for the load: --client-nodes 79" in lines


def test_plan_fails_with_advice_when_sessions_cannot_be_held(tmp_path: Path) -> None:
    small = ("--node-cores", "2", "--node-mem", "8G", "--node-descriptors", "20000")
    argv = ("plan", "--sessions", "1000000", "--nodes", "80", *small, "--summary")
    done = launch(*argv, cwd=tmp_path)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("error: 1,000,000 sessions cannot be held: the memory of Envoy")


def test_up_refuses_sessions_that_its_options_cannot_hold(tmp_path: Path) -> None:
    given = ("--max-concurrent-envs", "5", "--workers-per-node", "1")
    done = launch("up", "--local", "--sessions", "100", *given, cwd=tmp_path)
    assert done.returncode == 2
    assert "the places of the servers allow 10" in done.stderr
    assert "--max-concurrent-envs 50" in done.stderr


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (("--summary",), "--summary requires --sessions N"),
        (("--sessions", "0"), "--sessions: '0'"),
        (("--sessions", "1", "--node-mem", "big"), "--node-mem: 'big' is not a size such as 64G"),
        (("--sessions", "1", "--node-cores", "many"), "--node-cores: 'many'"),
    ],
)
def test_plan_refuses_invalid_options(argv: tuple[str, ...], expected: str, tmp_path: Path) -> None:
    done = launch("plan", *argv, cwd=tmp_path)
    assert done.returncode == 2
    assert expected in done.stderr
    assert len(done.stderr.splitlines()) == 1
