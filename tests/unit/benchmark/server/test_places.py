"""Places, the board that workers share, and what a server reads from its environment."""

import os
import socket

import pytest

from benchmark.server.places import Board, overview, Places, Slot
from benchmark.server.settings import (
    Ports,
    ports_from,
    SettingError,
    Settings,
    settings_from_environment,
)


def test_places_are_taken_until_none_is_free() -> None:
    places = Places(2)
    assert [places.take() for _ in range(4)] == [True, True, False, False]
    assert (places.used, places.refused) == (2, 2)


def test_a_place_that_is_released_can_be_taken_again() -> None:
    places = Places(1)
    assert places.take()
    places.release()
    assert places.used == 0
    assert places.take()
    assert places.refused == 0


def test_a_draining_server_gives_no_place_and_keeps_those_that_are_taken() -> None:
    board = Board.create(1)
    places = Places(2)
    places.publish(board, 0, 8002)
    assert places.take()
    board.draining = True
    assert not places.take()
    assert (places.used, places.refused, places.draining) == (1, 1, True)
    board.draining = False
    assert places.take()


def test_places_without_a_board_do_not_drain() -> None:
    assert not Places(1).draining


def test_publishing_writes_the_workers_slot_and_no_other() -> None:
    board = Board.create(2)
    places = Places(5)
    assert places.take()
    places.publish(board, 1, 8003)
    slot = board.read(1)
    assert (slot.pid, slot.used, slot.limit, slot.refused) == (os.getpid(), 1, 5, 0)
    assert slot.alive_at > 0
    assert board.read(0) == Slot(0.0, 0, 0, 0, 0)
    assert places.own_port == 8003


def test_the_board_shows_what_was_taken_at_the_next_beat() -> None:
    board = Board.create(1)
    places = Places(1)
    places.publish(board, 0, 8002)
    places.take()
    places.take()
    places.beat()
    assert (board.read(0).used, board.read(0).refused) == (1, 1)


def test_what_several_workers_write_is_read_back_by_another_that_maps_the_board() -> None:
    board = Board.create(3)
    slots = [
        Slot(12.5, 101, 1, 10, 0),
        Slot(4_000_000_000.25, 2**32 - 1, 10, 10, 2**32 - 1),
        Slot(0.0, 103, 0, 10_000_000, 7),
    ]
    for index, slot in enumerate(slots):
        board.write(index, slot)
    board.draining = True
    other = Board(board.fd, 3)
    assert list(other) == slots
    assert other.draining


def test_a_slot_that_is_cleared_leaves_its_neighbours_and_the_flag() -> None:
    board = Board.create(3)
    for index in range(3):
        board.write(index, Slot(1.0, 100 + index, 1, 2, 3))
    board.clear(1)
    assert [slot.pid for slot in board] == [100, 0, 102]
    assert not board.draining


@pytest.mark.parametrize(("used", "free"), [(0, 3), (2, 1), (3, 0), (4, 0)])
def test_free_places_are_never_less_than_none(used: int, free: int) -> None:
    assert Slot(1.0, 1, used, 3, 0).free == free


def test_an_overview_sums_what_all_workers_hold() -> None:
    found = overview([Slot(1.0, 11, 2, 5, 1), Slot(2.0, 12, 5, 5, 3)], draining=False)
    assert found == {
        "ready": True,
        "draining": False,
        "used": 7,
        "free": 3,
        "max_sessions": 10,
        "refused": 4,
        "workers": [
            {"alive_at": 1.0, "pid": 11, "used": 2, "limit": 5, "refused": 1, "free": 3},
            {"alive_at": 2.0, "pid": 12, "used": 5, "limit": 5, "refused": 3, "free": 0},
        ],
    }


def test_a_server_that_drains_is_not_ready_and_has_nothing_free() -> None:
    found = overview([Slot(1.0, 11, 2, 5, 0)], draining=True)
    assert (found["ready"], found["free"], found["used"]) == (False, 0, 2)


def test_a_server_is_not_ready_while_a_worker_is_missing() -> None:
    found = overview([Slot(1.0, 11, 0, 5, 0), Slot(0.0, 0, 0, 0, 0)], draining=False)
    assert (found["ready"], found["free"], found["max_sessions"]) == (False, 5, 5)


def test_any_worker_tells_of_all() -> None:
    board = Board.create(2)
    board.write(1, Slot(1.0, 12, 4, 5, 6))
    places = Places(5)
    places.publish(board, 0, 8002)
    places.take()
    found = places.overview()
    assert (found["used"], found["free"], found["refused"]) == (5, 5, 6)


def test_a_worker_without_a_board_tells_of_itself() -> None:
    places = Places(5)
    places.take()
    found = places.overview()
    assert (found["ready"], found["used"], found["free"]) == (True, 1, 4)


def test_a_server_reads_the_runbooks_variables() -> None:
    settings = settings_from_environment(
        {"WORKERS": "4", "PORT": "8100", "MAX_CONCURRENT_ENVS": "64", "NODE_NAME": "gpu-1"}
    )
    assert settings == Settings(4, 8100, 64, "gpu-1")
    assert settings.host_url == "gpu-1:8100"


@pytest.mark.parametrize("environment", [{}, {"WORKERS": "", "PORT": "", "NODE_NAME": ""}])
def test_a_server_that_is_told_nothing_has_defaults(environment: dict[str, str]) -> None:
    assert settings_from_environment(environment) == Settings(1, 8000, 100, socket.gethostname())


@pytest.mark.parametrize(
    ("environment", "workers"),
    [
        ({"WORKERS": "2", "SLURM_CPUS_PER_TASK": "8"}, 2),
        ({"SLURM_CPUS_PER_TASK": "8"}, 8),
        ({"WORKERS": "", "SLURM_CPUS_PER_TASK": "8"}, 8),
    ],
)
def test_workers_are_what_slurm_gives_unless_somebody_says_otherwise(
    environment: dict[str, str], workers: int
) -> None:
    assert settings_from_environment(environment).workers == workers


@pytest.mark.parametrize(
    ("name", "high"),
    [("WORKERS", 4096), ("SLURM_CPUS_PER_TASK", 4096), ("MAX_CONCURRENT_ENVS", 10_000_000)],
)
@pytest.mark.parametrize("value", ["0", "-1", "x", "1.5", " 2", "1e3", "10000001"])
def test_a_variable_that_is_no_number_in_its_range_is_named(
    name: str, high: int, value: str
) -> None:
    with pytest.raises(SettingError) as refused:
        settings_from_environment({name: value})
    assert str(refused.value) == f"{name}={value!r} is not a whole number from 1 to {high}"


@pytest.mark.parametrize("value", ["0", "x", "65536"])
def test_a_port_that_does_not_exist_is_named(value: str) -> None:
    with pytest.raises(SettingError, match=rf"^PORT='{value}' is not a whole number"):
        settings_from_environment({"PORT": value})


def test_a_port_without_room_for_the_servers_other_ports_is_refused() -> None:
    with pytest.raises(SettingError, match=r"^PORT='65535' "):
        settings_from_environment({"PORT": "65535", "WORKERS": "1"})


def test_a_servers_ports_follow_one_another() -> None:
    assert ports_from(8000) == Ports(shared=8000, control=8001, first_own=8002)
    assert ports_from(8000).all(3) == [8000, 8001, 8002, 8003, 8004]
    assert Ports(8000, 9000, 9100).all(2) == [8000, 9000, 9100, 9101]
