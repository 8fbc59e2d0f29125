"""Our server and OpenEnv's own, with the same environment: the same replies apart from values."""

import asyncio
import json
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import websockets
from openenv.core import GenericEnvClient

from tests.conftest import Deployment, Server, serving, serving_stock

DEEP = "[" * 5_000
RESET = '{"type":"reset"}'
STATE = '{"type":"state"}'
STEP = '{"type":"step","data":{"wait_seconds":0.0}}'
CLOSE = '{"type":"close"}'

SCRIPTS: dict[str, list[str | bytes]] = {
    "reset": [RESET],
    "reset with arguments": ['{"type":"reset","data":{"seed":7,"episode_id":"e-1"}}', STATE],
    "reset with unknown arguments": ['{"type":"reset","data":{"level":3}}'],
    "reset with empty data": ['{"type":"reset","data":{}}'],
    "reset with null data": ['{"type":"reset","data":null}', RESET],
    "reset with a list": ['{"type":"reset","data":[1]}'],
    "reset with an extra key": ['{"type":"reset","more":1}', RESET],
    "reset with a wrong episode_id": ['{"type":"reset","data":{"episode_id":5}}', RESET],
    "reset with a wrong seed": ['{"type":"reset","data":{"seed":"x"}}'],
    "reset with null seed": ['{"type":"reset","data":{"seed":null,"episode_id":null}}'],
    "step": [RESET, STEP],
    "step before reset": [STEP, STATE],
    "step thrice": [RESET, STEP, STEP, STEP, STATE],
    "step, reset, step": [RESET, STEP, STEP, RESET, STEP, STATE],
    "step with a wait": [RESET, '{"type":"step","data":{"wait_seconds":0.05}}'],
    "step with the default": ['{"type":"step","data":{}}'],
    "step with an integer": ['{"type":"step","data":{"wait_seconds":0}}'],
    "step with a numeric string": ['{"type":"step","data":{"wait_seconds":"0.01"}}'],
    "step with a word": ['{"type":"step","data":{"wait_seconds":"soon"}}', STEP],
    "step with a boolean": [
        '{"type":"step","data":{"wait_seconds":true}}'.replace("true", "false")
    ],
    "step with null": ['{"type":"step","data":{"wait_seconds":null}}', STEP],
    "step with a list": ['{"type":"step","data":{"wait_seconds":[1]}}'],
    "step with a negative wait": ['{"type":"step","data":{"wait_seconds":-1}}', STEP],
    "step with NaN": ['{"type":"step","data":{"wait_seconds":NaN}}', STEP],
    "step with Infinity": ['{"type":"step","data":{"wait_seconds":Infinity}}', STEP],
    "step with -Infinity": ['{"type":"step","data":{"wait_seconds":-Infinity}}'],
    "step with a huge wait": ['{"type":"step","data":{"wait_seconds":1e9}}', STEP],
    "step with a huge integer": ['{"type":"step","data":{"wait_seconds":%s}}' % ("9" * 400)],
    "step with an unknown field": ['{"type":"step","data":{"wait_seconds":0,"x":1}}', STEP],
    "step with metadata": ['{"type":"step","data":{"wait_seconds":0,"metadata":{"a":1}}}'],
    "step with wrong metadata": ['{"type":"step","data":{"wait_seconds":0,"metadata":3}}'],
    "step without data": ['{"type":"step"}', STEP],
    "step with data that is a list": ['{"type":"step","data":[]}'],
    "step with an extra key": ['{"type":"step","data":{},"id":1}'],
    "step nested as over HTTP": ['{"type":"step","data":{"action":{"wait_seconds":0}}}'],
    "state": [STATE],
    "state with data": ['{"type":"state","data":{}}', STATE],
    "state with an extra key": ['{"type":"state","x":1}'],
    "close": [RESET, CLOSE],
    "close at once": [CLOSE],
    "close with an extra key": ['{"type":"close","x":1}', RESET],
    "not JSON": ["hello", RESET],
    "empty frame": ["", RESET],
    "half a frame": ['{"type":"re', RESET],
    "two objects": ['{"type":"reset"}{"type":"reset"}', RESET],
    "too deep": [DEEP, RESET],
    "NaN alone": ["NaN"],
    "array": ["[]"],
    "number": ["1"],
    "string": ['"reset"'],
    "null": ["null"],
    "binary frame": [b'{"type":"reset"}'],
    "no type": ["{}", RESET],
    "unknown type": ['{"type":"fly"}', RESET],
    "type of another case": ['{"type":"RESET"}', RESET],
    "null type": ['{"type":null}', RESET],
    "number as type": ['{"type":1}'],
    "object as type": ['{"type":{}}'],
    "list as type": ['{"type":[]}', RESET],
    "duplicate keys": ['{"type":"fly","type":"reset"}'],
    "whitespace around": ['  {"type" : "reset"}\n'],
    "unicode": ['{"type":"reset","data":{"episode_id":"\\u00e9\\ud83d\\ude00"}}', STATE],
    "lone surrogate": ['{"type":"fly\\ud800"}', RESET],
    "huge frame": ['{"type":"reset","data":{"x":"%s"}}' % ("a" * 1_000_000)],
    "frame beyond 16 MiB": ["a" * (17 * 1024 * 1024)],
    "pipelined": [RESET, STEP, STEP, STATE, CLOSE],
}


