"""Only launcher/slurm calls Slurm's programs."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[4]
PROGRAMS = {"srun", "salloc", "sbatch", "scancel", "squeue", "scontrol", "sinfo", "sacct"}


def calls(source: str) -> Iterator[int]:
    """The lines of argv literals, that is of tuples and lists, that begin with one of the programs."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.Tuple, ast.List)) and node.elts:
            first = node.elts[0]
            if isinstance(first, ast.Constant) and first.value in PROGRAMS:
                yield node.lineno


def test_slurm_programs_are_called_from_one_room() -> None:
    files = [
        file
        for package in ("analysis", "benchmark", "launcher", "locustfiles")
        for file in (ROOT / package).rglob("*.py")
    ]
    callers = {file for file in files if list(calls(file.read_text()))}
    assert {file.parent for file in callers} == {ROOT / "launcher" / "slurm"}


@pytest.mark.parametrize(
    ("source", "lines"),
    [
        ('run(("scancel", job))', [1]),
        ('x = 1\nargv = ["srun", *rest]', [2]),
        ('argv = (*("sbatch", "--parsable"), script)', [1]),
        ('{"sbatch": argv}; print("scancel 7"); ("run", "srun")', []),
    ],
)
def test_a_call_is_found(source: str, lines: list[int]) -> None:
    assert list(calls(source)) == lines
