"""The limits at which each rule starts to apply, from both sides."""

from typing import Any

import pytest

from analysis.cells.bound_cell import Candidate, Cell
from analysis.cells.reasons import Bound
from analysis.cells.samples import Sampled
from tests.helpers.samples import (
    by,
    by_envoy,
    envoy,
    judge,
    node,
    places,
    process,
    running,
    Samples,
)


def candidates(samples: Samples, errors: dict[str, int] | None = None, **options: Any) -> list[str]:
    return [each["by"] for each in judge(samples, errors, **options)["candidates"]]


def evidence(samples: Samples, errors: dict[str, int] | None = None, **options: Any) -> str:
    return str(judge(samples, errors, **options)["evidence"])


def cell(samples: Samples = [], errors: dict[str, int] | None = None, batch: int = 10) -> Cell:  # noqa: B006
    return Cell({"batch_size": batch}, errors or {}, frozenset(), Sampled(samples), {}, {})


def connect_failures(count: int, **counters: int) -> Samples:
    return [
        envoy(None, upstream_cx_connect_fail=0),
        envoy(upstream_cx_connect_fail=count, **counters),
    ]


# -- candidates


def test_candidates_rank_by_majority_then_busy_then_share() -> None:
    ranked = [
        Candidate(Bound.PORTS, "", 0.9),
        Candidate(Bound.PORTS, "", 0.5, busy=True),
        Candidate(Bound.PORTS, "", 0.49, busy=True),
        Candidate(Bound.PORTS, "", 0.49),
        Candidate(Bound.PORTS, "", 0.01),
        Candidate(Bound.PORTS, ""),
    ]
    ranks = [each.rank for each in ranked]
    assert ranks == sorted(ranks)
    assert len(set(ranks)) == len(ranks)
    assert [each.limits for each in ranked] == [True] * 5 + [False]
    busy = [Candidate(Bound.PORTS, "", share, busy=True).rank for share in (0.0, 0.49)]
    assert busy[0] == busy[1]


def test_the_share_of_failed_sessions_is_at_most_all() -> None:
    failing = cell(errors={"TIMEOUT": 4})
    assert [failing.share(number) for number in (0, 1, 4, 9)] == [0.0, 0.25, 1.0, 1.0]
    assert cell().share(3) == 0.0


def test_errors_that_name_their_cause_are_explained() -> None:
    errors = {"CAPACITY_REACHED": 1, "NO_PORTS": 2, "NO_DESCRIPTORS": 3, "LOAD_ERROR": 4}
    errors |= {"INTERRUPTED": 5, "TIMEOUT": 6, "HTTP_503": 7}
    assert cell(errors=errors).unexplained == 13
    assert cell().unexplained == 0


@pytest.mark.parametrize(("sessions", "through"), [(4, False), (5, True), (6, True)])
def test_a_cell_went_through_envoy_when_half_of_its_sessions_did(
    sessions: int, through: bool
) -> None:
    assert cell(by_envoy(sessions)).through_envoy is through


def test_a_server_without_a_sample_of_its_places_is_taken_to_have_served() -> None:
    seen = cell([places([3]), places([0], name="server-2", node="n3")])
    assert seen.served("n2", "server-1")
    assert not seen.served("n3", "server-2")
    assert seen.served("n4", "server-3")
    assert seen.places == (3, 10)
    one = cell([places([1]), places([0], name="server-2", node="n3")])
    assert one.served("n2", "server-1")
    assert cell([places([0])]).served("n2", "server-1")


# -- places


@pytest.mark.parametrize(("used", "found"), [([10, 9], []), ([10, 10], ["admission cap"])])
def test_all_places_taken_is_a_candidate_without_a_refusal(
    used: list[int], found: list[str]
) -> None:
    assert candidates([places(used)]) == found


def test_a_server_without_places_is_not_full() -> None:
    assert candidates([places([0], limit=0)]) == []


@pytest.mark.parametrize(
    ("used", "bound"),
    [
        ([10, 8], "accept skew"),
        ([10, 9], "admission cap"),
        ([9, 0], "admission cap"),
        ([10], "admission cap"),
    ],
)
def test_accept_skew_is_a_full_worker_while_a_tenth_of_the_places_is_free(
    used: list[int], bound: str
) -> None:
    assert by([places(used)], {"CAPACITY_REACHED": 2}, batch=99) == bound


