"""`python -m tests.perf.peers.picows_client URL SESSIONS WAIT`: a minimal client, picows on uvloop."""

import asyncio
import sys
import time
from typing import Any

import orjson
import uvloop
from picows import ws_connect, WSCloseCode, WSListener, WSMsgType

from benchmark.server.process import raise_descriptor_limit
from tests.perf.peers.replies import check, SessionResults

PATIENCE = 120


class Session(WSListener):
    def __init__(self, wait: float, results: SessionResults) -> None:
        super().__init__()
        self._wait, self._results, self._answers = wait, results, 0

    def on_ws_connected(self, transport: Any) -> None:
        transport.send(WSMsgType.TEXT, b'{"type":"reset","data":{}}')

    def on_ws_frame(self, transport: Any, frame: Any) -> None:
        if frame.msg_type == WSMsgType.CLOSE:
            transport.send_close(WSCloseCode.OK)
            transport.disconnect()
            return
        check(frame.get_payload_as_bytes(), self._wait if self._answers else 0.0, self._answers)
        self._answers += 1
        if self._answers == 1:
            self._sent_at = time.perf_counter()
            step = {"type": "step", "data": {"wait_seconds": self._wait}}
            transport.send(WSMsgType.TEXT, orjson.dumps(step))
        else:
            self._results.steps.append(time.perf_counter() - self._sent_at)
            transport.send(WSMsgType.TEXT, b'{"type":"close"}')


async def session(url: str, wait: float, results: SessionResults) -> None:
    try:
        async with asyncio.timeout(PATIENCE):
            transport, _ = await ws_connect(
                lambda: Session(wait, results), url, websocket_handshake_timeout=PATIENCE
            )
            await transport.wait_disconnected()
    except Exception as failure:  # noqa: BLE001 - every failure is counted
        results.add_failure(repr(failure))


async def main(url: str, sessions: int, wait: float) -> None:
    results = SessionResults(sessions)
    await asyncio.gather(*(session(url, wait, results) for _ in range(sessions)))
    for _ in range(sessions - len(results.steps) - sum(results.errors.values())):
        results.add_failure("no answer to the step")
    print(results.line(), flush=True)


if __name__ == "__main__":
    raise_descriptor_limit()
    uvloop.run(main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3])))
