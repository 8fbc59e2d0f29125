"""The text of an ASGI app without any framework, for tests that write its module."""


def bare_app(reply: str) -> str:
    """`reply` is an expression for the answer to a `message`."""
    return f"""
async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        while (await receive())["type"] != "lifespan.shutdown":
            await send({{"type": "lifespan.startup.complete"}})
        await send({{"type": "lifespan.shutdown.complete"}})
    elif scope["type"] == "websocket":
        await receive()
        await send({{"type": "websocket.accept"}})
        while (message := await receive())["type"] == "websocket.receive":
            await send({{"type": "websocket.send", "text": {reply}}})
"""
