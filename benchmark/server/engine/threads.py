"""Threads for code that may block: the constructor, `reset`, `step` and `close` of an environment.

Libraries such as Playwright and sqlite bind their objects to the thread that made them, so an environment
stays on one thread.
"""

import _thread
import asyncio
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, Future
from queue import SimpleQueue
from typing import Any

from benchmark.server.engine.failures import as_exception

# Idle threads that are kept for the next sessions.
MAX_IDLE = 64
GROW_SECONDS = 0.02

Done = Callable[[Any, BaseException | None], None]


class Completions:
    """Returns results to the event loop, with one wake-up for all that are ready at that time."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._ready: deque[tuple[Done, Any, BaseException | None]] = deque()
        self._scheduled = False

    def post(self, done: Done, result: Any, failure: BaseException | None) -> None:
        self._ready.append((done, result, failure))
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon_threadsafe(self._deliver)

    def _deliver(self) -> None:
        self._scheduled = False  # before the first result is taken: a later one schedules again
        ready = self._ready
        while ready:
            done, result, failure = ready.popleft()
            done(result, failure)


class Calls:
    """Passes calls to threads, all those of one turn of the event loop together: a thread that wakes at once
    would compete for the interpreter's lock with every message that the loop still reads in that turn."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiting: list[tuple[SimpleQueue[Any], Any]] = []

    def put(self, queue: "SimpleQueue[Any]", call: Any) -> None:
        if not self._waiting:
            self._loop.call_soon(self._pass_on)
        self._waiting.append((queue, call))

    def _pass_on(self) -> None:
        waiting, self._waiting = self._waiting, []
        for queue, call in waiting:
            queue.put(call)


class EnvironmentThread(Executor):
    """Runs functions one after the other; `submit` makes it the executor of a session."""

    def __init__(self, completions: Completions, calls: Calls) -> None:
        self._completions, self._later = completions, calls
        self._calls: SimpleQueue[Any] = SimpleQueue()
        self._called = self._returned = 0
        # Every open session has one, and an object of `threading` adds 3 KB to each.
        _thread.start_new_thread(self._run, ())

    def call(self, done: Done, function: Callable[..., Any], *arguments: Any) -> None:
        """Calls `done` on the event loop with the result or the exception."""
        self._called += 1
        self._later.put(self._calls, (done, function, arguments))

    @property
    def busy(self) -> bool:
        return self._called != self._returned

    def run(self, function: Callable[..., Any], *arguments: Any) -> "asyncio.Future[Any]":
        future = asyncio.get_running_loop().create_future()

        def done(result: Any, failure: BaseException | None) -> None:
            if future.cancelled():
                return
            if failure is None:
                future.set_result(result)
            else:
                future.set_exception(failure)

        self.call(done, function, *arguments)
        return future

    def submit(self, function: Callable[..., Any], /, *arguments: Any, **keywords: Any) -> Any:
        future: Future[Any] = Future()

        def run() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                future.set_result(function(*arguments, **keywords))
            except BaseException as failure:  # noqa: BLE001 - the caller gets it
                future.set_exception(as_exception(failure))

        self._called += 1
        self._calls.put((None, run, ()))
        return future

    def stop(self) -> None:
        self._later.put(self._calls, None)

    def _run(self) -> None:
        get, post = self._calls.get, self._completions.post
        while (call := get()) is not None:
            done, function, arguments = call
            result = failure = None
            try:
                result = function(*arguments)
            except BaseException as exception:  # noqa: BLE001 - the session reports it
                failure = as_exception(exception)
            self._returned += 1
            if done is not None:
                post(done, result, failure)
            del call, done, function, arguments, result, failure  # keep nothing alive while idle


class Pool:
    """Runs functions that need no thread of their own. It starts another thread only when no function has
    returned for a while, so that a burst of quick ones needs one thread and slow ones delay nobody."""

    def __init__(self, completions: Completions) -> None:
        self._completions = completions
        self._calls: SimpleQueue[Any] = SimpleQueue()
        self._threads = self._pending = self._returned = 0
        self._watched = False  # whether a check is due

    def call(self, done: Done, function: Callable[..., Any]) -> None:
        self._pending += 1
        self._calls.put((done, function))
        if not self._threads:
            self._start(1)
        if not self._watched:
            self._watched = True
            self._check_later(-1)

    def _check_later(self, returned: int) -> None:
        asyncio.get_running_loop().call_later(GROW_SECONDS, self._check, returned)

    def _check(self, returned: int) -> None:
        if not self._pending:
            for _ in range(1, self._threads):
                self._calls.put(None)
            self._threads = min(self._threads, 1)
            self._watched = False
            return
        if self._returned == returned:
            self._start(min(self._threads, self._pending))
        self._check_later(self._returned)

    def _start(self, count: int) -> None:
        for _ in range(count):
            self._threads += 1
            threading.Thread(target=self._run, name="constructor", daemon=True).start()

    def _run(self) -> None:
        while (call := self._calls.get()) is not None:
            done, function = call
            failure = None
            try:
                function()
            except BaseException as exception:  # noqa: BLE001 - the session reports it
                failure = as_exception(exception)
            self._completions.post(self._finished, done, failure)
            del call, done, function, failure

    def _finished(self, done: Done, failure: BaseException | None) -> None:
        self._pending -= 1
        self._returned += 1
        done(None, failure)


class Threads:
    """The threads of a worker: as many as are busy at once, or one for all environments."""

    def __init__(self, loop: asyncio.AbstractEventLoop, *, single: bool) -> None:
        completions = self._completions = Completions(loop)
        self._calls = Calls(loop)
        self._idle: list[EnvironmentThread] = []
        self._shared = EnvironmentThread(completions, self._calls) if single else None
        self.pool = Pool(completions)
        # Whether the pool makes the environments; the first environment decides.
        self.pooled = False

    def acquire(self) -> EnvironmentThread:
        """A thread that runs nothing else until `release`, unless there is only one."""
        if self._shared is not None:
            return self._shared
        return self._idle.pop() if self._idle else EnvironmentThread(self._completions, self._calls)

    def release(self, thread: EnvironmentThread) -> None:
        if thread is self._shared:
            return
        if len(self._idle) < MAX_IDLE:
            self._idle.append(thread)
        else:
            thread.stop()