def test_a_full_server_with_one_worker_is_not_accept_skew() -> None:
    samples = [places([10]) | {"used": 5}]
    assert by(samples, {"CAPACITY_REACHED": 2}, batch=99) == "admission cap"


def test_accept_skew_names_the_mean_over_workers() -> None:
    assert "its 2 workers held 6 on average" in evidence(
        [places([10, 2])], {"CAPACITY_REACHED": 2}, batch=99
    )


def test_refusals_without_rows_can_be_accept_skew() -> None:
    samples = [places([0, 0], cell=None), places([10, 1], refused=1)]
    assert candidates(samples) == ["accept skew"]


@pytest.mark.parametrize(
    ("capacity", "workers", "bound"),
    [
        (100, 2, "accept skew"),
        (101, 2, "accept skew"),
        (99, 2, "admission cap"),
        (100, 1, "admission cap"),
        (100, None, "admission cap"),
        (None, 2, "admission cap"),
    ],
)
def test_places_for_all_sessions_are_accept_skew_with_several_workers(
    capacity: int | None, workers: int | None, bound: str
) -> None:
    caps = {"capacity": capacity, "workers_per_node": workers}
    assert by([], {"CAPACITY_REACHED": 1}, caps=caps) == bound


# -- Envoy's breakers


def test_a_breaker_explains_only_errors_without_a_cause() -> None:
    samples = [envoy(None, upstream_cx_overflow=0), envoy(upstream_cx_overflow=1000)]
    assert candidates(samples, {"CAPACITY_REACHED": 60, "TIMEOUT": 40}) == [
        "admission cap",
        "Envoy breaker",
    ]


def test_a_breaker_explains_no_more_than_it_counted() -> None:
    samples = [envoy(None, upstream_cx_overflow=0), envoy(upstream_cx_overflow=1)]
    samples += [process("server-1", 1.0)]
    assert candidates(samples, {"TIMEOUT": 40}) == ["server CPU", "Envoy breaker"]


def test_a_breaker_explains_the_larger_of_counters_and_answers() -> None:
    samples = [envoy(None, upstream_cx_overflow=0), envoy(upstream_cx_overflow=1)]
    samples += [process("server-1", 1.0)]
    overflow = "reset reason: overflow"
    assert judge(samples, {"HTTP_503": 40}, overflow)["by"] == "Envoy breaker"
    assert judge(samples, {"HTTP_503": 1, "TIMEOUT": 39}, overflow)["by"] == "server CPU"


def test_503_without_the_words_of_a_breaker_is_unknown() -> None:
    assert judge([], {"HTTP_503": 40}, "no healthy upstream")["candidates"] == []
    assert judge([], {"TIMEOUT": 40}, "overflow")["candidates"] == []


# -- descriptors


@pytest.mark.parametrize(
    ("fds", "bound"), [(979, "unknown"), (980, "descriptors"), (1000, "descriptors")]
)
def test_descriptors_are_full_from_98_percent(fds: int, bound: str) -> None:
    assert by([process("server-1", fds=fds)], {"TIMEOUT": 4}) == bound


def test_full_descriptors_of_a_load_worker_explain_only_its_own_errors() -> None:
    samples = [process("load-1", fds=1000), process("server-1", 1.0)]
    assert candidates(samples, {"TIMEOUT": 9}) == ["server CPU", "descriptors"]
    both = {"NO_DESCRIPTORS": 1, "TIMEOUT": 9}
    assert candidates(samples, both) == ["server CPU", "descriptors"]
    assert by([process("load-1", fds=1000)], {"TIMEOUT": 9}) == "unknown"
    assert by([], {"NO_DESCRIPTORS": 1, "TIMEOUT": 9}) == "descriptors"


def test_full_descriptors_of_one_server_beside_a_full_load_worker_explain_any_error() -> None:
    samples = [process("load-1", fds=1000), process("server-1", fds=1000)]
    assert by(samples, {"TIMEOUT": 9}) == "descriptors"


def test_a_process_without_a_descriptor_limit_is_not_full() -> None:
    assert by([process("envoy", fds=5, fd_limit=0)], {"TIMEOUT": 4}) == "unknown"


# -- ports


def spent(active: int, workers: int, ports: int = 100, failures: int = 5) -> Samples:
    counters = {"upstream_cx_active": active, "membership_total": workers}
    return [*connect_failures(failures, **counters), node(ports=ports)]


