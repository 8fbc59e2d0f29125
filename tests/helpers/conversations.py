"""Scripted conversations with an OpenEnv server."""

import asyncio
import json
import socket
import struct
from typing import Any

import websockets

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
    "step with a text": ['{"type":"step","data":{"wait_seconds":"soon"}}', STEP],
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
    """Sends the frames one by one; returns the replies and, as the last entry, how the session ended."""
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


def reset_by_peer(connection: socket.socket) -> None:
    """Ends the connection like a client that is killed: with a reset and without a close frame."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def shape(reply: Any, key: str = "") -> Any:
    """The keys and types of a reply; only codes, error types and locations keep their values."""
    if key in ("code", "type", "loc", "done", "reward", "step_count"):
        return reply
    if isinstance(reply, dict):
        return {name: shape(value, name) for name, value in reply.items() if name != "input"}
    if isinstance(reply, list):
        return [shape(value) for value in reply]
    return type(reply).__name__
