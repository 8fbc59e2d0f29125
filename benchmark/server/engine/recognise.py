"""Recognises an OpenEnv server in an app, so that the engine can serve its sessions.

`HTTPEnvServer.register_routes` keeps the server and its MCP handler in the closure of the `/ws` endpoint;
nothing of the app is changed to find them. Checked with OpenEnv 0.3 to 0.10.
"""

import functools
import importlib
import importlib.metadata
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.routing import Match

from benchmark.server.engine.codec import observation_encoder, validator
from benchmark.server.engine.spec import Models, Spec

SESSIONS = "/ws"
PACKAGE = "openenv.core.env_server"
MODULES = ("interfaces", "mcp_types", "serialization", "types", "http_server")
OLDEST, NEWEST = (0, 3), (0, 10)
# These pass WebSockets through.
HTTP_ONLY = (BaseHTTPMiddleware, CORSMiddleware, GZipMiddleware)
NEEDED = ("_concurrency_config", "_env_factory", "_session_executors", "action_cls")


@dataclass(frozen=True)
class Unrecognised:
    """The app's own code serves its sessions."""

    reason: str


def recognise(app: Any) -> Spec | Unrecognised:
    declared = getattr(getattr(app, "state", None), "openenv", None)
    if isinstance(declared, Spec):
        return declared
    if (endpoint := _session_endpoint(app)) is None:
        return Unrecognised(f"it has no OpenEnv server at {SESSIONS}")
    if middleware := _middleware(app):
        return Unrecognised(f"its middleware {middleware} may handle WebSockets")
    if (version := _version()) is None or not OLDEST <= version[:2] <= NEWEST:
        return Unrecognised(f"OpenEnv {_dotted(version)} is not one of the versions 0.3 to 0.10")
    return _spec(endpoint)


def _session_endpoint(app: Any) -> Callable[..., Any] | None:
    """The endpoint of OpenEnv's `/ws`, if that is where a session arrives."""
    scope = {"type": "websocket", "path": SESSIONS, "root_path": "", "headers": []}
    for route in getattr(app, "routes", ()):
        if route.matches(scope)[0] is Match.FULL:
            endpoint = getattr(route, "endpoint", None)
            plain = not getattr(getattr(route, "dependant", None), "dependencies", ["unknown"])
            module = getattr(endpoint, "__module__", "")
            return endpoint if plain and module == f"{PACKAGE}.http_server" else None
    return None


def _middleware(app: Any) -> str | None:
    for entry in app.user_middleware:
        if not (inspect.isclass(entry.cls) and issubclass(entry.cls, HTTP_ONLY)):
            return str(getattr(entry.cls, "__name__", entry.cls))
    return None


def _version() -> tuple[int, ...] | None:
    """The version of the package that `openenv.core` comes from; both names were used."""
    for name in ("openenv", "openenv-core"):
        try:
            text = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
        return tuple(int(part) for part in text.split(".")[:3] if part.isdecimal())
    return None


def _dotted(version: tuple[int, ...] | None) -> str:
    return ".".join(map(str, version)) if version else "of unknown version"


def _spec(endpoint: Callable[..., Any]) -> Spec | Unrecognised:
    found = inspect.getclosurevars(endpoint).nonlocals
    server, handler = found.get("self"), found.get("mcp_handler")
    package = _package()
    if type(server) is not package.HTTPEnvServer or not callable(handler):
        return Unrecognised("its server is not a plain HTTPEnvServer")
    missing = [name for name in NEEDED if not hasattr(server, name)]
    if missing or {"session_env", "session_id"} - set(inspect.signature(handler).parameters):
        return Unrecognised(f"its HTTPEnvServer has another shape ({', '.join(missing)})")
    try:
        return _from_server(server, handler, package)
    except AttributeError as failure:
        return Unrecognised(f"its OpenEnv has another shape ({failure})")


def _package() -> SimpleNamespace:
    """The names of the package's modules; which of them the server's module imports differs by version."""
    names: dict[str, Any] = {}
    for module in MODULES:
        names |= vars(importlib.import_module(f"{PACKAGE}.{module}"))
    return SimpleNamespace(**names)


def _from_server(server: Any, handler: Callable[..., Any], module: Any) -> Spec:
    factory, config = server._env_factory, server._concurrency_config
    actual = factory.func if isinstance(factory, functools.partial) else factory
    is_class = inspect.isclass(actual)
    return Spec(
        name=getattr(factory, "__name__", str(factory)),
        factory=factory,
        models=Models(
            module.WSResetMessage,
            module.WSStepMessage,
            module.WSStateMessage,
            module.WSCloseMessage,
            module.WSMCPMessage,
        ),
        parse_action=_action_parser(server.action_cls, module),
        encode_observation=observation_encoder(module.serialize_observation),
        encode_state=functools.partial(_encode_state, module.WSStateResponse),
        overrides=functools.partial(_overrides, module.Environment),
        concurrent=_is_concurrent(actual) if is_class else None,
        max_environments=config.max_concurrent_envs,
        single_thread=is_class and bool(getattr(actual, "REQUIRES_SINGLE_THREAD_EXECUTOR", False)),
        session_timeout=config.session_timeout,
        handle_mcp=functools.partial(_handle_mcp, module, handler),
        executors=server._session_executors,
        attachable=hasattr(server, "_session_websocket_attachments"),
        has_base_close=functools.partial(_has_base_close, module.Environment),
        apply_limit=functools.partial(setattr, server, "_max_concurrent_envs"),
    )


def _is_concurrent(environment: Any) -> bool:
    return bool(getattr(environment, "SUPPORTS_CONCURRENT_SESSIONS", False))


def _action_parser(action: Any, module: Any) -> Callable[[dict[str, Any]], Any]:
    # Only these accept the actions of MCP tools besides their own.
    if action in (module.CallToolAction, module.ListToolsAction, module.Action):
        return functools.partial(module.deserialize_action, action_cls=action)
    return validator(action)


def _encode_state(model: Any, state: Any) -> bytes:
    data = state.model_dump() if hasattr(state, "model_dump") else dict(state or {})
    encoded: str = model(data=data).model_dump_json()
    return encoded.encode()


def _overrides(base: Any, instance: Any, name: str) -> bool:
    method = getattr(instance, name)
    return getattr(method, "__func__", method) is not getattr(base, name)


def _has_base_close(base: Any, instance: Any) -> bool:
    return not _overrides(base, instance, "close")


async def _handle_mcp(
    module: Any,
    handler: Callable[..., Any],
    data: Mapping[str, Any],
    instance: Any,
    session_id: str,
) -> dict[str, Any]:
    try:
        request = module.JsonRpcRequest(**data)
    except Exception as failure:  # noqa: BLE001 - as the reference does
        code = module.JsonRpcErrorCode.INVALID_REQUEST
        response = module.JsonRpcResponse.error_response(code, f"Invalid request: {failure}")
    else:
        response = await handler(request, session_env=instance, session_id=session_id)
    dumped: dict[str, Any] = response.model_dump()
    return dumped
