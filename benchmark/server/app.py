"""The FastAPI app of the benchmark environment: OpenEnv's protocol over WebSocket (`/ws`) and HTTP.

Environment variables: `MAX_CONCURRENT_ENVS` limits the sessions of a worker process; `PORT` and
`NODE_NAME` form `host_url`.
"""

from typing import Annotated, Any

import orjson
from fastapi import Body, FastAPI, HTTPException, Response
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.types import Receive, Scope, Send

from benchmark.server import protocol
from benchmark.server.admission import Admission
from benchmark.server.environment import State, WaitAction, WaitEnvironment, WaitObservation
from benchmark.server.places import Places
from benchmark.server.session import serve, Session
from benchmark.server.settings import settings_from_environment

SESSIONS = "/ws"
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


async def session(scope: Scope, receive: Receive, send: Send) -> None:
    """The ASGI app of `/ws`."""
    await serve(Session(WaitEnvironment(SETTINGS.host_url)), scope, receive, send)


class Environments(FastAPI):
    # Sessions bypass middleware and routing, which cost as much CPU as the rest of a session.

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket" and scope["path"] == SESSIONS:
            await admitted(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)


places = Places(SETTINGS.max_concurrent_envs)
admitted = Admission(session, places)
app = Environments(title="OpenEnv benchmark environment", version="1.0.0")


def _json(content: Any) -> Response:
    return Response(orjson.dumps(content, default=str), media_type="application/json")


def _stateless(fields: dict[str, Any]) -> Response:
    return _json(protocol.observation_data(fields) | {"metadata": None})


@app.get("/health")
async def health() -> Response:
    return _json({"status": "healthy"})


@app.get("/ready")
async def ready() -> Response:
    """The free and used places of every worker; 503 while the server drains or starts."""
    overview = places.overview()
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
    return _json(WaitEnvironment(SETTINGS.host_url).state)


@app.post("/reset")
async def reset(
    request: Annotated[ResetRequest, Body(default_factory=ResetRequest)],
) -> Response:
    environment = WaitEnvironment(SETTINGS.host_url)
    return _stateless(environment.reset(**request.model_dump(exclude_unset=True)))


@app.post("/step")
async def step(request: StepRequest) -> Response:
    try:
        action = WaitAction.model_validate(request.action)
    except ValidationError as failure:
        raise HTTPException(422, detail=protocol.problems(failure)) from None
    return _stateless(await WaitEnvironment(SETTINGS.host_url).step(action.wait_seconds))
