"""Which apps the engine serves, and why it leaves the others to their own code."""

from collections.abc import Callable
from typing import Any

import pytest
from fastapi import Depends, FastAPI
from openenv.core.env_server import create_fastapi_app, Environment, http_server
from openenv.core.env_server.http_server import HTTPEnvServer
from openenv.core.env_server.types import Action, Observation, State
from starlette.middleware.cors import CORSMiddleware

from benchmark.server.app import app as benchmark_app
from benchmark.server.app import SPEC
from benchmark.server.engine import recognise as room
from benchmark.server.engine.recognise import recognise, Unrecognised
from benchmark.server.engine.spec import Spec


class Blocking(Environment[Action, Observation, State]):
    def reset(self, seed: Any = None, episode_id: Any = None, **_: Any) -> Observation:
        return Observation()

    def step(self, action: Action, timeout_s: Any = None, **_: Any) -> Observation:
        return Observation()

    @property
    def state(self) -> State:
        return State()


class Concurrent(Blocking):
    SUPPORTS_CONCURRENT_SESSIONS = True

    async def step_async(self, action: Action, timeout_s: Any = None, **_: Any) -> Observation:
        return Observation()


class OwnServer(HTTPEnvServer):
    pass


class Middleware:
    def __init__(self, app: Any) -> None:
        self.app = app


def registered(app: FastAPI, server: type[HTTPEnvServer] = HTTPEnvServer) -> FastAPI:
    server(Blocking, Action, Observation).register_routes(app)
    return app


def with_middleware(middleware: type) -> FastAPI:
    app = registered(FastAPI())
    app.add_middleware(middleware)
    return app


def reason(app: Any) -> str:
    found = recognise(app)
    assert isinstance(found, Unrecognised)
    return found.reason


def spec(app: Any) -> Spec:
    found = recognise(app)
    assert isinstance(found, Spec)
    return found


def test_the_spec_that_an_app_declares_is_used() -> None:
    assert recognise(benchmark_app) is SPEC


def test_an_openenv_app_is_recognised() -> None:
    found = spec(create_fastapi_app(Concurrent, Action, Observation, max_concurrent_envs=7))
    assert (found.name, found.concurrent, found.max_environments) == ("Concurrent", True, 7)
    assert found.overrides(Concurrent(), "step_async")
    assert not found.overrides(Concurrent(), "reset_async")
    assert found.has_base_close(Concurrent())


def test_a_class_that_declares_no_concurrency_allows_one_session() -> None:
    assert spec(registered(FastAPI())).concurrent is False


def test_only_an_environment_of_a_function_can_tell() -> None:
    def make() -> Blocking:
        return Blocking()

    assert spec(create_fastapi_app(make, Action, Observation)).concurrent is None


def test_middleware_that_passes_websockets_through_is_no_obstacle() -> None:
    assert spec(with_middleware(CORSMiddleware)).name == "Blocking"


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (FastAPI, "no OpenEnv server"),
        (object, "no OpenEnv server"),
        (lambda: with_middleware(Middleware), "its middleware Middleware may handle WebSockets"),
        (lambda: registered(FastAPI(dependencies=[Depends(object)])), "no OpenEnv server"),
        (lambda: registered(FastAPI(), OwnServer), "not a plain HTTPEnvServer"),
    ],
    ids=["plain FastAPI", "no FastAPI", "middleware", "dependencies", "subclass"],
)
def test_other_apps_are_left_to_their_own_code(make: Callable[[], Any], text: str) -> None:
    assert text in reason(make())


@pytest.mark.parametrize("version", [(0, 2, 3), (0, 11, 0), (1, 0, 0), None])
def test_other_versions_are_left_to_their_own_code(
    monkeypatch: pytest.MonkeyPatch, version: tuple[int, ...] | None
) -> None:
    monkeypatch.setattr(room, "_version", lambda: version)
    assert "is not one of the versions 0.3 to 0.10" in reason(registered(FastAPI()))


def test_a_package_of_another_shape_is_left_to_its_own_code(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    app = registered(FastAPI())
    monkeypatch.setattr(room, "MODULES", ("http_server",))
    monkeypatch.delattr(http_server, "serialize_observation")
    assert "another shape" in reason(app)
