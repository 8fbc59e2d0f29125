"""The app under plain uvicorn, without our WebSocket protocol: the same replies."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest
import websocket

from tests.helpers.conversations import reset_by_peer, SCRIPTS, talk
from tests.helpers.local import get_json, new_address, ROOT, Server, wait_for


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    address = new_address()
    log = tmp_path_factory.mktemp("plain") / "server.log"
    argv = [sys.executable, "-m", "uvicorn", "benchmark.server.app:app", "--host", address]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*argv, "--ws", "websockets-sansio"],
            cwd=ROOT,
            env=os.environ | {"PORT": "8000", "NODE_NAME": address},
            stdout=output,
            stderr=output,
        )
    server = Server(address, process, log)
    try:
        wait_for(lambda: get_json(f"{server.url}/health"), 30, "uvicorn answers")
        yield server
    finally:
        server.stop()


def used(server: Server) -> int:
    return int(get_json(f"{server.url}/ready")["used"])


@pytest.mark.parametrize("name", SCRIPTS)
def test_replies_are_the_same_under_plain_uvicorn(name: str, plain: Server, server: Server) -> None:
    assert asyncio.run(talk(plain.url, SCRIPTS[name])) == asyncio.run(
        talk(server.url, SCRIPTS[name])
    )


@pytest.mark.parametrize("by_reset", [True, False], ids=["reset", "end"])
def test_place_is_released_when_a_client_disconnects_during_a_step(
    by_reset: bool, plain: Server
) -> None:
    wait_for(lambda: used(plain) == 0, 5, "no place used")
    session = websocket.create_connection(plain.url.replace("http", "ws", 1) + "/ws", timeout=5)
    session.send('{"type":"step","data":{"wait_seconds":600}}')
    wait_for(lambda: used(plain) == 1, 5, "one place used")
    if by_reset:
        reset_by_peer(session.sock)
    else:
        session.shutdown()
    wait_for(lambda: used(plain) == 0, 5, "the place is free")


def test_log_contains_no_errors(plain: Server) -> None:
    assert "Traceback" not in plain.log.read_text()
