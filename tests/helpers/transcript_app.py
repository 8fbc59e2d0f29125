"""ASGI apps for tests of the WebSocket protocol, one for each path; GET /log returns the events that each
received.

`python -m tests.helpers.transcript_app ADDRESS entry|protocol_class|sansio` runs them under one
protocol.
"""

import asyncio
import json
import sys
from collections import defaultdict
from collections.abc import Awaitable, Callable
from typing import Any

import uvicorn

Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]

log: dict[str, list[Any]] = defaultdict(list)
gates: dict[str, asyncio.Event] = defaultdict(asyncio.Event)


def key(scope: Any) -> str:
    return str(scope["query_string"].decode())


async def app(scope: Any, receive: Receive, send: Send) -> None:
    if scope["type"] == "lifespan":
        await receive()
        scope["state"]["from_lifespan"] = "there"
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
    elif scope["type"] == "http":
        await page(scope, send)
    else:
        try:
            await APPS.get(scope["path"].strip("/"), echo)(scope, receive, send)
        finally:
            log[key(scope)].append("end")


async def page(scope: Any, send: Send) -> None:
    """/log returns the events that an app received; /open opens the gate that an app waits for."""
    if scope["path"] == "/open":
        gates[key(scope)].set()
    content = {"log": log[key(scope)]} if scope["path"] == "/log" else {"path": scope["path"]}
    body = json.dumps(content).encode()
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def see(scope: Any, receive: Receive) -> Any:
    message = await receive()
    log[key(scope)].append(short(message))
    return message


def short(message: Any) -> Any:
    return {name: _short(value) for name, value in message.items() if value is not None}


def _short(value: Any) -> Any:
    if isinstance(value, bytes):
        value = "bytes " + value.decode("latin-1")
    return f"{value[:20]}... {len(value)}" if isinstance(value, str) and len(value) > 99 else value


async def echo(scope: Any, receive: Receive, send: Send) -> None:
    await see(scope, receive)
    await send({"type": "websocket.accept"})
    while (message := await see(scope, receive))["type"] == "websocket.receive":
        answer = {"type": "websocket.send"} | {k: v for k, v in message.items() if k != "type"}
        await send(answer)


async def dressed(scope: Any, receive: Receive, send: Send) -> None:
    await see(scope, receive)
    headers = [(b"x-one", b"1"), (b"X-Two", b"two")]
    chosen = scope["subprotocols"][-1] if scope["subprotocols"] else None
    await send({"type": "websocket.accept", "subprotocol": chosen, "headers": headers})
    names = ("type", "http_version", "scheme", "root_path", "path", "subprotocols", "asgi")
    details = {name: scope[name] for name in names}
    details["raw"] = [scope["raw_path"].decode(), scope["query_string"].decode()]
    details["state"] = scope["state"].get("from_lifespan")
    details["headers"] = [
        [k.decode("latin-1"), v.decode("latin-1")]
        for k, v in scope["headers"]
        if k not in (b"host", b"sec-websocket-key")
    ]
    details["ends"] = [len(scope["client"]), scope["server"][1]]
    await send({"type": "websocket.send", "text": json.dumps(details)})
    await send({"type": "websocket.close"})


async def refuse(scope: Any, receive: Receive, send: Send) -> None:
    await see(scope, receive)
    await send({"type": "websocket.close"})
    await see(scope, receive)


async def refuse_with_page(scope: Any, receive: Receive, send: Send) -> None:
    await see(scope, receive)
    headers = [(b"content-type", b"text/x"), (b"x-why", b"full")]
    await send({"type": "websocket.http.response.start", "status": 429, "headers": headers})
    await send({"type": "websocket.http.response.body", "body": b"come ", "more_body": True})
    await send({"type": "websocket.http.response.body", "body": b"later"})
    await see(scope, receive)


async def raise_before(scope: Any, receive: Receive, send: Send) -> None:
    await see(scope, receive)
    raise RuntimeError("before")


async def raise_after(scope: Any, receive: Receive, send: Send) -> None:
    await see(scope, receive)
    await send({"type": "websocket.accept"})
    raise RuntimeError("after")


