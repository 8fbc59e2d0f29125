from dataclasses import replace
from pathlib import Path

import pytest

from launcher.system.machine import Limits, limits, machine, memory_limit, SPARE_DESCRIPTORS

GIB = 1 << 30


@pytest.mark.parametrize(
    ("somaxconn", "syn_backlog", "syncookies", "backlog"),
    [
        *((4096, 1024, True, 4096), (4096, 1024, False, 768), (500, 1024, False, 500)),
        *((4096, 1001, False, 750), (768, 1024, False, 768)),
    ],
)
def test_the_backlog_is_limited_by_both_queues(
    somaxconn: int, syn_backlog: int, syncookies: bool, backlog: int
) -> None:
    here = replace(machine(), somaxconn=somaxconn, syn_backlog=syn_backlog, syncookies=syncookies)
    assert here.backlog == backlog


@pytest.mark.parametrize(
    ("available", "limit", "room"),
    [(8 * GIB, None, 8 * GIB), (8 * GIB, 2 * GIB, 2 * GIB), (GIB, 2 * GIB, GIB)],
)
def test_room_is_the_lower_of_memory_and_limit(
    available: int, limit: int | None, room: int
) -> None:
    assert replace(machine(), memory_available=available, memory_limit=limit).room == room


def test_limits_are_those_of_the_machine() -> None:
    here = replace(machine(), descriptors=5000, first_port=10, last_port=19)
    assert here.limits == Limits(5000, 10)
    assert limits() == machine().limits


@pytest.mark.parametrize(("spare", "refused"), [(0, True), (1, False)])
def test_a_load_worker_needs_descriptors_for_itself(spare: int, refused: bool) -> None:
    obstacle = Limits(SPARE_DESCRIPTORS + spare, 1000).obstacle(1, 1, 0)
    assert (obstacle is not None) == refused
    assert "raise it (ulimit -n)" in obstacle if obstacle else True


@pytest.mark.parametrize(
    ("parent", "child", "limit"),
    [
        *(("max", "max", None), ("100", "max", 100), ("max", "100", 100), ("50", "100", 50)),
        *(("100", "50", 50), ("999", "max", 999), ("1000", "max", None)),
    ],
)
@pytest.mark.parametrize(
    ("memberships", "folder", "name"),
    [
        ("0::/a/b\n", "a", "memory.max"),
        ("3:cpu:/x\n2:cpuset,memory:/a/b\n", "memory/a", "memory.limit_in_bytes"),
    ],
)
def test_the_lowest_limit_of_all_groups_counts(
    parent: str,
    child: str,
    limit: int | None,
    memberships: str,
    folder: str,
    name: str,
    tmp_path: Path,
) -> None:
    (tmp_path / folder / "b").mkdir(parents=True)
    (tmp_path / folder / name).write_text(parent + "\n")
    (tmp_path / folder / "b" / name).write_text(child + "\n")
    assert memory_limit(memberships, 1000, tmp_path) == limit


def test_groups_of_another_namespace_are_ignored(tmp_path: Path) -> None:
    assert memory_limit("0::/../../other\n", 1000, tmp_path) is None
