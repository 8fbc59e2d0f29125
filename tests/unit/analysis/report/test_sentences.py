"""The sentences, captions and numbers of a report, from values."""

from math import inf, nan
from typing import Any

import pytest

from analysis.cells.reasons import Caution, Finding, Findings
from analysis.report import captions, page, sentences, tables
from analysis.report.formatting import count, listed, percent, seconds, span
from analysis.report.series import unevenness
from analysis.results.folder import CellDetails, Results
from analysis.scaling.ceilings import CeilingStatus
from analysis.scaling.efficiency import Interpretation, LowerBound, Verdict
from analysis.scaling.usl import NoFit, NoFitCode
from tests.helpers.report_lines import ceiling_line, cell, law, panel, results, scaled_line

# Numbers as they are written


@pytest.mark.parametrize(
    ("share", "written"),
    [
        (1, "100 %"),
        (0.9999, "> 99.9 %"),
        (0.95, "95.0 %"),
        (0.0001, "< 0.1 %"),
        (0, "0 %"),
        (nan, "–"),
    ],
)
def test_percent_is_100_only_for_all(share: float, written: str) -> None:
    assert percent(share) == written


def test_numbers() -> None:
    assert [count(3072), count(0.5), span(2899.6, 3100)] == ["3,072", "0.5", "2,900–3,100"]
    assert [seconds(0.02083), seconds(1.0348), seconds(131.2)] == ["0.0208 s", "1.03 s", "131 s"]
    assert [seconds(nan), seconds(inf)] == ["–", "–"]
    assert listed(["a"]) == "a"
    assert listed(["a", "b", "c"]) == "a, b and c"
    assert listed(["a", "b", "c"], limit=2) == "a, b and 1 more"
    assert page.tied("1.5 s, 95 % of 3 servers") == "1.5\u00a0s, 95\u00a0% of 3 servers"


# Sentences


def test_ceiling_sentence_names_interval_and_bound() -> None:
    assert sentences.ceiling_sentence(ceiling_line()) == (
        "2 servers, wait 1 s: ceiling 3,072 sessions with mean success 99.1 %. 4,096 failed. 95 % "
        "interval 2,900–3,100 (bootstrap over 3 repetitions and their brackets: 3072-3200 2900-3000 "
        "3072-3200). Bound by: admission cap: 1024 refused."
    )


HIDDEN = {"first_invalid": 1024, "repetitions": 0, "brackets": ""}


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        (
            {"reached": False, "first_failing": None},
            "at least 3,072 sessions; no larger batch failed, so the ceiling was not reached. 95 %",
        ),
        (
            {"ceiling": 0, "first_failing": 32},
            "no batch met the criterion. 32 is the smallest batch that failed. Bound",
        ),
        ({"ceiling": None, "first_failing": None}, "no ceiling, because no cell is VALID. Bound"),
        (
            {"ceiling": None, "first_failing": 64, "first_invalid": 32, "repetitions": 0},
            "no ceiling, because 32 is INVALID. 64 is the smallest batch that failed. Bound",
        ),
        (
            {"ceiling": 512, "reached": False, "first_failing": None} | HIDDEN,
            "at least 512 sessions; 1,024 is INVALID, so the ceiling is unknown. Bound by",
        ),
        (
            {"ceiling": 512, "reached": False, "first_failing": 2048} | HIDDEN,
            "512 sessions; 1,024 is INVALID, so the ceiling is unknown. 2,048 failed. Bound by",
        ),
        (
            {"ceiling": 512, "reached": False, "first_failing": 512} | HIDDEN,
            "so the ceiling is unknown. 512 failed in some repetitions. Bound by",
        ),
        (
            {"bound": "load generator"},
            "at least 3,072 sessions; the load generator was the limit, so the servers may hold",
        ),
        ({"ceiling_high": nan}, "95 % interval: at least 2,900 (bootstrap over"),
        (
            {"ceiling_low": nan, "repetitions": 1, "brackets": "3072-3200"},
            "One repetition: no interval; the ceiling is at least 3,072 and below 3,200.",
        ),
        ({"first_failing": 3072}, "99.1 %. 3,072 failed in some repetitions."),
        ({"first_failing": 2048}, "99.1 %. 2,048 failed in some repetitions."),
        (
            {"ceiling_low": nan, "repetitions": 1, "brackets": "3072-3073"},
            "One repetition: no interval. Bound",
        ),
        ({"ceiling_low": 3072.0, "ceiling_high": 3072.0}, "The same in all 3 repetitions."),
        ({"bound": "", "bound_evidence": ""}, "2900-3000 3072-3200)."),
        (
            {"mode": "http", "shape": "hold", "steps": 3},
            "wait 1 s, http, shape hold, 3 steps: ceiling",
        ),
        ({"servers": None}, "unknown servers, wait 1 s: ceiling"),
    ],
)
def test_ceiling_sentence_of_every_status(fields: dict[str, Any], said: str) -> None:
    assert said in sentences.ceiling_sentence(ceiling_line(**fields))


