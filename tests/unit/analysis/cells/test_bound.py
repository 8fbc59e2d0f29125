"""What limited a cell, from hand-written counters."""

import pytest

from analysis.cells.samples import Sampled
from tests.helpers.samples import by, by_envoy, envoy, judge, node, places, process, running

BUSY_SERVERS = [process("server-1", 0.99, node="n2"), process("server-2", 0.95, node="n3")]


def test_refusals_name_the_admission_cap() -> None:
    samples = [*by_envoy(), places([0, 0], refused=3, cell=None), places([10, 10], refused=83)]
    found = judge(samples, {"CAPACITY_REACHED": 80})
    assert found["by"] == "admission cap"
    assert found["evidence"] == (
        "80 of 100 sessions ended with CAPACITY_REACHED; servers refused 80 times; at most 20 of 20 "
        "places were in use"
    )


def test_refusals_before_the_cell_do_not_count() -> None:
    samples = [places([0, 0], refused=900, cell=None), places([1, 1], refused=900)]
    assert "refused" not in judge(samples, {"TIMEOUT": 5})["evidence"]


def test_refusals_that_envoy_retried_successfully_are_only_a_candidate() -> None:
    samples = [*by_envoy(), places([0, 0], cell=None), places([10, 9], refused=5)]
    found = judge(samples)
    assert found["by"] == "unknown"
    assert [each["by"] for each in found["candidates"]] == ["admission cap"]


def test_rows_name_the_admission_cap_when_there_are_no_samples() -> None:
    assert by([], {"CAPACITY_REACHED": 9}) == "admission cap"


def test_a_full_worker_beside_empty_ones_is_accept_skew_without_envoy() -> None:
    samples = [places([0, 0, 0, 0], cell=None), places([10, 2, 1, 0], refused=6)]
    found = judge(samples, {"CAPACITY_REACHED": 6}, batch=19)
    assert found["by"] == "accept skew"
    assert "a worker of server-1 on n2 was full with 10 sessions" in found["evidence"]
    assert "its 4 workers held 3 on average" in found["evidence"]


def test_a_refusal_through_envoy_is_not_accept_skew() -> None:
    samples = [*by_envoy(), places([0, 0], cell=None), places([10, 1], refused=6)]
    assert by(samples, {"CAPACITY_REACHED": 6}) == "admission cap"


def test_refusals_are_the_admission_cap_when_all_workers_are_full() -> None:
    samples = [places([0, 0], cell=None), places([10, 10], refused=6)]
    caps = {"capacity": 20, "workers_per_node": 2}
    assert by(samples, {"CAPACITY_REACHED": 80}, caps=caps) == "admission cap"


def test_refusals_with_places_for_all_sessions_are_accept_skew_without_samples() -> None:
    caps = {"capacity": 200, "workers_per_node": 4}
    found = judge([], {"CAPACITY_REACHED": 3}, caps=caps)
    assert (found["by"], "200 places for 100 sessions" in found["evidence"]) == (
        "accept skew",
        True,
    )


def test_servers_without_sessions_do_not_count() -> None:
    idle = [places([0, 0], name="server-2", node="n3"), process("server-2", 0.0, node="n3")]
    samples = [places([0, 0], cell=None), places([10, 10], refused=6), *idle]
    caps = {"capacity": 20, "workers_per_node": 2}
    found = judge(samples, {"CAPACITY_REACHED": 80}, caps=caps)
    assert found["by"] == "admission cap"
    assert "at most 20 of 20 places were in use" in found["evidence"]
    found = judge([*samples, *running("server-1", 1.0, 1.9, node="n2")], {"TIMEOUT": 8})
    assert found["by"] == "server CPU"
    assert found["evidence"].startswith("1 of 1 servers were CPU-bound")


def test_overflow_counters_name_the_breaker() -> None:
    samples = [envoy(None, upstream_rq_pending_overflow=5), envoy(upstream_rq_pending_overflow=35)]
    found = judge(samples, {"HTTP_503": 30})
    assert found["by"] == "Envoy breaker"
    assert found["evidence"] == "upstream_rq_pending_overflow grew by 30"


def test_the_answer_of_envoy_names_the_breaker() -> None:
    text = "503: upstream connect error or disconnect/reset before headers. reset reason: overflow"
    found = judge([], {"HTTP_503": 30}, text)
    assert found["by"] == "Envoy breaker"
    assert "30 sessions ended with 503 (overflow)" in found["evidence"]


def test_a_breaker_is_only_a_candidate_when_no_session_failed() -> None:
    samples = [envoy(None, upstream_cx_overflow=0), envoy(upstream_cx_overflow=4)]
    found = judge(samples)
    assert (found["by"], found["candidates"][0]["by"]) == ("unknown", "Envoy breaker")


def test_counters_of_a_restarted_envoy_count_from_zero() -> None:
    samples = [envoy(None, upstream_cx_overflow=90), envoy(upstream_cx_overflow=4)]
    assert Sampled(samples).rise("envoy", "upstream_cx_overflow") == 4