async def talk(url: str, frames: list[str | bytes]) -> list[Any]:
    """Sends frames one after the other, and what came back; the last entry is how it ended."""
    replies: list[Any] = []
    async with websockets.connect(
        url.replace("http", "ws", 1) + "/ws", compression=None, max_size=None, ping_interval=None
    ) as session:
        try:
            for frame in frames:
                await session.send(frame)
                replies.append(shape(json.loads(await asyncio.wait_for(session.recv(), 20))))
            await session.close()
            replies.append("open to the end")
        except websockets.ConnectionClosed as closed:
            replies.append(f"closed {closed.rcvd.code if closed.rcvd else None}")
    return replies


def shape(reply: Any, key: str = "") -> Any:
    """A reply without its values: keys and types; codes, error kinds and places are kept."""
    if key in ("code", "type", "loc", "done", "reward", "step_count"):
        return reply
    if isinstance(reply, dict):
        return {name: shape(value, name) for name, value in reply.items() if name != "input"}
    if isinstance(reply, list):
        return [shape(value) for value in reply]
    return type(reply).__name__


@pytest.mark.parametrize("name", SCRIPTS)
def test_same_replies_directly(name: str, server: Server, stock: Server) -> None:
    assert asyncio.run(talk(server.url, SCRIPTS[name])) == asyncio.run(
        talk(stock.url, SCRIPTS[name])
    )


@pytest.mark.parametrize("name", SCRIPTS)
def test_same_replies_through_envoy(name: str, deployment: Deployment, stock: Server) -> None:
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
def test_same_http_answers(
    name: str, server: Server, deployment: Deployment, stock: Server
) -> None:
    expected = request(stock.url, *HTTP_REQUESTS[name])
    if name == "schema":  # OpenEnv's models carry more prose; the fields are what counts
        expected = expected[0], _fields(expected[1])
        for url in (server.url, deployment.url):
            assert (200, _fields(request(url, *HTTP_REQUESTS[name])[1])) == expected
        return
    assert request(server.url, *HTTP_REQUESTS[name]) == expected
    assert request(deployment.url, *HTTP_REQUESTS[name]) == expected


def _fields(schema: dict[str, Any]) -> dict[str, set[str]]:
    return {part: set(model["properties"]) for part, model in schema.items()}


@pytest.mark.parametrize("through", ["server", "deployment"])
def test_unmodified_openenv_client(through: str, request: pytest.FixtureRequest) -> None:
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


def test_full_servers_say_the_same(tmp_path: Path) -> None:
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


def test_scripts_are_many() -> None:
    assert len(SCRIPTS) >= 40
