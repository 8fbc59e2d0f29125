"""A result folder, read again."""

import json
from pathlib import Path
from typing import Any

import orjson
import pytest

from analysis.errors import ResultsError
from analysis.results.folder import curve, find, load
from analysis.scaling.ceilings import ceilings
from analysis.scaling.criterion import Criterion
from tests.helpers.rows import failed, published, row, some

RUN = {"run_id": "run", "caps": {"max_concurrent_envs": 8, "workers_per_node": 2, "servers": 1}}


def folder(
    where: Path, *rows: dict[str, Any], run: dict[str, Any] | None = RUN, rest: bytes = b""
) -> Path:
    where.mkdir(parents=True, exist_ok=True)
    new = {"shape": "burst", "steps": 1, "intended_timestamp": None}
    text = b"".join(orjson.dumps(new | one) + b"\n" for one in rows)
    (where / "raw.jsonl").write_bytes(text + rest)
    if run is not None:
        (where / "run.json").write_text(json.dumps(run))
    return where


def test_a_folder_is_its_summary_and_what_its_rows_say_besides(tmp_path: Path) -> None:
    rows = [*some(10, repetition=1), *some(5, repetition=2, load_worker="load-2")]
    results = load(folder(tmp_path / "one", *rows))
    assert results.warnings == []
    assert results.summary["num_requests"].tolist() == [10, 5]
    first, second = results.details
    assert first.hosts == {"n0:8000": 4, "n1:8000": 3, "n2:8000": 3}
    assert second.load_workers == {"load-2": 5}
    assert max(first.curve[1]) == results.summary.loc[0, "peak_open"]
    assert results.caps["servers"] == 1


def test_details_are_those_of_the_attempt_that_counts(tmp_path: Path) -> None:
    rows = [*some(5), *some(5, load_worker="load-9", attempt=2)]
    results = load(folder(tmp_path, *rows))
    assert results.summary["attempt"].tolist() == [2]
    assert [detail.load_workers for detail in results.details] == [{"load-9": 5}]


def test_facts_are_those_of_their_attempt(tmp_path: Path) -> None:
    facts = {"mode": "ws", "shape": "burst", "batch": 5, "wait": 1.0, "steps": 1}
    facts |= {"arrival_rate": None, "repetition": 1}
    cells = [facts | {"attempt": 1, "shares_node": True}, facts | {"attempt": 2}]
    rows = [*some(5), *some(5, attempt=2)]
    results = load(folder(tmp_path, *rows, run=RUN | {"cells": cells}))
    assert results.summary["valid"].tolist() == [True]
    results = load(folder(tmp_path, *rows, run=RUN | {"cells": cells[::-1]}))
    assert results.summary["valid"].tolist() == [True]
    results = load(folder(tmp_path, *rows[:5], run=RUN | {"cells": cells}))
    assert results.summary["valid"].tolist() == [False]