@pytest.mark.parametrize(("active", "bound"), [(189, "unknown"), (190, "ports"), (200, "ports")])
def test_ports_are_spent_at_95_percent_of_ports_for_each_worker(active: int, bound: str) -> None:
    assert by(spent(active, 2), {"HTTP_503": 5}) == bound


def test_the_evidence_of_spent_ports_names_connections_workers_and_ports() -> None:
    assert evidence(spent(195, 2), {"HTTP_503": 5}) == (
        "Envoy failed to connect 5 times; it had 195 connections to 2 workers, with 100 ports for each"
    )


@pytest.mark.parametrize(
    "samples", [spent(500, 0), spent(500, 2, ports=0), spent(500, 2, failures=0)]
)
def test_ports_are_not_spent_without_workers_ports_or_failures(samples: Samples) -> None:
    assert candidates(samples, {"HTTP_503": 5}) == []


def test_ports_are_not_spent_without_samples_of_the_node() -> None:
    failing = connect_failures(5, upstream_cx_active=900, membership_total=1)
    assert candidates(failing, {"HTTP_503": 5}) == []
    assert candidates([*connect_failures(5), node(ports=10)], {"HTTP_503": 5}) == ["ports"]


def test_the_busiest_envoy_and_the_node_with_the_fewest_ports_count() -> None:
    other = {"upstream_cx_active": 10, "membership_total": 1}
    samples = [*spent(190, 2, ports=100), envoy() | other | {"node": "n9"}]
    samples += [node("n9", ports=900)]
    assert by(samples, {"HTTP_503": 5}) == "ports"
    samples = [*spent(189, 2, ports=100), envoy() | other | {"node": "n9"}, node("n9", ports=100)]
    assert by(samples, {"HTTP_503": 5}) == "unknown"


def test_only_nodes_of_envoy_count_when_there_are_several_nodes() -> None:
    samples = [*connect_failures(5), node("n1"), node("n7", tcp_inuse=28_000)]
    assert candidates(samples, {"HTTP_503": 5}) == []
    samples = [*connect_failures(5), node("vm", tcp_inuse=28_000)]
    assert candidates(samples, {"HTTP_503": 5}) == ["ports"]


@pytest.mark.parametrize(
    ("inuse", "wait", "ports", "found"),
    [
        (90, 5, 100, ["ports"]),
        (90, 4, 100, []),
        (95, 0, 100, ["ports"]),
        (100, 0, 0, []),
    ],
)
def test_sockets_of_the_node_are_a_candidate_from_95_percent_of_its_ports(
    inuse: int, wait: int, ports: int, found: list[str]
) -> None:
    samples = [*connect_failures(5), node(tcp_inuse=1, ports=ports)]
    samples += [node(tcp_inuse=inuse, tcp_tw=wait, ports=ports), node(tcp_inuse=1, ports=ports)]
    assert candidates(samples, {"HTTP_503": 5}) == found
    assert candidates([*samples[2:]], {"HTTP_503": 5}) == []


def test_the_last_known_number_of_ports_counts() -> None:
    samples = [*connect_failures(5), node(ports=900), node(tcp_inuse=95, ports=100)]
    assert candidates(samples, {"HTTP_503": 5}) == ["ports"]
    samples = [*spent(190, 2, ports=900), node(ports=100)]
    assert by(samples, {"HTTP_503": 5}) == "ports"


def test_spent_ports_are_named_without_the_sockets_of_the_node() -> None:
    samples = [*spent(200, 2), node(tcp_inuse=500, ports=100)]
    assert "sockets" not in evidence(samples, {"HTTP_503": 5})


def test_ports_of_load_workers_do_not_explain_other_errors() -> None:
    samples = [process("server-1", 1.0)]
    assert candidates(samples, {"NO_PORTS": 1, "TIMEOUT": 9}) == ["server CPU", "ports"]
    assert by([], {"NO_PORTS": 1, "TIMEOUT": 9}) == "ports"
    assert (
        evidence([], {"NO_PORTS": 2}) == "2 sessions failed because their load worker had no port"
    )


# -- the load generator


@pytest.mark.parametrize(("lag", "found"), [(1.0, []), (1.01, ["load generator"])])
def test_the_load_generator_is_late_above_its_limit(lag: float, found: list[str]) -> None:
    workers = {"load-1": {"lag_max": None}, "load-2": {"lag_max": lag}, "load-3": {"lag_max": 0.1}}
    assert candidates([], facts={"workers": workers}) == found


