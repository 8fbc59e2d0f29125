"""One uvicorn process of a server. The supervisor passes it the listening sockets and the board as
open file descriptors."""

import argparse
import asyncio
import faulthandler
import gc
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import cast

import uvicorn
from uvicorn.importer import import_from_string

from benchmark.server.admission import Admission
from benchmark.server.engine.app import Engine
from benchmark.server.engine.failures import describe
from benchmark.server.engine.recognise import recognise
from benchmark.server.engine.spec import Spec
from benchmark.server.namesake import make_way
from benchmark.server.places import Board, Places
from benchmark.server.process import keep_freed_memory
from benchmark.server.settings import (
    add_serving_options,
    Serving,
    serving_from,
    settings_from_environment,
)
from benchmark.server.websocket.entry import EntryProtocol
from benchmark.server.websocket.interface import Give
from benchmark.server.websocket.protocol_class import WebSocketProtocol
from benchmark.server.workers.handoff import Handoff
from benchmark.server.workers.preparation import Preparation
from benchmark.server.workers.sockets import inherited, WorkerSockets

BACKLOG = 65_535
HEARTBEAT_SECONDS = 0.25
CLOSE_SECONDS = 1


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="benchmark.server.workers.worker")
    add_serving_options(parser)
    parser.add_argument("--index", type=int, required=True)
    parser.add_argument("--workers", type=int, required=True)
    parser.add_argument("--board-fd", type=int, required=True)
    parser.add_argument("--fds", type=int, nargs="+", required=True)
    options = parser.parse_args(arguments)
    os.set_inheritable(options.board_fd, False)
    board = Board(options.board_fd, options.workers)
    run(serving_from(options), options.index, board, inherited(options.fds))


def run(serving: Serving, index: int, board: Board, sockets: WorkerSockets) -> None:
    """Serves until SIGTERM. The board's `failure` says why the app cannot be served."""
    faulthandler.enable()
    app = _load(serving, board)
    app.places.attach(board, index)
    tune_garbage_collector()
    keep_freed_memory()
    handoff = Handoff(board, index, sockets)
    server = uvicorn.Server(configuration(app, handoff.give))
    preparation = Preparation(app, serving.app, board, index)
    with asyncio.Runner(loop_factory=server.config.get_loop_factory()) as runner:
        runner.run(Worker(server, preparation, app.places, board, index, sockets, handoff).serve())
    if board.failure:
        sys.exit(1)


def _load(serving: Serving, board: Board) -> Engine | Admission:
    try:
        return load(serving)
    except (Exception, SystemExit) as failure:
        board.failure = f"{serving.app} cannot be imported: {describe(failure)}"
        raise


def tune_garbage_collector() -> None:
    """Collects rarely: with the default thresholds, scanning thousands of open sessions took a
    third of the CPU time of a burst."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


def load(serving: Serving) -> Engine | Admission:
    """The app to serve: on the session engine, or by its own code behind `Admission`."""
    sys.path.insert(0, str(Path.cwd()))
    make_way(serving.app.partition(":")[0])
    loaded = import_from_string(serving.app)
    places = Places(settings_from_environment().max_concurrent_envs)
    recognised = recognise(loaded)
    if isinstance(recognised, Spec):
        return Engine(loaded, recognised, places, serving)
    return Admission(loaded, places, recognised.reason)


def configuration(app: object, give: Give) -> uvicorn.Config:
    """Disables WebSocket pings, whose timeout would end the session of a client that computes for
    minutes without reading. The sockets use TCP keep-alive, which the client's kernel answers."""
    return uvicorn.Config(
        app,  # type: ignore[arg-type]
        loop="uvloop",
        http=partial(EntryProtocol, give=give),  # type: ignore[arg-type]
        ws=partial(WebSocketProtocol, give=give),  # type: ignore[arg-type]
        ws_per_message_deflate=False,
        ws_ping_interval=None,
        ws_ping_timeout=None,
        backlog=BACKLOG,
        access_log=False,
        proxy_headers=False,
        log_level="warning",
        timeout_graceful_shutdown=CLOSE_SECONDS,
        timeout_keep_alive=75,
    )


@dataclass(frozen=True)
class Worker:
    server: uvicorn.Server
    preparation: Preparation
    places: Places
    board: Board
    index: int
    sockets: WorkerSockets
    handoff: Handoff

    async def serve(self) -> None:
        beating = asyncio.create_task(self._send_heartbeats())
        try:
            await self.server.serve(sockets=[self.sockets.shared, self.sockets.own])
        except SystemExit:  # of uvicorn, whose log has the traceback of the app's startup
            name = self.preparation.name
            self.board.failure = f"{name} does not start; its traceback is in the log"
        finally:
            beating.cancel()

    async def _send_heartbeats(self) -> None:
        while not self.server.started:
            await asyncio.sleep(0.01)
        if not await self.preparation.run():
            self.server.should_exit = True
            return
        self.places.publish(self.board, self.index, self.sockets.own_port)
        with self.handoff.receiving(self._protocol):
            while True:
                await asyncio.sleep(HEARTBEAT_SECONDS)
                self.places.beat()

    def _protocol(self) -> asyncio.Protocol:
        """The protocol of a connection, as uvicorn makes it for those that it accepts."""
        config, state = self.server.config, self.server.server_state
        make = cast(Callable[..., asyncio.Protocol], config.http_protocol_class)
        return make(config=config, server_state=state, app_state=self.server.lifespan.state)


if __name__ == "__main__":
    main()