def test_errors_of_the_load_worker_name_descriptors() -> None:
    found = judge([process("load-1", fds=1000)], {"NO_DESCRIPTORS": 12})
    assert found["by"] == "descriptors"
    assert found["evidence"].startswith(
        "12 sessions failed because their load worker had no descriptor"
    )


@pytest.mark.parametrize("name", ["envoy", "server-1"])
def test_full_descriptors_of_a_server_or_envoy_explain_any_error(name: str) -> None:
    found = judge([process(name, fds=990, node="n4")], {"CONNECT_FAILED": 20, "TIMEOUT": 4})
    assert found["by"] == "descriptors"
    assert found["evidence"] == f"{name} on n4 had 990 of 1,000 descriptors open"


def test_nearly_full_descriptors_explain_nothing() -> None:
    assert by([process("envoy", fds=970)], {"TIMEOUT": 4}) == "unknown"
    found = judge([process("envoy", fds=999)])
    assert (found["by"], found["candidates"][0]["by"]) == ("unknown", "descriptors")


def test_errors_of_the_load_worker_name_ports() -> None:
    assert by([], {"NO_PORTS": 12}) == "ports"


def test_the_answer_of_envoy_names_ports() -> None:
    samples = [envoy(None, upstream_cx_connect_fail=0), envoy(upstream_cx_connect_fail=40)]
    text = "503: reset reason: remote connection failure, Cannot assign requested address"
    found = judge(samples, {"HTTP_503": 40}, text)
    assert found["by"] == "ports"
    assert "Envoy failed to connect 40 times" in found["evidence"]


def test_as_many_sockets_as_ports_are_only_a_candidate() -> None:
    samples = [envoy(None, upstream_cx_connect_fail=0), envoy(upstream_cx_connect_fail=40)]
    found = judge([*samples, node(tcp_inuse=27_000, tcp_tw=900)], {"HTTP_503": 40})
    assert found["by"] == "unknown"
    assert "n1 had 27,900 TCP sockets with 28,000 ports" in found["candidates"][0]["evidence"]


def test_servers_that_are_cpu_bound_name_the_server_cpu() -> None:
    found = judge([*by_envoy(), *BUSY_SERVERS, process("envoy", 0.6)], {"TIMEOUT": 30})
    assert found["by"] == "server CPU"
    assert found["evidence"] == (
        "2 of 2 servers were CPU-bound: the busiest thread of server-1 on n2 ran or waited for a CPU "
        "99% of the time"
    )


def test_the_evidence_names_how_busy_the_node_was() -> None:
    machine = [node("vm", cpu_busy=0.9), node("vm", cpu_busy=1.0)]
    assert judge([*BUSY_SERVERS, *machine])["evidence"].endswith(" (CPUs of its node: 95% busy)")


def test_a_minority_of_busy_servers_is_only_a_candidate() -> None:
    idle = [process(f"server-{number}", node=f"n{number}") for number in (2, 3, 4)]
    found = judge([process("server-1", 1.0), *idle], {"TIMEOUT": 30})
    assert (found["by"], found["candidates"][0]["by"]) == ("unknown", "server CPU")


def test_samples_are_weighted_by_their_seconds() -> None:
    late = [process("server-1", 0.95, seconds=0.1) for _ in range(5)]
    assert by([*late, process("server-1", 0.3, seconds=1.0)], {"TIMEOUT": 1}) == "unknown"
    assert by([*late, process("server-1", 1.0, seconds=1.0)], {"TIMEOUT": 1}) == "server CPU"


def test_samples_before_the_cell_do_not_count() -> None:
    before = [process("server-1", 1.0, cell=None) for _ in range(5)]
    assert by([*before, process("server-1", 0.1)], {"TIMEOUT": 1}) == "unknown"


def test_one_busy_worker_among_idle_ones_is_accept_skew_without_envoy() -> None:
    samples = [*running("server-1", 1.0, 1.1, node="n2"), places([9, 0, 0, 0], limit=100)]
    found = judge(samples, {"TIMEOUT": 8})
    assert found["by"] == "accept skew"
    assert "its 4 workers together kept 1.1 CPUs busy" in found["evidence"]


def test_one_busy_worker_through_envoy_is_the_server_cpu() -> None:
    samples = [*by_envoy(), *running("server-1", 1.0, 1.1, node="n2"), places([9, 0], limit=100)]
    assert by(samples, {"TIMEOUT": 8}) == "server CPU"


def test_workers_that_are_all_busy_are_not_accept_skew() -> None:
    samples = [*running("server-1", 1.0, 3.8, node="n2"), places([9, 9, 9, 9], limit=100)]
    assert by(samples, {"TIMEOUT": 8}) == "server CPU"


def test_a_busy_envoy_before_idle_servers_is_the_envoy_cpu() -> None:
    samples = [*by_envoy(), process("envoy", 0.97), process("server-1", 0.4)]
    found = judge(samples, {"TIMEOUT": 30})
    assert found["by"] == "Envoy CPU"
    assert "the busiest thread of envoy on n1 ran or waited for a CPU 97%" in found["evidence"]