def test_no_lag_is_not_above_a_limit_of_zero() -> None:
    assert candidates([], facts={"workers": {}, "max_lag": 0}) == []
    assert candidates([], facts={"workers": {"load-1": {}}, "max_lag": 0}) == []
    assert candidates([], facts={"max_lag": 0}) == []


@pytest.mark.parametrize(
    ("worker", "found"),
    [
        ({"cpu_seconds": 0.5, "wait_seconds": 0.4, "wall_seconds": 1.0}, ["load generator"]),
        ({"cpu_seconds": 0.5, "wait_seconds": 0.3, "wall_seconds": 1.0}, []),
        ({"cpu_seconds": 0.9, "wall_seconds": 1.0}, ["load generator"]),
        ({"wait_seconds": 1.8, "wall_seconds": 2.0}, ["load generator"]),
        ({"cpu_seconds": None, "wait_seconds": None, "wall_seconds": 1.0}, []),
        ({"wall_seconds": 1.0}, []),
        ({"cpu_seconds": 9.0}, []),
        ({"cpu_seconds": 9.0, "wall_seconds": 0.0}, []),
    ],
)
def test_a_load_worker_is_busy_from_nine_tenths_of_the_time(
    worker: dict[str, float], found: list[str]
) -> None:
    assert candidates([], facts={"workers": {"load-1": worker}}) == found


def test_samples_of_a_busy_load_worker_replace_its_own_figures() -> None:
    worker = {"cpu_seconds": 1.0, "wait_seconds": 0.0, "wall_seconds": 1.0}
    facts = {"workers": {"load-1": worker}}
    samples = [process("load-1", 0.91), process("load-2", 0.95)]
    found = evidence(samples, facts=facts)
    assert found == ("the busiest thread of load-2 on n1 ran or waited for a CPU 95% of the time")


# -- CPUs


def half_busy(name: str, seconds: float = 1.0) -> Samples:
    """Busy for one of two seconds, or for less than half of the time."""
    return [process(name, 1.0, seconds=seconds), process(name, 0.1, seconds=1.0)]


@pytest.mark.parametrize(
    ("name", "bound"),
    [("server-1", "server CPU"), ("envoy", "Envoy CPU"), ("load-1", "load generator")],
)
def test_a_process_is_cpu_bound_from_half_of_the_time(name: str, bound: str) -> None:
    assert candidates(half_busy(name)) == [bound]
    assert candidates(half_busy(name, 0.99)) == []


def test_servers_are_the_bound_when_half_of_them_are_busy() -> None:
    idle = [process("server-2", 0.1, node="n3")]
    assert by([process("server-1", 1.0), *idle]) == "server CPU"
    assert by([process("server-1", 1.0), *idle, process("server-3", 0.1, node="n4")]) == "unknown"


def test_the_busiest_of_several_servers_is_named() -> None:
    samples = [process("server-1", 0.93), process("server-2", 0.99), process("server-3", 0.95)]
    assert "3 of 3 servers were CPU-bound: the busiest thread of server-2" in evidence(samples)


@pytest.mark.parametrize(
    ("workers", "runnable", "bound"),
    [
        (1, 0.5, "server CPU"),
        (2, 1.1, "accept skew"),
        (2, 1.25, "server CPU"),
        (5, 3.0, "server CPU"),
        (5, 2.9, "accept skew"),
    ],
)
def test_accept_skew_is_a_busy_worker_while_less_than_six_tenths_are_runnable(
    workers: int, runnable: float, bound: str
) -> None:
    samples = [*running("server-1", 1.0, runnable, node="n2"), places([1] * workers)]
    assert by(samples) == bound


@pytest.mark.parametrize(("counts", "bound"), [((4, 1), "server CPU"), ((1, 4), "accept skew")])
def test_the_number_of_workers_is_the_one_of_the_last_sample(
    counts: tuple[int, int], bound: str
) -> None:
    samples = [places([1] * count) for count in counts]
    assert by([*running("server-1", 1.0, 1.1, node="n2"), *samples]) == bound


def test_the_number_of_workers_is_unknown_without_samples_of_places() -> None:
    assert by(running("server-1", 1.0, 0.1, node="n2")) == "server CPU"
    assert by([process("server-1", 1.0, node="n2"), places([1, 1])]) == "server CPU"
