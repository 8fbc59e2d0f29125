"""The log entry of the runbook, from result folders."""

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from analysis.report import log_entry
from analysis.report.report import write
from analysis.scaling.criterion import Criterion
from analysis.scaling.efficiency import Interpretation, Verdict
from tests.helpers.report_folders import beyond, Made, none_refused

# As the runbook has it.
HEADINGS = [
    "### Configuration",
    "### Command",
    "### Results Summary",
    "### Links",
    "### Observations",
]
COLUMNS = "| wait_s | Max Batch | p99 Latency | Success % | RPS |"
METRICS = [
    "Single-node ceiling",
    "Multi-node ceiling",
    "Scaling factor",
    "Scaling efficiency",
    "unique_hosts",
]


@pytest.fixture(autouse=True)
def no_page(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hides matplotlib, so that no page is drawn and the test is faster."""
    import sys

    monkeypatch.setitem(sys.modules, "matplotlib", None)


def entry(*folders: Path) -> str:
    return (write(folders, None, Criterion()).output / "LOG_ENTRY.md").read_text()


def table(text: str, head: str) -> list[list[str]]:
    lines = text[text.index(head) :].splitlines()[2:]
    rows = lines[: next((n for n, line in enumerate(lines) if not line.startswith("|")), None)]
    return [[word.strip() for word in row.strip("|").split("|")] for row in rows]


def test_entry_fills_in_the_template_of_the_runbook(tmp_path: Path) -> None:
    folder = Made(tmp_path / "grid", (32, 128, 512), (1.0, 5.0), 2, refused=beyond(300)).write()
    text = entry(folder)
    assert text.startswith("## Run: 2026-03-01-slurm-multi\n\n**Infrastructure:** slurm-multi\n")
    assert (
        "**Start:** 2026-03-01T12:00:00Z\n**End:** 2026-03-01T12:42:00Z\n**Status:** Complete\n"
        in text
    )
    assert [line for line in text.splitlines() if line.startswith("### ")] == HEADINGS
    configuration = [
        "Nodes: 2",
        "CPUs per node: unknown",
        "Workers per node: 4",
        "URL: http://n1:8000",
    ]
    assert "".join(f"- {line}\n" for line in configuration) in text
    assert COLUMNS in text
    assert "- Raw data: [raw.jsonl](raw.jsonl)\n- Summary CSV: [summary.csv](summary.csv)\n" in text
    assert "- Unique hosts seen: 2\n- Load distribution: even (max/mean 1.0" in text
    assert "- All 12 cells are VALID." in text
    assert "Bound by: admission cap" in text


def test_max_batch_is_the_ceiling_of_each_wait(tmp_path: Path) -> None:
    def refused(batch: int, wait: float, _: int) -> int:
        """All of wait 10; of wait 5 a quarter of the larger batch."""
        return batch if wait == 10 else batch // 4 if wait == 5 and batch > 32 else 0

    folder = Made(tmp_path / "grid", (32, 128), (1.0, 5.0, 10.0), refused=refused).write()
    first, second, third = table(entry(folder), COLUMNS)
    assert first[:2] == ["1.0", "≥ 128"]
    assert second[:2] == ["5.0", "32"]
    assert re.fullmatch(r"5\.\d{3} s", second[2])
    assert second[3] == "100.00"
    assert float(second[4]) > 1
    assert third == ["10.0", "none", "-", "-", "-"]


def test_the_experiment_command_is_the_one_that_was_given(tmp_path: Path) -> None:
    text = entry(Made(tmp_path / "grid").write())
    argv = shlex.split(text[text.index("# Experiment") :].splitlines()[1])
    assert argv == [
        "launcher",
        *json.loads((tmp_path / "grid" / "run.json").read_text())["arguments"],
    ]
    assert "# unknown: run.json does not contain the command of the servers" in text


def changed(folder: Path, **run: Any) -> Path:
    content = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps(content | run))
    return folder


def test_infrastructure_is_local_when_all_nodes_are_loopback(tmp_path: Path) -> None:
    folder = Made(tmp_path / "grid", servers=1).write()
    processes = [{"name": "server-1", "role": "server", "node": "127.0.0.3"}]
    text = entry(changed(folder, placement={"processes": processes, "command": ["launcher", "up"]}))
    assert text.startswith("## Run: 2026-03-01-local-single\n")
    assert "- CPUs per node: 2\n" in text
    assert "# Server\nlauncher up\n" in text


def test_cores_are_those_that_were_sampled(tmp_path: Path) -> None:
    folder = Made(tmp_path / "grid").write()
    samples = [{"kind": "process", "node": "n2"}] + [
        {"kind": "node", "node": node, "cores": cores}
        for node, cores in (("n2", 48), ("n3", 64), ("n9", 2))
    ]
    (folder / "samples.jsonl").write_text("".join(json.dumps(sample) + "\n" for sample in samples))
    assert "- CPUs per node: 48 to 64\n" in entry(folder)


def test_entry_names_the_error_of_a_failed_run(tmp_path: Path) -> None:
    folder = Made(tmp_path / "grid", invalid=[(32, 1.0, 1)]).write()
    text = entry(changed(folder, status="failed", error="load worker lost", planned_cells=9))
    assert "**Status:** Failed (load worker lost)\n" in text
    assert (
        "- 2 of 3 cells are VALID, 1 INVALID.\n- INVALID: ws 32 × 1 s #1: the load generator "
        "lost 16 of 32 sessions" in text
    )
    assert "3 cells of 9 recorded" in text


def test_entry_marks_unknown_values_when_run_json_is_missing(tmp_path: Path) -> None:
    text = entry(Made(tmp_path / "old", old_columns=True, facts=False).write())
    assert text.startswith("## Run: 2026-03-01-unknown-multi\n")
    assert "**Status:** Unknown\n" in text
    assert "**End:** unknown\n" in text
    assert "- Workers per node: unknown\n- URL: http://n1:8000\n" in text
    assert "# unknown: there is no run.json" in text
    assert not re.search(r"None|nan|<NA>", text)


def test_an_experiment_has_an_entry_for_each_phase_and_the_key_metrics(tmp_path: Path) -> None:
    for servers in (1, 2):
        batches = tuple(servers * batch for batch in (64, 128, 160))
        Made(tmp_path / f"nodes-{servers}", batches, reps=2, servers=servers,
             refused=beyond(140 * servers), run_id=f"r{servers}").write()  # fmt: skip
    text = entry(tmp_path)
    assert re.findall(r"^## (.*)", text, flags=re.M) == [
        "Run: 2026-03-01-slurm-single",
        "Run: 2026-03-01-slurm-multi",
        "Key Metrics to Report",
    ]
    assert "[raw.jsonl](nodes-2/raw.jsonl)" in text
    rows = table(text, "| Metric | Formula | 2 servers, wait 1 s |")
    assert [row[0].partition(" (")[0] for row in rows] == METRICS
    assert [row[2] for row in rows] == ["128", "256", "2.00", "100.0%", "2"]


def test_lower_bounds_are_marked(tmp_path: Path) -> None:
    for servers in (1, 2):
        batches = tuple(servers * batch for batch in (64, 128))
        refused = beyond(150) if servers == 1 else none_refused
        Made(tmp_path / f"nodes-{servers}", batches, servers=servers, refused=refused,
             run_id=f"r{servers}").write()  # fmt: skip
    text = entry(tmp_path)
    rows = table(text, "| Metric | Formula | 2 servers, wait 1 s |")
    assert [row[2] for row in rows] == ["64", "≥ 256", "≥ 4.00", "≥ 200.0%", "2"]
    assert "efficiency at least 200.0 %: the ceiling of 2 servers is only known" in text


@pytest.mark.parametrize(
    ("verdict", "marked"),
    [
        (Verdict.AT_LEAST, "≥ 9"),
        (Verdict.AT_MOST, "≤ 9"),
        (Verdict.UNDETERMINED, "unknown"),
        (Verdict.GOOD, "9"),
    ],
)
def test_a_bound_of_an_efficiency_is_marked(verdict: Verdict, marked: str) -> None:
    assert log_entry._limited({"interpretation": Interpretation(verdict, 0.75)}, "9") == marked


@pytest.mark.parametrize(
    ("nodes", "servers", "name"),
    [
        (["n1", "n2"], 2, "slurm-multi"),
        (["n1"], 1, "slurm-single"),
        (["127.0.0.2", "127.0.0.3"], 2, "local-multi"),
        (["127.0.0.2", "n2"], 2, "slurm-multi"),
        ([], None, "unknown-single"),
    ],
)
def test_infrastructure(nodes: list[str], servers: int | None, name: str) -> None:
    processes = [{"node": node} for node in nodes]
    assert log_entry.infrastructure({"placement": {"processes": processes}}, servers) == name
