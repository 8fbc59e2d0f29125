"""`python -m tests.perf.peers.websockets_client URL SESSIONS WAIT`: a typical client: asyncio and the package
`websockets`, one task per session, no limit except a long timeout."""

import asyncio
import json
import sys
import time

from websockets.asyncio.client import connect

from benchmark.server.process import raise_descriptor_limit
from tests.perf.peers.replies import check, SessionResults

PATIENCE = 120


async def session(url: str, wait: float, results: SessionResults) -> None:
    try:
        async with asyncio.timeout(PATIENCE):
            async with connect(url, open_timeout=PATIENCE, ping_interval=None) as socket:
                await socket.send(json.dumps({"type": "reset", "data": {}}))
                check(await socket.recv(), 0.0, 0)
                await socket.send(json.dumps({"type": "step", "data": {"wait_seconds": wait}}))
                started = time.perf_counter()
                check(await socket.recv(), wait, 1)
                results.steps.append(time.perf_counter() - started)
                await socket.send(json.dumps({"type": "close"}))
    except Exception as failure:  # noqa: BLE001 - every failure is counted
        results.add_failure(repr(failure))


async def main(url: str, sessions: int, wait: float) -> None:
    results = SessionResults(sessions)
    await asyncio.gather(*(session(url, wait, results) for _ in range(sessions)))
    print(results.line(), flush=True)


if __name__ == "__main__":
    raise_descriptor_limit()
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3])))
