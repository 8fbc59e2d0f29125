"""One open environment: where its code runs, and how it is made and closed."""

import asyncio
import logging
import threading
import time
from asyncio import Future
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any

from benchmark.server import messages
from benchmark.server.engine.failures import describe, FactoryFailed, position
from benchmark.server.engine.spec import Spec
from benchmark.server.engine.threads import EnvironmentThread, Threads
from benchmark.server.places import Places, Running

# Plain integers: storing an enum member costs a conversion.
NOTHING, CONSTRUCTOR, RESET, STEP, STATE, CLOSING = map(int, Running)

logger = logging.getLogger("uvicorn.error")


class OpenEnvironment:
    """An environment keeps its thread from its constructor to `close`. An asynchronous one with nothing to
    close needs no thread of its own: only its constructor may block."""

    __slots__ = (
        "_constructing",
        "_ident",
        "_late",
        "_opened",
        "_opening",
        "_place",
        "_places",
        "_running",
        "_spec",
        "_stack",
        "_thread",
        "_threads",
        "given_up",
        "instance",
        "reset_is_async",
        "session_id",
        "step_is_async",
        "used_at",
        "was_reset",
    )

    def __init__(
        self,
        spec: Spec,
        threads: Threads,
        places: Places,
        opening: "dict[OpenEnvironment, float]",
        session_id: str,
    ) -> None:
        """Is in `opening`, with the time, while its constructor runs."""
        self._spec, self._threads, self._places, self._opening = spec, threads, places, opening
        self._stack: AsyncExitStack | None = None
        self._opened: Future[None]
        self._late: Future[None] | None = None  # a constructor that `close` waits for
        self._constructing = False
        self._thread: EnvironmentThread | None = None
        self._ident = 0  # of the thread that runs the constructor
        self.session_id = session_id
        self.instance: Any = None
        self.step_is_async = self.reset_is_async = self.was_reset = self.given_up = False
        self.used_at = time.monotonic()

    async def open(self) -> None:
        """Makes the environment. Raises `FactoryFailed` and what its `mcp_session` raises."""
        self._place, self._running = self._places.record(self.session_id), self._places.running
        self._opening[self] = time.monotonic()
        self._constructing = True
        self._opened = asyncio.get_running_loop().create_future()
        if not self._spec.factory_blocks:
            self._construct_here()
        elif self._threads.pooled:
            self._threads.pool.call(self._constructed, self._construct)
        else:
            self._thread = self._threads.acquire()
            self._thread.call(self._constructed, self._construct)
        try:
            await self._opened
        finally:
            del self._opening[self]
        self._choose_thread()
        session = getattr(self.instance, "mcp_session", None)
        if callable(session):
            self._stack = AsyncExitStack()
            await self._stack.enter_async_context(session())

    def give_up(self, seconds: float) -> None:
        """Fails `open`. The constructor keeps running; `close` waits for it."""
        if not self._opened.done():
            self.given_up = True
            cause = f"its constructor has not returned after {seconds:.0f} s; it is {self.position}"
            self._opened.set_exception(FactoryFailed(self._spec.name, cause))

    @property
    def position(self) -> str:
        """Where the code on the environment's thread is."""
        return position(self._ident) if self._ident else "waiting for a thread"

    def mark(self, code: int) -> None:
        """Records which code of the environment is running, for the report on a worker that dies."""
        self._running[self._place] = code

    def _construct(self) -> None:
        self._ident = threading.get_ident()
        self.mark(CONSTRUCTOR)
        try:
            self.instance = self._spec.factory()
        finally:
            self.mark(NOTHING)

    def _construct_here(self) -> None:
        failure = None
        try:
            self._construct()
        except BaseException as raised:  # noqa: BLE001 - `open` raises it
            failure = raised
        self._constructed(None, failure)

    def _constructed(self, _: None, failure: BaseException | None) -> None:
        self._constructing = False
        if self._late is not None and not self._late.done():
            self._late.set_result(None)
        if self._opened.done():
            return
        if failure is None:
            self._opened.set_result(None)
        else:
            failed = FactoryFailed(self._spec.name, describe(failure))
            failed.__cause__ = failure
            self._opened.set_exception(failed)

    def _choose_thread(self) -> None:
        overrides, instance = self._spec.overrides, self.instance
        self.step_is_async = overrides(instance, "step_async")
        self.reset_is_async = overrides(instance, "reset_async")
        if self._thread is None:
            return
        self._threads.pooled = self.is_async and self._spec.has_base_close(instance)
        if self._spec.executors is not None:
            self._spec.executors[self.session_id] = self._thread

    @property
    def is_async(self) -> bool:
        return self.step_is_async and self.reset_is_async

    def touch(self) -> None:
        self.used_at = time.monotonic()

    def call(self, done: Callable[..., None], function: Callable[..., Any], *values: Any) -> None:
        """Runs blocking code on the environment's thread."""
        assert self._thread is not None
        self._thread.call(done, function, *values)

    # These run code of the environment and return the frame of the reply.

    def step(self, action: Any) -> bytes:
        self.mark(STEP)
        try:
            return self._spec.encode_observation(self.instance.step(action))
        finally:
            self.mark(NOTHING)

    def reset(self, arguments: dict[str, Any]) -> bytes:
        self.mark(RESET)
        try:
            observation = self.instance.reset(**arguments)
        finally:
            self.mark(NOTHING)
        self.was_reset = True
        return self._spec.encode_observation(observation)

    def state(self) -> bytes:
        self.mark(STATE)
        try:
            return self._spec.encode_state(self.instance.state)
        finally:
            self.mark(NOTHING)

    async def state_async(self, _: None) -> bytes:
        return self.state()

    async def step_async(self, action: Any) -> bytes:
        self.mark(STEP)
        try:
            return self._spec.encode_observation(await self.instance.step_async(action))
        finally:
            self.mark(NOTHING)

    async def reset_async(self, arguments: dict[str, Any]) -> bytes:
        self.mark(RESET)
        try:
            observation = await self.instance.reset_async(**arguments)
        finally:
            self.mark(NOTHING)
        self.was_reset = True
        return self._spec.encode_observation(observation)

    async def mcp(self, data: dict[str, Any]) -> bytes:
        return messages.encode({"type": "mcp", "data": await self.handle_mcp(data)})

    async def handle_mcp(self, request: dict[str, Any]) -> dict[str, Any]:
        assert self._spec.handle_mcp is not None
        self.mark(STEP)
        try:
            return await self._spec.handle_mcp(request, self.instance, self.session_id)
        finally:
            self.mark(NOTHING)

    async def close(self) -> None:
        """Closes the environment after whatever still runs on its thread; failures are only logged."""
        if self._constructing:
            self._late = asyncio.get_running_loop().create_future()
            await self._late
        try:
            if self._stack is not None:
                await self._stack.aclose()
            if self._thread is not None and (self._thread.busy or not self._is_closed):
                await self._thread.run(self._close_instance)
        except Exception as failure:  # noqa: BLE001 - the session is over
            logger.warning(
                "An environment of %s did not close: %s", self._spec.name, describe(failure)
            )
        finally:
            self.instance = None
            self._places.forget(self._place)
            self._release_thread()

    @property
    def _is_closed(self) -> bool:
        return self.instance is not None and self._spec.has_base_close(self.instance)

    def _release_thread(self) -> None:
        if self._thread is not None:
            if self._spec.executors is not None:
                self._spec.executors.pop(self.session_id, None)
            self._threads.release(self._thread)

    def _close_instance(self) -> None:
        if self.instance is not None:
            self.mark(CLOSING)
            self.instance.close()
