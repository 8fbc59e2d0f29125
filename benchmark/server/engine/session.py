"""A WebSocket session: receives messages, runs them on its environment and replies."""

import asyncio
import contextlib
import json
from contextvars import Context
from time import monotonic
from typing import Any

from pydantic import BaseModel

from benchmark.server import messages
from benchmark.server.engine.arguments import accepted
from benchmark.server.engine.coroutines import Coroutines
from benchmark.server.engine.environment import OpenEnvironment
from benchmark.server.engine.failures import as_exception, FactoryFailed, report
from benchmark.server.engine.spec import Spec
from benchmark.server.messages import ErrorCode
from benchmark.server.websocket.interface import Channel

NOT_RESET = (
    "This session's environment has not been reset, so there is no episode to step. If the client was "
    "connected before, it has lost its session and reconnected. Send a reset first."
)


class Session(Coroutines):
    """A `DirectSession`. Blocking code of its environment has a thread; coroutines run in `run`."""

    __slots__ = ("_channel", "_environment", "_spec", "_strict")

    def __init__(self, spec: Spec, environment: OpenEnvironment, *, strict: bool) -> None:
        super().__init__()
        self._spec, self._environment, self._strict = spec, environment, strict
        self._channel: Channel

    def start(self, channel: Channel, context: Context | None) -> None:
        self._channel, self._context = channel, context

    @property
    def used_at(self) -> float:
        return self._environment.used_at

    @property
    def name(self) -> str:
        return self._environment.session_id

    def runs_in(self, task: "asyncio.Task[Any] | None") -> bool:
        return task is not None and self._task is task

    async def run(self, *, opens: bool) -> None:
        """Returns when the session has ended; the environment is still open then."""
        self._task, self._loop = asyncio.current_task(), asyncio.get_running_loop()
        try:
            if opens and not await self._open():
                return
            self._ready()
            while not self._ended:
                await self._run_next()
        except asyncio.CancelledError:
            if not self._ended or self._task is None:
                raise  # the server stops
            self._task.uncancel()
        finally:
            self._task = None

    def finish(self) -> None:
        """Closes the connection, unless the client has; called after the environment is closed."""
        self._ended = True
        self._channel.close()

    def expire(self, seconds: float) -> None:
        """Ends a session that received no message for so long."""
        self._fail(TimeoutError(f"The session received no message for {seconds:g} s."))

    def disconnected(self) -> None:
        # A coroutine of the environment is cancelled. Blocking code cannot be: `close` waits for it.
        if not self._ended:
            self._end()

    def receive_text(self, data: bytes) -> None:
        try:
            message = messages.decode(data)
        except json.JSONDecodeError as failure:
            self._channel.send(messages.error(ErrorCode.INVALID_JSON, f"Invalid JSON: {failure}"))
        except UnicodeDecodeError:
            raise
        except (RecursionError, ValueError) as failure:  # too deep, or a number too long
            self._fail(failure)
        else:
            self._receive(message)

    def receive_binary(self, _: bytes) -> None:
        self._fail(KeyError("text"))  # as the reference replies

    def _receive(self, message: Any) -> None:
        self._environment.used_at = monotonic()
        try:
            kind = message.get("type", "")
        except AttributeError as failure:
            self._fail(failure)
            return
        try:
            self._handle(kind, message)
        except BaseException as failure:  # noqa: BLE001 - the client gets it
            self._reply_failure(as_exception(failure))

    def _handle(self, kind: Any, message: dict[str, Any]) -> None:
        models = self._spec.models
        if kind == "step":
            self._step(_data(models.step, message))
        elif kind == "reset":
            self._reset(_data(models.reset, message))
        elif kind == "state":
            models.state(**message)
            self._state()
        elif kind == "close":
            models.close(**message)
            self._end()
        elif kind == "mcp" and models.mcp is not None:
            self._begin(self._environment.mcp, _data(models.mcp, message))
        else:
            text = f"Unknown message type: {kind}"
            self._channel.send(messages.error(ErrorCode.UNKNOWN_TYPE, text))

    def _step(self, data: dict[str, Any]) -> None:
        action = self._spec.parse_action(data)
        environment = self._environment
        if self._strict and not environment.was_reset and data.get("type") != "list_tools":
            raise RuntimeError(NOT_RESET)
        if environment.step_is_async:
            self._begin(environment.step_async, action)
        else:
            self.busy = True
            environment.call(self._replied, environment.step, action)

    def _reset(self, data: dict[str, Any]) -> None:
        environment = self._environment
        instance = environment.instance
        method = instance.reset_async if environment.reset_is_async else instance.reset
        arguments = accepted(method, data)
        if environment.reset_is_async:
            self._begin(environment.reset_async, arguments)
        else:
            self.busy = True
            environment.call(self._replied, environment.reset, arguments)

    def _state(self) -> None:
        if self._environment.is_async:
            self._begin(self._environment.state_async, None)
        else:
            self.busy = True
            self._environment.call(self._replied, self._environment.state)

    async def _open(self) -> bool:
        self._cancellable = True
        try:
            await self._environment.open()
            return True
        except Exception as raised:  # noqa: BLE001 - the client gets it
            failure = raised
        finally:
            self._cancellable = False  # before the channel is closed, which would cancel `close`
        report(self.name, failure)
        if isinstance(failure, FactoryFailed):
            details = {"factory_name": failure.factory_name}
            self._channel.send(messages.error(ErrorCode.FACTORY_ERROR, str(failure), **details))
            self._channel.close()  # now: the constructor may still be running
        else:
            self._fail(failure)
        return False

    def _replied(self, reply: bytes | None, failure: BaseException | None) -> None:
        if not self._ended:
            self._reply(reply, failure)
        if not self._ended:
            self._ready()

    def _reply(self, reply: bytes | None, failure: BaseException | None) -> None:
        if reply is None:
            failure = failure or RuntimeError("no reply")
            report(self.name, failure)
            self._reply_failure(failure)
        else:
            self._channel.send(reply)

    def _ready(self) -> None:
        self.busy = False
        self._channel.resume()

    def _reply_failure(self, failure: BaseException) -> None:
        try:
            frame = messages.failure_reply(failure)
        except Exception as second:  # noqa: BLE001 - for example an error that has no JSON form
            self._fail(second)
        else:
            self._channel.send(frame)

    def _fail(self, failure: BaseException) -> None:
        """Replies with an error that ends the session."""
        with contextlib.suppress(ValueError):  # text that UTF-8 cannot encode
            self._channel.send(messages.error(ErrorCode.SESSION_ERROR, str(failure)))
        self._end()

    def _end(self) -> None:
        self._ended = self.busy = True
        if self._waiter is not None:
            self._wake()
        elif self._cancellable and self._task is not None:
            self._task.cancel()


def _data(model: type[BaseModel], message: dict[str, Any]) -> dict[str, Any]:
    """The data of a message; the model is needed only for what is not plainly valid."""
    data = message.get("data")
    if type(data) is dict and len(message) == 2:
        return data
    return model(**message).data  # type: ignore[attr-defined, no-any-return]
