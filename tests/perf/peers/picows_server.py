"""`python -m tests.perf.peers.picows_server HOST PORT`: a minimal server: the same messages on picows, a
WebSocket engine in Cython, on uvloop, without validation or admission control."""

import asyncio
import sys
from typing import Any

import orjson
import uvloop
from picows import ws_create_server, WSCloseCode, WSListener, WSMsgType

from benchmark.server.process import raise_descriptor_limit
from tests.perf.peers.messages import encoded, new_hash


class Session(WSListener):
    def on_ws_connected(self, transport: Any) -> None:
        self._hash, self._steps = new_hash(), 0

    def on_ws_frame(self, transport: Any, frame: Any) -> None:
        if frame.msg_type == WSMsgType.TEXT:
            self._handle(transport, orjson.loads(frame.get_payload_as_memoryview()))
        elif frame.msg_type == WSMsgType.CLOSE:
            transport.send_close(WSCloseCode.OK)
            transport.disconnect()

    def _handle(self, transport: Any, message: Any) -> None:
        kind = message["type"]
        if kind == "close":
            transport.send_close(WSCloseCode.OK)
            transport.disconnect()
            return
        wait = message["data"].get("wait_seconds", 0.0) if kind == "step" else 0.0
        self._steps = self._steps + 1 if kind == "step" else 0
        if wait > 0:
            asyncio.get_running_loop().call_later(wait, self._answer, transport, wait)
        else:
            self._answer(transport, wait)

    def _answer(self, transport: Any, wait: float) -> None:
        transport.send(WSMsgType.TEXT, encoded(self._hash, wait, self._steps))


async def serve(host: str, port: int) -> None:
    await ws_create_server(
        lambda _: Session(), host, port, backlog=65535, read_buffer_init_size=2048
    )
    await asyncio.Event().wait()


if __name__ == "__main__":
    raise_descriptor_limit()
    uvloop.run(serve(sys.argv[1], int(sys.argv[2])))