def test_load_judges_by_rows_alone_when_there_is_no_run_json(tmp_path: Path) -> None:
    results = load(folder(tmp_path, *some(5), run=None))
    (warning,) = results.warnings
    assert "no run.json: caps are unknown, and validity is judged by the rows alone" in warning
    assert results.caps == {}


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda _: None, "holds no results: there is no raw.jsonl in it"),
        (Path.mkdir, "holds no results: there is no raw.jsonl in it"),
        (folder, "raw.jsonl has no rows"),
        (lambda path: folder(path, rest=b'{"reque'), "raw.jsonl has no rows"),
        (
            lambda path: folder(path, row(run_id="x")),
            "rows of run x, but run.json describes run run",
        ),
        (lambda path: folder(path, row(run_id="x"), row()), "holds rows of 2 runs"),
        (
            lambda path: (folder(path, row()) / "run.json").write_text("{"),
            "run.json cannot be read",
        ),
        (
            lambda path: (folder(path, row()) / "run.json").write_text("[]"),
            "was not written by a run: it is not an object",
        ),
    ],
)
def test_load_fails_with_one_line_when_results_cannot_be_read(
    make: Any, says: str, tmp_path: Path
) -> None:
    path = tmp_path / "some 'results'"
    make(path)
    with pytest.raises(ResultsError, match=says) as raised:
        load(path)
    assert str(path) in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("run", "says"),
    [
        ({"caps": [1]}, "caps is not an object"),
        ({"grid": "burst"}, "grid is not an object"),
        ({"placement": []}, "placement is not an object"),
        ({"placement": {"processes": {}}}, "placement.processes is not a list"),
        ({"placement": {"processes": ["n1"]}}, "placement.processes[0] is not an object"),
        ({"sittings": 5}, "sittings is not a list"),
        ({"sittings": [{}, 5]}, "sittings[1] is not an object"),
        ({"cells": {}}, "cells is not a list"),
        ({"cells": [{}, "cell"]}, "cells[1] is not an object"),
        ({"cells": [{"batch": [5]}]}, "cells[0].batch is not an integer"),
        ({"cells": [{"batch": True}]}, "cells[0].batch is not an integer"),
        ({"cells": [{"mode": {}}]}, "cells[0].mode is not a string"),
        ({"cells": [{"max_lag": "1"}]}, "cells[0].max_lag is not a number"),
        ({"cells": [{"lost_workers": 5}]}, "cells[0].lost_workers is not a list"),
        ({"cells": [{"replaced": [5]}]}, "cells[0].replaced is not a list of strings"),
        ({"cells": [{"bound": "ports"}]}, "cells[0].bound is not an object"),
        ({"cells": [{"bound": {"by": 1}}]}, "cells[0].bound.by is not a string"),
        ({"cells": [{"workers": [1]}]}, "cells[0].workers is not an object"),
        ({"cells": [{"workers": {"load-1": 1}}]}, "cells[0].workers.load-1 is not an object"),
        (
            {"cells": [{"workers": {"load-1": {"lag_max": "1"}}}]},
            "cells[0].workers.load-1.lag_max is not a number",
        ),
    ],
)
def test_load_names_file_and_key_when_a_value_has_another_type(
    run: dict[str, Any], says: str, tmp_path: Path
) -> None:
    path = folder(tmp_path, row(), run={"run_id": "run"} | run)
    with pytest.raises(ResultsError) as raised:
        load(path)
    assert str(raised.value) == (
        f"{path}/run.json was not written by a run: {says}; move it away to ignore it"
    )


@pytest.mark.parametrize(
    "run",
    [
        {},
        {"run_id": "run", "cells": [{"mode": "ws", "batch": 5, "wait": 1, "repetition": 1}]},
        {
            **dict.fromkeys(("caps", "grid", "placement", "sittings", "cells", "machine")),
            "run_id": "run",
        },
        {"cells": [{"workers": None, "bound": None, "lost_workers": None, "max_lag": 1}]},
        {"placement": {"processes": None}, "later": [1, {}]},
    ],
)
def test_load_accepts_run_json_of_an_older_version(run: dict[str, Any], tmp_path: Path) -> None:
    results = load(folder(tmp_path, *some(5), run=run))
    assert (results.warnings, results.summary["valid"].tolist()) == ([], [True])


def test_facts_without_shape_and_steps_belong_to_a_burst_of_one_step(tmp_path: Path) -> None:
    facts = {"mode": "ws", "batch": 5, "wait": 1, "repetition": 1, "shares_node": True}
    results = load(folder(tmp_path, *some(5), run=RUN | {"cells": [facts]}))
    assert results.summary["valid"].tolist() == [False]


def test_load_warns_when_the_last_line_is_truncated(tmp_path: Path) -> None:
    results = load(folder(tmp_path, *some(5), rest=b'{"request_id":5,"ti'))
    assert results.warnings == [f"{tmp_path}/raw.jsonl: the last line is truncated and was ignored"]


def test_load_names_missing_columns(tmp_path: Path) -> None:
    rows = [{n: v for n, v in one.items() if n not in ("pid", "host_url")} for one in some(5)]
    (warning,) = load(folder(tmp_path, *rows)).warnings
    assert warning.endswith("another tool: its rows have no host_url, pid")


