"""What the engine knows about an app in order to serve the sessions of its environments."""

from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel


@dataclass(frozen=True)
class Models:
    """The pydantic models of the messages of a session; their errors are sent to the client."""

    reset: type[BaseModel]
    step: type[BaseModel]
    state: type[BaseModel]
    close: type[BaseModel]
    mcp: type[BaseModel] | None = None


# Handles a JSON-RPC request for an environment and its session id, and returns the response.
McpHandler = Callable[[dict[str, Any], Any, str], Awaitable[dict[str, Any]]]


@dataclass(frozen=True, kw_only=True)
class Spec:
    name: str  # the environment's class or factory
    factory: Callable[[], Any]
    models: Models
    # The factory of asynchronous environments can run on the event loop if it never blocks, which saves a
    # fifth of the CPU of a short session.
    factory_blocks: bool = True
    # These may raise anything, as the environment itself may. The encoders return a whole frame.
    parse_action: Callable[[dict[str, Any]], Any]
    encode_observation: Callable[[Any], bytes]
    encode_state: Callable[[Any], bytes]
    # Whether an environment has its own asynchronous `reset_async` or `step_async`.
    overrides: Callable[[Any, str], bool]
    concurrent: bool | None  # None: only an environment can tell
    max_environments: int  # the app's own limit for a process; 1 is OpenEnv's default
    single_thread: bool = False  # all environments share one thread
    session_timeout: float | None = None  # seconds
    handle_mcp: McpHandler | None = None
    # Where the app looks for the executor of a session's blocking code.
    executors: MutableMapping[str, Any] | None = None
    # Tells the app the limit, for the sessions that its own code serves.
    apply_limit: Callable[[int], None] = lambda _: None
    # Whether a WebSocket may attach to a session made by HTTP (OpenEnv 0.5 and newer).
    attachable: bool = False
    # Whether the environment's `close` is the one of the base class, which does nothing.
    has_base_close: Callable[[Any], bool] = lambda _: False

    def limit(self, max_concurrent_envs: int, concurrent: bool) -> int:
        """The places of a worker: the smaller of what the deployment and the app allow.

        An app that allows concurrent sessions but keeps OpenEnv's default of 1 has not chosen a limit.
        """
        if not concurrent:
            return 1
        if self.max_environments == 1:
            return max_concurrent_envs
        return min(max_concurrent_envs, self.max_environments)
