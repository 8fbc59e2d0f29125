"""Environments whose constructor, `reset` or `step` does what the client, or a file, asks for.

While the file that GATE names exists, constructors wait; if it has content, they fail with it.
"""

import asyncio
import ctypes
import datetime
import functools
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fastapi import WebSocketDisconnect
from openenv.core.env_server import create_app, Environment
from openenv.core.env_server.types import Action, Observation, State

GATE = Path(os.environ.get("GATE", "/nonexistent"))
LINE = "x" * 1023 + "\n"


class Fault(Action):
    """`step` calls the function named `do` with `value`."""

    do: str = "nothing"
    value: Any = None


class Seen(Observation):
    """`value` may be anything, as pydantic does not look at it."""

    value: Any = None
    pid: int = 0


def wait_while_exists(path: str) -> None:
    while Path(path).exists():
        time.sleep(0.01)


class Unspeakable(Exception):
    """Has no text."""

    def __str__(self) -> str:
        raise LookupError("no words")


EXCEPTIONS: dict[str, Callable[[], BaseException]] = {
    "ValueError": lambda: ValueError("no level ü 漢"),
    "empty": RuntimeError,
    "several lines": lambda: RuntimeError("one\ntwo"),
    "StopIteration": lambda: StopIteration(7),
    "StopAsyncIteration": StopAsyncIteration,
    "group": lambda: ExceptionGroup("several", [ValueError("a"), KeyError("b")]),
    "without text": Unspeakable,
    "lone surrogate": lambda: ValueError("\ud800"),
    "long": lambda: ValueError("x" * 2_000),
    "CancelledError": asyncio.CancelledError,
    "SystemExit": lambda: SystemExit(3),
    "KeyboardInterrupt": KeyboardInterrupt,
    "GeneratorExit": GeneratorExit,
    "TimeoutError": TimeoutError,
    "ConnectionResetError": ConnectionResetError,
    "WebSocketDisconnect": lambda: WebSocketDisconnect(1001),
    "RecursionError": lambda: caught(recurse),
    "ValidationError": lambda: caught(lambda: State.model_validate({"step_count": "many"})),
}


def recurse() -> None:
    recurse()


def caught(function: Callable[[], Any]) -> BaseException:
    try:
        function()
    except Exception as failure:  # noqa: BLE001
        return failure
    raise AssertionError


def fail(name: str) -> None:
    raise EXCEPTIONS[name]()


def segfault(_: Any) -> None:
    ctypes.string_at(0)


def kill(_: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def allocate(megabytes: int) -> int:
    """Uses memory, not only addresses."""
    return len(bytearray(b"x") * (megabytes << 20))


def print_much(megabytes: int) -> None:
    for stream in (sys.stdout, sys.stderr):
        for _ in range(megabytes // 2):
            stream.write(LINE * 1024)
        stream.flush()


def say(text: str) -> None:
    print(text, flush=True)


def cycle() -> list[Any]:
    found: list[Any] = []
    found.append(found)
    return found


UNUSUAL: dict[str, Callable[[], Any]] = {
    "set": lambda: {1},
    "tuple": lambda: (1, 2),
    "nan": lambda: [float("nan"), float("inf"), float("-inf")],
    "bytes": lambda: b"text",
    "bytes that are no text": lambda: b"\xff\xfe",
    "lone surrogate": lambda: "\ud800",
    "object": object,
    "function": lambda: fail,
    "exception": lambda: ValueError("inside"),
    "cycle": cycle,
    "generator": lambda: (n for n in range(3)),
    "key that is a tuple": lambda: {(1, 2): 3},
    "huge number": lambda: 10**400,
    "date": lambda: datetime.date(2026, 1, 2),
    "complex": lambda: 1j,
    "deep": lambda: functools.reduce(lambda inner, _: [inner], range(300), 1),
}

FAULTS: dict[str, Callable[[Any], Any]] = {
    "nothing": lambda value: value,
    "wait": wait_while_exists,
    "fail": fail,
    "segfault": segfault,
    "kill": kill,
    "exit": os._exit,
    "allocate": allocate,
    "print": print_much,
    "say": say,
    "return": lambda name: UNUSUAL[name](),
}


class Faulty(Environment):
    SUPPORTS_CONCURRENT_SESSIONS = True

    def __init__(self) -> None:
        super().__init__()
        while GATE.exists():
            if cause := GATE.read_text():
                raise OSError(cause)
            time.sleep(0.01)

    def reset(self, seed: int | None = None, episode_id: str | None = None, **more: Any) -> Seen:
        return self.do(Fault(**more))

    def step(self, action: Fault, timeout_s: float | None = None, **_: Any) -> Seen:
        return self.do(action)

    def do(self, action: Fault) -> Seen:
        return Seen(value=FAULTS[action.do](action.value), pid=os.getpid())

    @property
    def state(self) -> State:
        return State()


class AsyncFaulty(Faulty):
    async def reset_async(
        self, seed: int | None = None, episode_id: str | None = None, **more: Any
    ) -> Seen:
        return self.do(Fault(**more))

    async def step_async(self, action: Fault, timeout_s: float | None = None, **_: Any) -> Seen:
        return self.do(action)


class OneAtATime(Faulty):
    SUPPORTS_CONCURRENT_SESSIONS = False


blocking = create_app(Faulty, Fault, Seen, max_concurrent_envs=100)
asynchronous = create_app(AsyncFaulty, Fault, Seen, max_concurrent_envs=100)
one_at_a_time = create_app(OneAtATime, Fault, Seen)
