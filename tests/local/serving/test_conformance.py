"""Our server and OpenEnv's own, with the same environment, send the same replies except for values."""

import asyncio
import json
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import websockets
from openenv.core import GenericEnvClient

from tests.helpers.conversations import RESET, SCRIPTS, shape, talk
from tests.helpers.local import Deployment, Server, serving, serving_stock


@pytest.mark.parametrize("name", SCRIPTS)
def test_replies_match_openenv_without_envoy(name: str, server: Server, stock: Server) -> None:
    assert asyncio.run(talk(server.url, SCRIPTS[name])) == asyncio.run(
        talk(stock.url, SCRIPTS[name])
    )


@pytest.mark.parametrize("name", SCRIPTS)
def test_replies_match_openenv_through_envoy(
    name: str, deployment: Deployment, stock: Server
) -> None:
    replies = asyncio.run(talk(deployment.url, SCRIPTS[name]))
    if name == "frame beyond 16 MiB":
        # The server closes while Envoy still sends it the rest, so the reason can be lost to a reset.
        assert replies[0] in ("closed 1009", "closed None")
    else:
        assert replies == asyncio.run(talk(stock.url, SCRIPTS[name]))


HTTP_REQUESTS: dict[str, tuple[str, str, bytes | None]] = {
    "health": ("GET", "/health", None),
    "metadata": ("GET", "/metadata", None),
    "schema": ("GET", "/schema", None),
    "state": ("GET", "/state", None),
    "reset": ("POST", "/reset", None),
    "reset with seed": ("POST", "/reset", b'{"seed":1,"episode_id":"x"}'),
    "reset with a negative seed": ("POST", "/reset", b'{"seed":-1}'),
    "reset with more": ("POST", "/reset", b'{"level":2}'),
    "reset with a list": ("POST", "/reset", b"[]"),
    "reset not JSON": ("POST", "/reset", b"{"),
    "step": ("POST", "/step", b'{"action":{"wait_seconds":0}}'),
    "step with request_id": ("POST", "/step", b'{"action":{},"request_id":"1","timeout_s":3}'),
    "step without action": ("POST", "/step", b"{}"),
    "step with a bad action": ("POST", "/step", b'{"action":{"wait_seconds":-1}}'),
    "step with an unknown field": ("POST", "/step", b'{"action":{"x":1}}'),
    "step with a bad timeout": ("POST", "/step", b'{"action":{},"timeout_s":0}'),
    "step without body": ("POST", "/step", None),
    "unknown path": ("GET", "/nothing", None),
    "wrong method": ("GET", "/step", None),
}


def request(url: str, method: str, path: str, body: bytes | None) -> tuple[int, Any]:
    wanted = urllib.request.Request(
        url + path, data=body, method=method, headers={"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(wanted, timeout=20) as answer:
            return answer.status, shape(json.loads(answer.read()))
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code, shape(json.loads(refused.read()))


@pytest.mark.parametrize("name", HTTP_REQUESTS)
def test_http_responses_match_openenv(
    name: str, server: Server, deployment: Deployment, stock: Server
) -> None:
    expected = request(stock.url, *HTTP_REQUESTS[name])
    if name == "schema":  # OpenEnv's models have longer descriptions; only the fields count
        expected = expected[0], _fields(expected[1])
        for url in (server.url, deployment.url):
            assert (200, _fields(request(url, *HTTP_REQUESTS[name])[1])) == expected
        return
    assert request(server.url, *HTTP_REQUESTS[name]) == expected
    assert request(deployment.url, *HTTP_REQUESTS[name]) == expected


def _fields(schema: dict[str, Any]) -> dict[str, set[str]]:
    return {part: set(model["properties"]) for part, model in schema.items()}


@pytest.mark.parametrize("through", ["server", "deployment"])
def test_unmodified_openenv_client_works(through: str, request: pytest.FixtureRequest) -> None:
    url = request.getfixturevalue(through).url

    async def play() -> None:
        async with GenericEnvClient(base_url=url) as client:
            first = await client.reset(seed=3, episode_id="mine")
            assert first.done is False
            assert first.observation["step_count"] == 0
            for number in (1, 2):
                result = await client.step({"wait_seconds": 0.02})
                assert result.observation["step_count"] == number
                assert result.observation["waited_seconds"] == 0.02
                assert result.observation["session_hash"] == first.observation["session_hash"]
            assert await client.state() == {"episode_id": "mine", "step_count": 2}
            with pytest.raises(RuntimeError, match="VALIDATION_ERROR"):
                await client.step({"wait_seconds": -1})
            assert (await client.step({"wait_seconds": 0})).observation["step_count"] == 3

    asyncio.run(play())


def test_full_server_replies_like_openenv(tmp_path: Path) -> None:
    async def be_refused(url: str) -> tuple[Any, int | None]:
        async with websockets.connect(url.replace("http", "ws", 1) + "/ws") as refused:
            frame = json.loads(await refused.recv())
            with pytest.raises(websockets.ConnectionClosed) as closed:
                await refused.recv()
            return frame, closed.value.rcvd.code if closed.value.rcvd else None

    async def fill_and_ask(url: str) -> tuple[Any, int | None]:
        async with websockets.connect(url.replace("http", "ws", 1) + "/ws") as first:
            await first.send(RESET)
            await first.recv()
            return await be_refused(url)

    with (
        serving(tmp_path, "--drain", "0", WORKERS=1, MAX_CONCURRENT_ENVS=1) as ours,
        serving_stock(tmp_path, MAX_CONCURRENT_ENVS="1") as stock,
    ):
        assert asyncio.run(fill_and_ask(ours.url)) == asyncio.run(fill_and_ask(stock.url))


def test_there_are_enough_scripts() -> None:
    assert len(SCRIPTS) >= 40