def test_busy_servers_rank_before_a_busy_envoy() -> None:
    found = judge([process("envoy", 0.99), *BUSY_SERVERS], {"TIMEOUT": 30})
    assert [each["by"] for each in found["candidates"]] == ["server CPU", "Envoy CPU"]


def test_a_busy_load_worker_ranks_before_busy_servers() -> None:
    samples = [process("load-1", 0.2), process("load-2", 0.95), *BUSY_SERVERS]
    found = judge(samples, {"TIMEOUT": 30})
    assert found["by"] == "load generator"
    assert "load-2" in found["evidence"]


@pytest.mark.parametrize(
    ("worker", "evidence"),
    [
        ({"lag_max": 1.5}, "a load worker ran 1.5 s late"),
        (
            {"cpu_seconds": 8.0, "wait_seconds": 1.2, "wall_seconds": 10.0},
            "load-1 ran or waited for a CPU 92% of the time",
        ),
    ],
)
def test_facts_of_a_load_worker_name_the_load_generator(
    worker: dict[str, float], evidence: str
) -> None:
    found = judge([], {"TIMEOUT": 3}, facts={"workers": {"load-1": worker}})
    assert (found["by"], found["evidence"]) == ("load generator", evidence)


def test_the_lag_limit_is_a_setting() -> None:
    facts = {"workers": {"load-1": {"lag_max": 1.5}}, "max_lag": 2.0}
    assert by([], {"TIMEOUT": 3}, facts=facts) == "unknown"
    facts = {"workers": {"load-1": {"lag_max": 0.1}}, "max_lag": 0}
    assert by([], {"TIMEOUT": 3}, facts=facts) == "load generator"


def test_lost_sessions_name_the_load_generator() -> None:
    found = judge([], {"LOAD_WORKER_LOST": 50, "TIMEOUT": 1})
    assert (found["by"], found["evidence"]) == (
        "load generator",
        "50 of 100 sessions were lost by the load generator",
    )


def test_refusals_of_most_sessions_rank_before_busy_cpus() -> None:
    samples = [*by_envoy(), *BUSY_SERVERS, places([0], cell=None), places([10], refused=90)]
    found = judge(samples, {"CAPACITY_REACHED": 90, "TIMEOUT": 2})
    assert [each["by"] for each in found["candidates"]] == ["admission cap", "server CPU"]
    assert found["by"] == "admission cap"


def test_a_few_refusals_rank_after_busy_cpus() -> None:
    found = judge([*by_envoy(), *BUSY_SERVERS], {"CAPACITY_REACHED": 3, "TIMEOUT": 80})
    assert [each["by"] for each in found["candidates"]] == ["server CPU", "admission cap"]


def test_a_few_refusals_count_when_nothing_was_busy() -> None:
    assert by(by_envoy(), {"CAPACITY_REACHED": 3, "TIMEOUT": 80}) == "admission cap"


def test_the_larger_of_two_causes_ranks_first() -> None:
    samples = [envoy(None, upstream_rq_retry_overflow=0), envoy(upstream_rq_retry_overflow=60)]
    found = judge(samples, {"CAPACITY_REACHED": 30, "HTTP_503": 60})
    assert [each["by"] for each in found["candidates"]] == ["Envoy breaker", "admission cap"]


def test_an_unknown_bound_names_the_inspected_values() -> None:
    samples = [process("load-1", 0.1), process("server-1", 0.3), process("envoy", 0.2)]
    samples += [places([4, 5]), node(), node(listen_overflows=7)]
    found = judge(samples, {"TIMEOUT": 9, "DISCONNECTED": 2})
    assert found == {
        "by": "unknown",
        "evidence": "9 of 100 sessions ended with TIMEOUT; inspected: load workers busy 10%, servers busy "
        "30%, Envoy busy 20%, places 9 of 20, descriptors at most 5%, 7 connections met a full listen "
        "queue",
        "candidates": [],
    }


def test_an_unknown_bound_without_samples_names_none() -> None:
    found = judge([])
    assert found["evidence"] == "no session failed; there are no samples"


def test_an_unknown_bound_names_the_most_frequent_error_and_the_largest_values() -> None:
    samples = [process("load-1", 0.1, fds=10), process("load-2", 0.4, fds=300)]
    found = judge(samples, {"CONNECT_REFUSED": 2, "ABSENT": 9, "TIMEOUT": 5})
    assert found["evidence"] == (
        "9 of 100 sessions ended with ABSENT; inspected: load workers busy 40%, descriptors at most 30%"
    )


def test_an_unknown_bound_has_no_candidate_but_lists_weaker_ones() -> None:
    found = judge([places([10, 10])])
    assert (found["by"], found["candidates"][0]["by"]) == ("unknown", "admission cap")
    assert found["evidence"] == "no session failed; inspected: places 20 of 20"
