"""Places, and the board on which workers publish them."""

import os
import time

import pytest

from benchmark.server.places import Board, overview, Places, Running, Slot, Trial


def test_a_worker_has_as_many_places_as_its_limit() -> None:
    places = Places(2)
    assert [places.take() for _ in range(4)] == [True, True, False, False]
    assert (places.used, places.refused) == (2, 2)


def test_a_released_place_can_be_taken_again() -> None:
    places = Places(1)
    assert places.take()
    places.release()
    assert places.used == 0
    assert places.take()
    assert places.refused == 0


def test_a_draining_worker_keeps_its_sessions_and_accepts_no_others() -> None:
    board = Board.create(1)
    places = Places(2)
    places.publish(board, 0, 8002)
    assert places.take()
    board.draining = True
    assert not places.take()
    assert (places.used, places.refused, places.draining) == (1, 1, True)
    board.draining = False
    assert places.take()


def test_a_worker_without_a_board_does_not_drain() -> None:
    assert not Places(1).draining


def test_publish_writes_only_the_slot_of_the_worker() -> None:
    board = Board.create(2)
    places = Places(5)
    assert places.take()
    places.publish(board, 1, 8003)
    slot = board.read(1)
    assert (slot.pid, slot.used, slot.limit, slot.refused) == (os.getpid(), 1, 5, 0)
    assert slot.alive_at > 0
    assert board.read(0) == Slot(0.0, 0, 0, 0, 0)
    assert places.own_port == 8003


def test_a_heartbeat_publishes_refusals() -> None:
    board = Board.create(1)
    places = Places(1)
    places.publish(board, 0, 8002)
    places.take()
    places.take()
    places.beat()
    assert (board.read(0).used, board.read(0).refused) == (1, 1)


def test_a_board_returns_what_other_processes_wrote() -> None:
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


def test_clear_affects_one_slot_only() -> None:
    board = Board.create(3)
    for index in range(3):
        board.write(index, Slot(1.0, 100 + index, 1, 2, 3))
    board.clear(1)
    assert [slot.pid for slot in board] == [100, 0, 102]
    assert board.read(1) == Slot(0.0, 0, 0, 0, 0)
    assert not board.draining


@pytest.mark.parametrize(("used", "free"), [(0, 3), (2, 1), (3, 0), (4, 0)])
def test_the_number_of_free_places_is_never_negative(used: int, free: int) -> None:
    assert Slot(1.0, 1, used, 3, 0).free == free


