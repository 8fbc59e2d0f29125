"""Runs the coroutines of an environment, one after the other, as parts of its session's task."""

import asyncio
from asyncio import Future
from asyncio.tasks import _enter_task, _leave_task
from collections.abc import Awaitable, Callable, Coroutine, Generator
from contextvars import Context
from typing import Any

from benchmark.server.engine.failures import as_exception

Work = Callable[[Any], Coroutine[Any, Any, bytes]]


class Coroutines:
    """A coroutine that does not wait needs no turn of the event loop: it runs when its message arrives, as
    an eager task of Python 3.12 would, with the session's task as the current one and in its context."""

    __slots__ = (
        "_argument",
        "_cancellable",
        "_context",
        "_ended",
        "_loop",
        "_started",
        "_task",
        "_waiter",
        "_work",
        "busy",
    )

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop
        self._task: asyncio.Task[Any] | None = None
        self._context: Context | None = None  # of the task, if it is known
        self._waiter: Future[None] | None = None  # for which the task waits
        self._work: Work | None = None
        self._argument: Any = None
        self._started: Started | None = None
        self._ended = False
        self._cancellable = False  # whether the task is within code of the environment
        self.busy = True  # until the environment is open

    def _begin(self, work: Work, argument: Any) -> None:
        task = self._task
        if self._waiter is None or self._context is None or task is None:
            self._begin_in_task(work, argument)
            return
        reply: bytes | None = None
        error: BaseException | None = None
        coroutine = work(argument)
        _enter_task(self._loop, task)
        try:
            waits_for = self._context.run(coroutine.send, None)
        except StopIteration as stop:
            reply = stop.value
        except BaseException as failure:  # noqa: BLE001 - the client gets it
            error = as_exception(failure)
        else:
            self._continue_in_task(Started(coroutine, waits_for))
            return
        finally:
            _leave_task(self._loop, task)
        self._reply(reply, error)

    def _begin_in_task(self, work: Work, argument: Any) -> None:
        self._work, self._argument = work, argument
        self.busy = True
        self._wake()

    def _continue_in_task(self, started: "Started") -> None:
        self._started = started
        self.busy = self._cancellable = True
        self._wake()

    def _wake(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    async def _run_next(self) -> None:
        """Waits for a coroutine to run, or for one that has started, and runs it."""
        if self._work is None:
            await self._woken()
        if (work := self._take()) is None:
            return
        reply: bytes | None = None
        error: BaseException | None = None
        self._cancellable = True
        try:
            reply = await work
        except asyncio.CancelledError as failure:
            if self._ended or self._stopping:
                raise
            error = as_exception(failure)  # the environment has cancelled something itself
        except BaseException as failure:  # noqa: BLE001 - the client gets it
            error = as_exception(failure)
        finally:
            self._cancellable = False
        self._replied(reply, error)

    async def _woken(self) -> None:
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        except asyncio.CancelledError as failure:
            if self._started is None:
                raise
            self._started.fail(failure)

    def _take(self) -> Awaitable[bytes] | None:
        started, work = self._started, self._work
        self._started = self._work = None
        if started is not None:
            return started
        return None if work is None or self._ended else work(self._argument)

    @property
    def _stopping(self) -> bool:
        return self._task is not None and self._task.cancelling() > 0

    def _reply(self, reply: bytes | None, failure: BaseException | None) -> None:
        """Sends the reply of a coroutine, or its failure."""
        raise NotImplementedError

    def _replied(self, reply: bytes | None, failure: BaseException | None) -> None:
        """Sends the reply and continues with the next message."""
        raise NotImplementedError


class Started:
    """The rest of the coroutine, which its task awaits."""

    __slots__ = ("_coroutine", "_failure", "_waits_for")

    def __init__(self, coroutine: Coroutine[Any, Any, bytes], waits_for: Any) -> None:
        """`waits_for` is what the coroutine has yielded: a future, or None for the next turn."""
        self._coroutine, self._waits_for = coroutine, waits_for
        self._failure: BaseException | None = None

    def fail(self, failure: BaseException) -> None:
        """The task was cancelled before it awaited this."""
        self._failure = failure

    def __await__(self) -> Generator[Any, None, bytes]:
        waits_for, failure = self._waits_for, self._failure
        while failure is not None or waits_for is not None:
            if failure is None:
                try:
                    yield waits_for
                    break
                except BaseException as raised:  # noqa: BLE001 - the coroutine gets it
                    failure = raised
            try:
                waits_for = self._coroutine.throw(failure)
            except StopIteration as stop:
                return stop.value  # type: ignore[no-any-return]
            finally:
                failure = None  # breaks a reference cycle
        return (yield from self._coroutine.__await__())