def test_efficiency_sentences_have_intervals_and_skip_the_baseline() -> None:
    lines = [
        scaled_line(1),
        scaled_line(4, scaling_factor=3.8, efficiency=0.95, efficiency_low=0.91),
    ]
    lines[1]["efficiency_of_means"] = 0.955
    assert sentences.efficiency_sentences(lines) == [
        "4 servers, wait 1 s: 3.80 times the ceiling of 1 server; efficiency 95.0 % (95 % interval "
        "91.0 % to 102.0 %): good linear scaling."
    ]
    single = [scaled_line(1), scaled_line(2, efficiency_low=nan)]
    assert (
        "efficiency 100 % (one repetition: no interval)"
        in sentences.efficiency_sentences(single)[0]
    )
    none = [scaled_line(1), scaled_line(2, interpretation=Interpretation(Verdict.NO_BASELINE, nan))]
    assert (
        "no efficiency, because 1 server has no ceiling." in sentences.efficiency_sentences(none)[0]
    )


def test_efficiency_by_means_is_added_where_it_differs() -> None:
    near = scaled_line(2, efficiency=0.78, efficiency_of_means=0.785)
    assert "means" not in sentences.efficiency_sentences([scaled_line(1), near])[0]
    far = scaled_line(
        2, scaling_factor=1.54, efficiency=0.77, efficiency_of_means=0.91, efficiency_high=nan
    )
    assert sentences.efficiency_sentences([scaled_line(1), far]) == [
        "2 servers, wait 1 s: 1.54 times the ceiling of 1 server; efficiency 77.0 % by the runbook's "
        "formula, which uses the best repetition of each; 91.0 % by their means (95 % interval 97.0 % "
        "without an upper end): good linear scaling."
    ]


def test_efficiency_of_a_lower_bound_is_a_bound() -> None:
    bound = LowerBound(2, 1500, CeilingStatus.NO_FAILURE, None)
    found = Interpretation(Verdict.AT_LEAST, 0.75, lower_bounds=(bound,))
    line = scaled_line(2, efficiency_low=nan, interpretation=found)
    assert sentences.efficiency_sentences([scaled_line(1), line]) == [
        "2 servers, wait 1 s: efficiency at least 75.0 %: the ceiling of 2 servers is only known to be at "
        "least 1,500: no larger batch failed."
    ]


def test_table_of_ceilings_marks_lower_bounds_and_open_intervals() -> None:
    def cells(**fields: Any) -> list[str]:
        line = ceiling_line(**fields)
        return [value(line) for _, _, value in tables.CEILING_COLUMNS[6:9]]

    brackets = "3072-3200 2900-3000 3072-3200"
    assert cells() == ["3,072", "2,900–3,100", brackets]
    assert cells(bound="load generator")[0] == cells(reached=False)[0] == "≥ 3,072"
    assert cells(ceiling_high=nan)[1] == "at least 2,900"
    assert cells(ceiling_low=nan, repetitions=1)[1] == "one repetition"
    assert cells(ceiling_low=nan, **HIDDEN)[1:] == ["–", ""]