def test_an_overview_sums_the_workers() -> None:
    result = overview([Slot(1.0, 11, 2, 5, 1), Slot(2.0, 12, 5, 5, 3)], draining=False)
    assert result == {
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


def test_a_draining_server_is_not_ready_and_has_no_free_places() -> None:
    result = overview([Slot(1.0, 11, 2, 5, 0)], draining=True)
    assert (result["ready"], result["free"], result["used"]) == (False, 0, 2)


def test_a_server_is_not_ready_while_a_worker_starts() -> None:
    result = overview([Slot(1.0, 11, 0, 5, 0), Slot(0.0, 0, 0, 0, 0)], draining=False)
    assert (result["ready"], result["free"], result["max_sessions"]) == (False, 5, 5)


def test_any_worker_reports_the_whole_server() -> None:
    board = Board.create(2)
    board.write(1, Slot(1.0, 12, 4, 5, 6))
    places = Places(5)
    places.publish(board, 0, 8002)
    places.take()
    result = places.overview()
    assert (result["used"], result["free"], result["refused"]) == (5, 5, 6)


def test_a_worker_without_a_board_reports_itself() -> None:
    places = Places(5)
    places.take()
    result = places.overview()
    assert (result["ready"], result["used"], result["free"]) == (True, 1, 4)


def test_the_board_shows_every_place_at_once() -> None:
    board = Board.create(1)
    places = Places(3)
    places.publish(board, 0, 8002)
    assert places.take()
    assert places.take()
    assert board.read(0).used == 2
    places.release()
    assert board.read(0).used == 1


def test_every_change_is_a_heartbeat_on_the_monotonic_clock() -> None:
    board = Board.create(1)
    places = Places(1)
    places.publish(board, 0, 8002)
    for change in (places.take, places.release, places.beat, places.overview):
        board.clear(0)
        before = time.monotonic()
        change()
        assert before <= board.read(0).alive_at <= time.monotonic()


def test_a_worker_beats_in_its_own_slot() -> None:
    board = Board.create(3)
    places = Places(4)
    places.publish(board, 2, 8004)
    assert places.take()
    assert [slot.used for slot in board] == [0, 0, 1]
    assert [slot.limit for slot in board] == [0, 0, 4]


def test_places_start_unused_and_without_a_port() -> None:
    places = Places(7)
    assert (places.limit, places.used, places.refused, places.own_port) == (7, 0, 0, None)


def test_a_full_worker_that_drains_refuses_once_per_session() -> None:
    board = Board.create(1)
    places = Places(1)
    places.publish(board, 0, 8002)
    assert places.take()
    board.draining = True
    assert not places.take()
    assert not places.take()
    assert (places.used, places.refused) == (1, 2)


def test_a_new_board_is_empty_and_does_not_drain() -> None:
    board = Board.create(2)
    assert list(board) == [Slot(0.0, 0, 0, 0, 0)] * 2
    assert not board.draining
    assert board.workers == 2
    os.fstat(board.fd)


def test_draining_can_be_revoked_without_touching_the_slots() -> None:
    board = Board.create(1)
    board.write(0, Slot(5.0, 9, 1, 2, 3))
    board.draining = True
    assert board.draining
    assert board.read(0) == Slot(5.0, 9, 1, 2, 3)
    board.draining = False
    assert not board.draining


def test_a_draining_worker_reports_no_free_places() -> None:
    board = Board.create(1)
    places = Places(5)
    places.publish(board, 0, 8002)
    assert places.overview()["free"] == 5
    board.draining = True
    result = places.overview()
    assert (result["ready"], result["draining"], result["free"]) == (False, True, 0)


def attached(capacity: int = 100) -> tuple[Board, Places]:
    board = Board.create(2, capacity)
    places = Places(capacity)
    places.attach(board, 1)
    return board, places


def test_the_board_names_the_sessions_in_which_code_is_running() -> None:
    board, places = attached()
    stepping, idle, resetting = (places.record(f"session-{name}") for name in "abc")
    places.running[stepping] = Running.STEP
    places.running[resetting] = Running.RESET
    server = Board(board.fd, 2)
    assert server.running(1) == [("session-a", Running.STEP), ("session-c", Running.RESET)]
    assert server.running(0) == []
    places.running[stepping] = Running.NOTHING
    places.running[idle] = Running.CLOSE
    assert server.running(1) == [("session-b", Running.CLOSE), ("session-c", Running.RESET)]


def test_a_forgotten_record_is_used_again_by_another_session() -> None:
    board, places = attached(2)
    first, second = places.record("a much longer name"), places.record("second")
    places.running[first] = places.running[second] = Running.STEP
    places.forget(first)
    assert board.running(1) == [("second", Running.STEP)]
    third = places.record("third")
    assert (third, places.running[third]) == (first, Running.NOTHING)
    places.running[third] = Running.CONSTRUCTOR
    assert board.running(1) == [("third", Running.CONSTRUCTOR), ("second", Running.STEP)]


@pytest.mark.parametrize("session_id", ["é" * 200, "x" * 127, "x" * 300, ""])
def test_a_record_holds_the_beginning_of_a_long_id(session_id: str) -> None:
    board, places = attached()
    place, neighbour = places.record(session_id), places.record("neighbour")
    places.running[place] = places.running[neighbour] = Running.STEP
    name = session_id.encode()[:127].decode(errors="replace")
    assert board.running(1) == [(name, Running.STEP), ("neighbour", Running.STEP)]


def test_clear_erases_the_records_of_the_worker() -> None:
    board, places = attached()
    other = Places(100)
    other.attach(board, 0)
    for each in (places, other):
        each.running[each.record("lost")] = Running.STEP
    board.clear(1)
    assert (board.running(1), board.running(0)) == ([], [("lost", Running.STEP)])


def test_places_without_a_board_keep_records_too() -> None:
    places = Places(3)
    places.running[places.record("alone")] = Running.STEP
    assert bytes(places.running[:3]) == bytes((Running.STEP, 0, 0))


def test_ten_million_places_take_memory_only_for_what_was_written() -> None:
    board = Board.create(16, 10_000_000)
    places = Places(10_000_000)
    places.attach(board, 15)
    places.running[places.record("only")] = Running.STEP
    places.running[9_999_999] = Running.RESET
    assert board.running(15) == [("only", Running.STEP), ("", Running.RESET)]
    assert os.fstat(board.fd).st_blocks * 512 < 100_000
    board.clear(15)
    assert board.running(15) == []
    assert os.fstat(board.fd).st_blocks * 512 < 10_000


def test_a_worker_is_not_ready_before_it_publishes() -> None:
    board, places = attached()
    places.beat()
    assert board.read(1).pid == 0
    places.publish(board, 1, 8002)
    assert board.read(1).pid == os.getpid()


def test_the_outcome_of_the_trial_reaches_the_other_workers() -> None:
    board = Board.create(2)
    board.draining = True
    assert Board(board.fd, 2).trial is Trial.UNKNOWN
    board.trial = Trial.SINGLE
    assert Board(board.fd, 2).trial is Trial.SINGLE
    assert board.draining


def test_the_texts_of_a_start_reach_the_server_and_are_cut_when_long() -> None:
    board = Board.create(2)
    theirs = Board(board.fd, 2)
    assert (board.activity, board.failure) == ("", "")
    theirs.activity, theirs.failure = "imports the app " * 10, "é" * 2_000
    theirs.activity = "imports the app"
    assert board.activity == "imports the app"
    assert board.failure == "é" * 511
    assert [slot.pid for slot in board] == [0, 0]
    assert not board.draining