def test_load_does_not_warn_when_the_summary_matches_the_rows(tmp_path: Path) -> None:
    path = folder(tmp_path, *some(10), *[failed("TIMEOUT", repetition=2)] * 2)
    load(path).summary.to_csv(path / "summary.csv", index=False)
    assert load(path).warnings == []


def test_load_names_the_first_difference_between_summary_and_rows(tmp_path: Path) -> None:
    path = folder(tmp_path, *some(10), *some(10, repetition=2))
    summary = load(path).summary
    summary.assign(failed=[2, 7]).to_csv(path / "summary.csv", index=False)
    (warning,) = load(path).warnings
    assert warning == (
        f"{path}/summary.csv disagrees with the rows, which count: ws batch 10 wait 1 repetition 2: "
        "failed is 7, by the rows 2"
    )


def test_a_summary_worded_by_another_version_is_no_warning(tmp_path: Path) -> None:
    path = folder(tmp_path, *some(10), *[failed("ROW_MISSING", repetition=2)] * 2)
    summary = load(path).summary
    worded = summary.assign(reasons=["", "2 sessions lost by the load"], warnings=["", "none"])
    worded.to_csv(path / "summary.csv", index=False)
    assert load(path).warnings == []
    worded.assign(valid=[True, True]).to_csv(path / "summary.csv", index=False)
    assert "valid is True, by the rows False" in load(path).warnings[0]


def test_a_summary_with_other_cells_is_a_warning(tmp_path: Path) -> None:
    path = folder(tmp_path, *some(10), *some(10, repetition=2))
    load(path).summary.head(1).to_csv(path / "summary.csv", index=False)
    assert "it has 1 cells, the rows have 2" in load(path).warnings[0]
    (path / "summary.csv").write_text("")
    assert "summary.csv cannot be read" in load(path).warnings[0]


def test_the_published_tools_folder_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    lines = [published(n, batch_size=3) for n in (0, 1, 2, 1, 0, 2)]
    lines[5] |= {"success": False, "error_type": "TIMEOUT", "total_latency": 0.0}
    (tmp_path / "raw.jsonl").write_bytes(b"\n".join(map(orjson.dumps, lines)))
    results = load(tmp_path)
    assert results.summary["repetition"].tolist() == [1, 2]
    assert results.summary["error_rate"].tolist() == [0.0, 1 / 3]
    missing, caps = results.warnings[1], results.warnings[0]
    assert "run_id" in missing and "load_worker" in missing and "repetition" in missing
    assert "caps are unknown" in caps
    theirs = results.summary.iloc[:, :33].assign(url="http://n1:8000", hardware="theirs")
    theirs.to_csv(tmp_path / "summary.csv", index=False)
    assert len(load(tmp_path).warnings) == 2
    (line,) = ceilings([results], Criterion()).to_dict("records")
    assert (line["ceiling"], line["servers"], line["reached"]) == (3, 1, False)


def test_all_sessions_failed(tmp_path: Path) -> None:
    results = load(folder(tmp_path, *[failed("TIMEOUT", connect_latency=None)] * 2))
    assert results.summary["warnings"].tolist() == ["no session succeeded"]
    (details,) = results.details
    assert details.curve == ([0.0], [0])


def test_folders_are_found_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    for name in ("nodes-10", "nodes-2", "nodes-1", "other"):
        folder(tmp_path / name, row())
    (tmp_path / "empty").mkdir()
    found = [path.name for path in find(tmp_path)]
    assert found == ["nodes-1", "nodes-2", "nodes-10", "other"]
    assert find(tmp_path / "nodes-2") == [tmp_path / "nodes-2"]
    assert find(tmp_path / "empty") == find(tmp_path / "none") == []


def test_a_curve_has_every_event_or_many_moments_and_the_peak() -> None:
    import numpy as np

    few = curve(np.array([0.0, 1.0]), np.array([1.0, 3.0]))
    assert few == ([0.0, 1.0, 3.0], [1, 1, 0])
    opened = np.linspace(0, 1, 1000)
    ended = np.concatenate([[0.5], np.linspace(2, 3, 999)])
    times, counts = curve(opened, ended)
    assert len(times) == len(counts) <= 400
    assert (max(counts), counts[-1]) == (999, 0)