def test_efficiency_has_the_baseline_of_its_own_wait() -> None:
    lines = [
        scaled_line(1),
        scaled_line(2),
        scaled_line(2, wait_seconds=5.0),
        scaled_line(4, wait_seconds=5.0),
    ]
    first, second = sentences.efficiency_sentences(lines)
    assert "ceiling of 1 server;" in first
    assert "ceiling of 2 servers;" in second


def test_invalid_cells_are_counted_and_named_with_their_reasons() -> None:
    lost = {"valid": False, "reasons": "3 sessions lost by the load"}
    lines = [cell(), cell(64, **lost), cell(64, repetition=2, **lost), cell(128)]
    assert sentences.validity_sentences(lines) == [
        "2 of 4 cells are VALID, 2 INVALID.",
        "INVALID: ws 64 × 1 s #1 and ws 64 × 1 s #2: 3 sessions lost by the load.",
    ]
    assert sentences.validity_sentences([cell(), cell(64)]) == ["All 2 cells are VALID."]
    many = [cell(n, valid=False, reasons=f"{n} rows") for n in range(1, 20)]
    assert (
        sentences.validity_sentences(many)[-1]
        == "INVALID for other reasons: 13 cells; see all cells."
    )


def test_cells_have_short_names() -> None:
    line = cell(4096, shape="open", arrival_rate=50.0, steps=3, wait_seconds=0.5)
    assert sentences.cell_name(line) == "ws open at 50/s 4,096 × 0.5 s, 3 steps #1"
    assert sentences.cell_name(cell()) == "ws 32 × 1 s #1"


def test_validity_sentences_name_the_folder_of_a_cell_among_several() -> None:
    invalid = cell(folder="nodes-2", valid=False, reasons="3 rows")
    assert "INVALID: nodes-2 ws 32 × 1 s #1: 3 rows." in sentences.validity_sentences([invalid])


def test_sharing_sentence_names_folders_that_shared_a_node() -> None:
    def run(shares: object) -> Results:
        return results(placement={"load_shares_node": shares})

    assert sentences.sharing_sentence([run(False)]).endswith(" ran on no node that it measured.")
    assert "ran on a node that it measured (grid)" in sentences.sharing_sentence([run(True)])
    assert "unknown" in sentences.sharing_sentence([run(None)])
    assert "unknown" in sentences.sharing_sentence([run(False), results("other")])


def test_status_sentences_name_incomplete_runs() -> None:
    unfinished = results(status="failed", error="a load worker was lost", planned_cells=9)
    assert sentences.status_sentences([unfinished, results(status="complete")]) == [
        "grid is not complete (failed: a load worker was lost); 1 cell of 9 recorded."
    ]


def test_warnings_of_cells_are_counted_by_code() -> None:
    late, later = (Finding(Caution.LAG_IN_LATENCIES, {"lag": lag}) for lag in (0.25, 0.5))
    failed, unknown = Finding(Caution.ALL_FAILED), Finding(Caution.HOSTS_UNKNOWN)
    one, other = results(), results("other")
    one.warnings.append("no run.json")
    one.details[:] = [CellDetails(warnings=Findings(some)) for some in ([failed, late], [late])]
    other.details[:] = [CellDetails(warnings=Findings([unknown, later, failed]))]
    late_text = "the load generator ran up to 0.25 s late, which its latencies include"
    assert sentences.warning_sentences([one]) == [
        "no run.json",
        f"{late_text} (in 2 cells)",
        "no session succeeded (in 1 cell)",
    ]
    assert sentences.warning_sentences([one, other]) == [
        "no run.json",
        f"{late_text} (the first of 3 cells)",
        "no session succeeded (in 2 cells)",
        "the hosts are unknown: no row names one (in 1 cell)",
    ]


