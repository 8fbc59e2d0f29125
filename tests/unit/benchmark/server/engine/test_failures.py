import json
import logging
import re
import threading

import pytest

from benchmark.server.engine.failures import (
    as_exception,
    describe,
    FactoryFailed,
    Failures,
    MAX_KINDS,
    position,
)


class Unspeakable(Exception):
    def __str__(self) -> str:
        raise LookupError


def raised(failure: BaseException) -> BaseException:
    try:
        raise failure
    except BaseException as caught:  # noqa: BLE001
        return caught


@pytest.mark.parametrize(
    ("failure", "expected"),
    [
        (ValueError("one\n two"), "ValueError: one two"),
        (ValueError(), "ValueError"),
        (Unspeakable(), "Unspeakable"),
        (ValueError("\ud800"), "ValueError: ?"),
        (ValueError("x" * 5000), "ValueError: " + "x" * 1000),
    ],
)
def test_a_failure_is_one_line_that_names_the_code(failure: Exception, expected: str) -> None:
    assert describe(failure) == expected
    line = raised(failure).__traceback__
    assert line is not None
    assert describe(failure) == f"{expected} ({__file__}:{line.tb_lineno})"


def test_the_line_is_not_one_of_the_standard_library() -> None:
    with pytest.raises(json.JSONDecodeError) as caught:
        json.loads("[")
    assert f"({__file__}:" in describe(caught.value)


def test_the_position_of_a_thread_is_not_in_the_standard_library() -> None:
    proceed, running = threading.Event(), threading.Event()

    def code() -> None:
        running.set()
        proceed.wait(20)

    thread = threading.Thread(target=code)
    thread.start()
    assert running.wait(20)
    assert thread.ident is not None
    assert re.fullmatch(rf"at {__file__}:\d+ in code", position(thread.ident))
    proceed.set()
    thread.join()
    assert position(thread.ident) == "not running"


@pytest.mark.parametrize(
    ("failure", "text"),
    [
        (SystemExit(3), "SystemExit: 3"),
        (KeyboardInterrupt(), "KeyboardInterrupt"),
        (StopIteration(), "StopIteration"),
    ],
)
def test_what_would_end_a_worker_becomes_an_ordinary_exception(
    failure: BaseException, text: str
) -> None:
    plain = as_exception(raised(failure))
    assert type(plain) is RuntimeError
    assert str(plain) == text
    assert plain.__traceback__ is failure.__traceback__
    ordinary = ValueError()
    assert as_exception(ordinary) is ordinary


def test_each_kind_is_reported_less_and_less_often(caplog: pytest.LogCaptureFixture) -> None:
    failures = Failures()
    with caplog.at_level(logging.WARNING):
        for _ in range(105):
            failures.report("a", ValueError("x"))
        failures.report("b", KeyError("y"))
    assert caplog.messages == [
        "Session a: ValueError: x",
        "Session a: ValueError: x; 10 times so far",
        "Session a: ValueError: x; 100 times so far",
        "Session b: KeyError: 'y'",
    ]


def test_factories_are_told_apart_by_their_causes(caplog: pytest.LogCaptureFixture) -> None:
    failures = Failures()
    for cause in (OSError("no licence"), ValueError("no level")):
        failed = FactoryFailed("Game", describe(cause))
        failed.__cause__ = cause
        failures.report("a", failed)
    begin = "Session a: Environment factory 'Game' failed to create instance: "
    assert caplog.messages == [f"{begin}OSError: no licence", f"{begin}ValueError: no level"]


def test_kinds_are_forgotten_when_there_are_too_many() -> None:
    failures = Failures()
    for number in range(3 * MAX_KINDS):
        failures.report("a", type(f"Error{number}", (Exception,), {})())
    assert len(failures._counts) <= MAX_KINDS
