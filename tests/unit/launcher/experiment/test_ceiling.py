"""The search for ceilings within a grid, and what is reported about it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from analysis.cells.reasons import Bound
from analysis.scaling.criterion import Criterion
from launcher.deployment.state import DeploymentState
from launcher.errors import LoadFailed
from launcher.experiment.ceiling import (
    answer,
    batch_limit,
    BatchLimit,
    CeilingSearch,
    largest_batch,
    limit_reached,
    load_limits,
    notes,
    search_each_wait,
    SearchResult,
    sentence,
)
from launcher.experiment.grid import Cell, Grid, MAX_BATCH
from launcher.experiment.load_placement import LoadPlacement
from launcher.experiment.search import Bracket
from launcher.experiment.target import Target
from launcher.runtimes.local import LocalRuntime
from launcher.system.machine import Limits

LIMIT = BatchLimit(1000, Bound.DESCRIPTORS, "2 load worker(s) can open 1000 sessions")


def line(batch: int, repetition: int, cap: int, **values: Any) -> dict[str, Any]:
    error_rate = max(0, batch - cap) / batch
    return {
        "batch_size": batch,
        "repetition": repetition,
        "error_rate": error_rate,
        "valid": True,
        "reasons": "",
    } | values


def search_request(**values: Any) -> CeilingSearch:
    grid = Grid("http://n", (32,), (1.0,), Path("x"), **({"reps": 2} | values))
    return CeilingSearch(grid, Criterion(1.0), 32, None, 0.0)


def test_search_each_wait_runs_cells_of_the_requested_grid() -> None:
    ran: list[Cell] = []

    def run(cell: Cell) -> dict[str, Any]:
        ran.append(cell)
        return line(cell.batch, cell.repetition, 50 if cell.wait == 1.0 else 100)

    grid = search_request().grid
    request = CeilingSearch(
        Grid(grid.url, (32,), (1.0, 5.0), grid.output, reps=2, shape="hold", steps=3),
        Criterion(1.0),
        precision=0.0,
    )
    first, second = search_each_wait(request, LIMIT, run)
    assert first.brackets == (Bracket(50, 51), Bracket(50, 51))
    assert second.brackets == (Bracket(100, 101), Bracket(100, 101))
    assert ran[0] == Cell("ws", 32, 1.0, 1, "hold", 3)
    assert {(cell.shape, cell.steps) for cell in ran} == {("hold", 3)}
    assert len(first.lines) + len(second.lines) == len(ran)


def test_search_each_wait_ends_inconclusive_when_a_cell_is_invalid() -> None:
    def run(cell: Cell) -> dict[str, Any]:
        late = {"valid": False, "reasons": "load-1 was late"} if cell.batch == 512 else {}
        return line(cell.batch, cell.repetition, 10**6, **late)

    [result] = search_each_wait(search_request(), LIMIT, run)
    problem = "batch 512 is INVALID: load-1 was late"
    assert result.brackets == (Bracket(256, None, problem),) * 2
    assert limit_reached(result) is None
    assert notes(result, Criterion(1.0)) == [f"unknown above 256: {problem}"]


def test_search_each_wait_tries_no_batch_below_the_expected_hosts() -> None:
    tried = []

    def run(cell: Cell) -> dict[str, Any]:
        tried.append(cell.batch)
        return line(cell.batch, cell.repetition, 0)

    [result] = search_each_wait(search_request(expected_hosts=4, require_hosts=True), LIMIT, run)
    assert result.brackets[0] == Bracket(0, 4)
    assert min(tried) == 4


def test_answer_names_the_limit_as_bound_when_no_batch_failed() -> None:
    [result] = search_each_wait(
        search_request(), LIMIT, lambda cell: line(cell.batch, cell.repetition, 10**6)
    )
    described = answer(result, {"ceiling": 1000, "bound": "", "bound_evidence": ""}, Criterion(1.0))
    assert (described["bound"], described["bound_evidence"]) == (LIMIT.bound, LIMIT.evidence)
    assert described["limit"] == LIMIT.evidence
    assert described["next_failing"] is None


def test_notes_name_contradictory_outcomes() -> None:
    lines = (line(64, 1, 10), line(32, 1, 100), line(80, 2, 100))
    result = SearchResult(1.0, (Bracket(32, 64), Bracket(80, 81)), lines, LIMIT)
    [note] = notes(result, Criterion(1.0))
    assert note == "batch 64 failed in repetition 1, though 80 passed in repetition 2"
    assert answer(result, {"ceiling": 32}, Criterion(1.0))["next_failing"] == 64


@pytest.mark.parametrize(
    ("ceiling", "reached", "text"),
    [(992, True, "992"), (1000, False, "at least 1000"), (None, False, "unknown")],
)
def test_sentence_has_the_format_of_the_runbook(
    ceiling: int | None, reached: bool, text: str
) -> None:
    known = {
        "ceiling": ceiling,
        "reached": reached,
        "wait_seconds": 1.0,
        "first_invalid": None,
        "bound": "",
    }
    described = sentence(known | {"criterion": Criterion().text})
    assert described == f"max_batch where success >= 95 % at wait 1 s: {text}"


def test_load_limits_name_descriptors_and_ports() -> None:
    held, ports, _ = load_limits(Limits(descriptors=1100, ports=5000), workers=2, addresses=1)
    assert (held.batch, held.bound, ports.batch, ports.bound) == (
        2000,
        Bound.DESCRIPTORS,
        5000,
        Bound.PORTS,
    )
    assert "2 load worker(s) can open 2000 sessions" in held.evidence


def deployed(**changes: Any) -> Target:
    state = {
        "url": "http://n1:8000",
        "name": "any",
        "connection": {"ENVOY_NODE": "n1"},
        "capacity": 700,
        "envoy_sessions": 900,
    }
    return Target("http://n1:8000", DeploymentState(**(state | changes)))


@pytest.mark.parametrize(
    ("target", "start", "max_batch", "largest"),
    [
        (Target("http://n1:8000"), 32, None, 32),
        (Target("http://n1:8000"), 32, 500, 500),
        (deployed(), 32, None, 700),
        (deployed(capacity=1000), 32, None, 900),
        (deployed(connection={"ENVOY_NODE": ""}, capacity=1000), 32, None, 1000),
        (deployed(), 32, 2000, 2000),
        (deployed(), 800, None, 800),
    ],
)
def test_largest_batch_is_the_option_or_what_the_target_can_hold(
    target: Target, start: int, max_batch: int | None, largest: int
) -> None:
    search = replace(search_request(), start=start, max_batch=max_batch)
    assert largest_batch(search, target) == largest


@pytest.fixture
def limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LocalRuntime, "limits", lambda _: Limits(descriptors=600, ports=1500))


def limit_of(target: Target, workers: int, **changes: Any) -> BatchLimit:
    placement = LoadPlacement(target, ("127.0.0.1",) * workers)
    search = replace(search_request(sources=changes.pop("sources", ())), **changes)
    return batch_limit(search, placement)


@pytest.mark.usefixtures("limits")
def test_batch_limit_is_the_lowest_of_all_limits() -> None:
    server = Target("http://n1:8000")
    assert limit_of(server, 2).batch == 1000
    assert (limit_of(server, 4).batch, limit_of(server, 4).bound) == (1500, Bound.PORTS)
    assert limit_of(server, 4, sources=("127.0.0.1", "127.0.0.2")).batch == 2000
    assert limit_of(server, 4, max_batch=1499).bound is Bound.MAX_BATCH
    assert limit_of(deployed(), 4).batch == 900
    assert limit_of(deployed(connection={"ENVOY_NODE": ""}), 4).batch == 1500


@pytest.mark.usefixtures("limits")
def test_batch_limit_refuses_a_start_that_the_load_cannot_open() -> None:
    server = Target("http://n1:8000")
    assert limit_of(server, 2, start=1000).batch == 1000
    with pytest.raises(LoadFailed, match="cannot start the search with batch 1001: 2 load worker"):
        limit_of(server, 2, start=1001)


def test_load_limits_end_at_the_largest_batch_of_all() -> None:
    limits = load_limits(Limits(descriptors=10**8, ports=10**8), workers=1, addresses=1)
    assert min(limits, key=lambda limit: limit.batch).batch == MAX_BATCH


def test_answer_names_the_smallest_batch_above_the_ceiling_that_failed() -> None:
    lines = tuple(line(batch, 1, 50) for batch in (32, 128, 64, 48, 56))
    result = SearchResult(1.0, (Bracket(48, 56),), lines, LIMIT)
    assert answer(result, {"ceiling": 48}, Criterion(1.0))["next_failing"] == 56
    assert answer(result, {"ceiling": 60}, Criterion(1.0))["next_failing"] == 64
    assert answer(result, {"ceiling": 128}, Criterion(1.0))["next_failing"] is None
    assert answer(result, {"ceiling": None}, Criterion(1.0))["next_failing"] == 56


def test_answer_keeps_the_bound_of_the_line_when_a_batch_failed() -> None:
    result = SearchResult(1.0, (Bracket(50), Bracket(50, 51)), (line(51, 2, 50),), LIMIT)
    described = answer(result, {"ceiling": 50, "bound": "ports"}, Criterion(1.0))
    assert (described["bound"], described["limit"]) == ("ports", "")


def test_notes_are_not_repeated() -> None:
    result = SearchResult(1.0, (Bracket(0, None, "late"), Bracket(0, None, "late")), (), LIMIT)
    assert notes(result, Criterion(1.0)) == ["late"]