def test_nodes_beyond_what_was_measured_are_an_extrapolation() -> None:
    assert sentences.nodes_sentence(law()) == (
        "How many nodes for 100,000 sessions? 100 servers (one repetition: no range). This is an "
        "EXTRAPOLATION: the law was fitted to 1 to 4 servers, and 100 is 25 times as many."
    )
    sampled = law(samples=tuple((rate, 0.0, 0.0) for rate in (900.0, 1000.0, 1100.0)))
    assert "100 servers (95 % range 91 to 112)" in sentences.nodes_sentence(sampled)
    assert "within what was measured" in sentences.nodes_sentence(law(), target=3500)


def test_nodes_sentence_when_no_number_suffices_or_is_known() -> None:
    bent = law(contention=0.1)
    never = "By the fit, no number of servers is enough: its ceiling never exceeds"
    assert f"{never} 10,000." in sentences.nodes_sentence(bent)
    assert f"{never} 5,263." in sentences.nodes_sentence(law(coherence=0.01))
    assert "EXTRAPOLATION" in sentences.nodes_sentence(bent)
    assert "Unknown: the ceilings do not follow the scalability law" in sentences.nodes_sentence(
        NoFit(NoFitCode.NOT_THE_LAW)
    )
    assert "Unknown: ceilings of one number of servers" in sentences.nodes_sentence(None)


def test_captions_describe_the_figures() -> None:
    shown = panel(
        cell(32), cell(64, error_rate=0.5, total_p99=3.0), cell(64, valid=False, repetition=2)
    )
    assert captions.success_text([shown], 0.95) == "wait 1 s: down to 50.0 % at 64."
    assert captions.success_text([panel(cell())], 0.95) == "wait 1 s: 100 % at every batch."
    assert captions.success_text([panel(cell(error_rate=0.01))], 0.95).endswith(
        "at least 99.0 % at every batch."
    )
    assert captions.p99_text([shown], lambda _: 2.0) == "wait 1 s: 3 s at 64 (criterion 2 s)."
    assert captions.interval_text([shown]) == "One repetition: no interval."
    assert captions.invalid_text([shown]).startswith("1 INVALID cell drawn")
    assert captions.partly_text([shown]) == "Fewer valid repetitions: 64 × 1 s (1 of 2)."
    assert captions.heat_text([shown]) == "2 fields, from 50.0 % to 100 %."
    assert "connect 0.1 s, reset 0.1 s, step 0.1 s" in captions.latency_text([shown])
    twice = panel(cell(), cell(repetition=2))
    assert "means over up to 2 valid repetitions" in captions.interval_text([twice])


def test_captions_without_any_session() -> None:
    none = panel(cell(valid=False, error_rate=1.0, total_p99=nan))
    assert captions.success_text([none], 0.95) == "No valid cell."
    assert captions.p99_text([none], lambda _: None) == "No session succeeded in a valid cell."
    assert captions.latency_text([none]) == "No session succeeded."
    assert captions.open_text([none], 6) == "No session was open."
    assert captions.distribution_text([none]) == "Hosts unknown. Load workers unknown."


def test_distribution_caption_names_the_most_uneven_cell() -> None:
    details = CellDetails(hosts={"n1": 30, "n2": 10}, load_workers={"load-1": 20, "load-2": 20})
    assert captions.distribution_text([panel(cell(), details=details)]) == (
        "2 hosts, max/mean 1.50; most uneven cell ws 32 × 1 s #1: 1.50. 2 load workers, max/mean 1.00; "
        "every cell even."
    )
    assert sentences.evenness({"n1": 30, "n2": 10}) == "uneven (max/mean 1.50)"
    assert sentences.evenness({"n1": 10, "n2": 10}) == "even (max/mean 1.00)"
    assert sentences.evenness({}) == "unknown"
    assert unevenness({"n1": 0}) != unevenness({"n1": 0})
