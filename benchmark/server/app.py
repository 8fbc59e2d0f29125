"""The FastAPI app of the benchmark environment: OpenEnv's protocol over WebSocket (`/ws`) and HTTP.

Environment variables: `MAX_CONCURRENT_ENVS` limits the sessions of a worker process; `PORT` and
`NODE_NAME` form `host_url`.
"""

from typing import Annotated, Any

import orjson
from fastapi import Body, FastAPI, HTTPException, Response
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.types import Receive, Scope, Send

from benchmark.server.engine.app import Engine
from benchmark.server.engine.codec import validator
from benchmark.server.engine.recognise import SESSIONS
from benchmark.server.engine.spec import Spec
from benchmark.server.environment import State, WaitAction, WaitEnvironment, WaitObservation
from benchmark.server.models import MODELS
from benchmark.server.places import Places
from benchmark.server.settings import Serving, settings_from_environment

SETTINGS = settings_from_environment()


class ResetRequest(BaseModel):
    model_config = ConfigDict(extra="allow")

    seed: int | None = Field(default=None, ge=0)
    episode_id: str | None = Field(default=None, max_length=255)


class StepRequest(BaseModel):
    model_config = ConfigDict(extra="allow")

    action: dict[str, Any]
    timeout_s: float | None = Field(default=None, gt=0)
    request_id: str | None = Field(default=None, max_length=255)


def encode_observation(fields: dict[str, Any]) -> bytes:
    data = {"observation": fields, "reward": None, "done": False}
    return orjson.dumps({"type": "observation", "data": data})


def encode_state(state: dict[str, Any]) -> bytes:
    return orjson.dumps({"type": "state", "data": state})


def new_environment() -> WaitEnvironment:
    return WaitEnvironment(SETTINGS.host_url)


SPEC = Spec(
    name=WaitEnvironment.__name__,
    factory=new_environment,
    factory_blocks=False,
    models=MODELS,
    parse_action=validator(WaitAction),
    encode_observation=encode_observation,
    encode_state=encode_state,
    overrides=lambda *_: True,
    concurrent=True,
    max_environments=1,
    has_base_close=lambda _: True,
)


class Environments(FastAPI):
    """Serves sessions also under other ASGI servers, without the workers of this package."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket" and scope["path"] == SESSIONS:
            await engine(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)


app = Environments(title="OpenEnv benchmark environment", version="1.0.0")
app.state.openenv = SPEC
engine = Engine(app, SPEC, Places(SETTINGS.max_concurrent_envs), Serving())
engine.prepare(concurrent=True)


def _json(content: Any) -> Response:
    return Response(orjson.dumps(content, default=str), media_type="application/json")


def _stateless(fields: dict[str, Any]) -> Response:
    return _json({"observation": fields, "reward": None, "done": False, "metadata": None})


@app.get("/health")
async def health() -> Response:
    return _json({"status": "healthy"})


@app.get("/ready")
async def ready() -> Response:
    """The free and used places of every worker; 503 while the server drains or starts."""
    overview = app.state.places.overview()
    response = _json(overview)
    response.status_code = 200 if overview["ready"] else 503
    return response


@app.get("/metadata")
async def metadata() -> Response:
    return _json(
        {
            "name": "WaitEnvironment",
            "description": "Waits as long as each step requests and reports where it ran.",
            "readme_content": None,
            "version": "1.0.0",
            "author": None,
            "documentation_url": None,
        }
    )


@app.get("/schema")
async def schema() -> Response:
    observation = WaitObservation.model_json_schema()
    return _json(
        {
            "action": WaitAction.model_json_schema(),
            "observation": observation,
            "reset_observation": observation,
            "state": State.model_json_schema(),
        }
    )


@app.get("/state")
async def state() -> Response:
    return _json(new_environment().state)


@app.post("/reset")
async def reset(
    request: Annotated[ResetRequest, Body(default_factory=ResetRequest)],
) -> Response:
    arguments = request.model_dump(exclude_unset=True)
    return _stateless(await new_environment().reset_async(**arguments))


@app.post("/step")
async def step(request: StepRequest) -> Response:
    try:
        action = WaitAction.model_validate(request.action)
    except ValidationError as failure:
        raise HTTPException(422, detail=failure.errors()) from None
    return _stateless(await new_environment().step_async(action))