async def return_before(scope: Any, receive: Receive, send: Send) -> None:
    await see(scope, receive)


async def return_after(scope: Any, receive: Receive, send: Send) -> None:
    await see(scope, receive)
    await send({"type": "websocket.accept"})


async def close(scope: Any, receive: Receive, send: Send) -> None:
    await see(scope, receive)
    await send({"type": "websocket.accept"})
    await send({"type": "websocket.close", "code": 4002, "reason": "enough é"})
    try:
        await send({"type": "websocket.send", "text": "more"})
    except Exception as failure:  # noqa: BLE001
        log[key(scope)].append(type(failure).__name__)
    await see(scope, receive)


async def wrong(scope: Any, receive: Receive, send: Send) -> None:
    """Sends messages that an app must not send."""
    await see(scope, receive)
    for message in ({"type": "websocket.send", "text": "x"}, {"type": "websocket.accept"}) * 2:
        try:
            await send(message)
        except Exception as failure:  # noqa: BLE001
            log[key(scope)].append(type(failure).__name__)
    await send({"type": "websocket.close"})


async def send_to_gone(scope: Any, receive: Receive, send: Send) -> None:
    await see(scope, receive)
    await send({"type": "websocket.accept"})
    await see(scope, receive)
    try:
        await send({"type": "websocket.send", "text": "x"})
    except OSError:
        log[key(scope)].append("gone")


async def slow(scope: Any, receive: Receive, send: Send) -> None:
    """Reads nothing until the gate opens, then everything."""
    await see(scope, receive)
    await send({"type": "websocket.accept"})
    await gates[key(scope)].wait()
    count = size = 0
    while (message := await receive())["type"] == "websocket.receive":
        count, size = count + 1, size + len(message.get("text") or message["bytes"])
        if message.get("text") == "report":
            await send({"type": "websocket.send", "text": f"{count} {size}"})
    log[key(scope)].append(message["type"])


async def late(scope: Any, receive: Receive, send: Send) -> None:
    """Accepts the client when the gate opens."""
    await see(scope, receive)
    await gates[key(scope)].wait()
    await send({"type": "websocket.accept"})
    while (await see(scope, receive))["type"] == "websocket.receive":
        pass


async def torrent(scope: Any, receive: Receive, send: Send) -> None:
    await see(scope, receive)
    await send({"type": "websocket.accept"})
    sent = log[key(scope)]
    sent.append(0)
    try:
        while sent[-1] < 5_000:
            await send({"type": "websocket.send", "text": "x" * 10_000})
            sent[-1] += 1
        await send({"type": "websocket.close"})
    except OSError:
        sent.append("gone")


async def cancelling(scope: Any, receive: Receive, send: Send) -> None:
    """Cancels a receive and starts another before the cancellation takes effect."""
    await see(scope, receive)
    await send({"type": "websocket.accept"})
    first = asyncio.create_task(receive())
    await asyncio.sleep(0)
    first.cancel()
    second = asyncio.create_task(receive())
    await asyncio.gather(first, return_exceptions=True)
    await send({"type": "websocket.send", "text": "waiting"})
    log[key(scope)].append(short(await second))
    await send({"type": "websocket.close"})


APPS: dict[str, Any] = {
    name: value
    for name, value in list(globals().items())
    if asyncio.iscoroutinefunction(value) and name not in ("app", "page", "see")
}


def main(host: str, kind: str) -> None:
    from benchmark.server.websocket.entry import EntryProtocol

    uvicorn.run(
        app,
        host=host,
        port=8000,
        loop="uvloop",
        http=EntryProtocol if kind == "entry" else "httptools",
        ws="websockets-sansio"
        if kind == "sansio"
        else "benchmark.server.websocket.protocol_class:WebSocketProtocol",
        ws_per_message_deflate=False,
        ws_ping_interval=None,
        log_level="warning",
        ws_max_size=1 << 20,
        timeout_graceful_shutdown=1,
    )


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
