"""One environment server as a real process: capacity, disconnects, bad clients, draining."""

import asyncio
import contextlib
import json
import os
import signal
import socket
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import websocket
import websockets
from openenv.core import GenericEnvClient

from tests.helpers.bare_app import bare_app
from tests.helpers.conversations import reset_by_peer
from tests.helpers.local import new_address, Server, serving, wait_for

RESET = '{"type":"reset"}'


_opened: list[websocket.WebSocket] = []


@pytest.fixture(autouse=True)
def connections_closed() -> Iterator[None]:
    yield
    while _opened:
        _opened.pop().shutdown()


def connect(url: str, port: int = 8000) -> websocket.WebSocket:
    session = websocket.create_connection(
        url.replace("http", "ws", 1).replace(":8000", f":{port}") + "/ws", timeout=20
    )
    _opened.append(session)
    return session


def ask(session: websocket.WebSocket, message: Any) -> dict[str, Any]:
    session.send(message if isinstance(message, str) else json.dumps(message))
    return dict(json.loads(session.recv()))


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Server]:
    """A server with one worker and three places."""
    with serving(
        tmp_path, "--drain", "5", WORKERS=1, MAX_CONCURRENT_ENVS=3, NODE_NAME="n-1"
    ) as server:
        yield server


def used(server: Server) -> int:
    return int(server.ready()["used"])


def test_full_server_sends_an_error_frame_to_a_direct_client(small: Server) -> None:
    held = [connect(small.url) for _ in range(3)]
    for session in held:
        assert ask(session, RESET)["data"]["observation"]["host_url"] == "n-1:8000"
    refused = connect(small.url)
    answer = json.loads(refused.recv())
    assert answer["data"]["code"] == "CAPACITY_REACHED"
    assert (answer["data"]["active_sessions"], answer["data"]["max_sessions"]) == (3, 3)
    held.pop().close()
    wait_for(lambda: used(small) == 2, 5, "the place is free again")
    assert ask(connect(small.url), RESET)["type"] == "observation"


def test_full_worker_rejects_the_upgrade_of_the_balancer(small: Server) -> None:
    held = [connect(small.url, port=8002) for _ in range(3)]
    with pytest.raises(websocket.WebSocketBadStatusException) as refused:
        connect(small.url, port=8002)
    assert refused.value.status_code == 503
    assert refused.value.resp_headers["x-openenv-error"] == "CAPACITY_REACHED"
    assert len(held) == 3
    assert "ASGI" not in small.log.read_text()
    wait_for(lambda: small.ready()["refused"] == 1, 5, "the refusal is counted")


def test_ready_counts_places(small: Server) -> None:
    before = small.ready()
    assert (before["used"], before["free"], before["max_sessions"]) == (0, 3, 3)
    session = connect(small.url)
    wait_for(lambda: used(small) == 1, 5, "one place used")
    assert small.ready()["free"] == 2
    session.close()


def test_place_is_released_at_once_when_a_client_disconnects_during_a_step(small: Server) -> None:
    session = connect(small.url)
    session.send('{"type":"step","data":{"wait_seconds":600}}')
    wait_for(lambda: used(small) == 1, 5, "one place used")
    reset_by_peer(session.sock)
    wait_for(lambda: used(small) == 0, 3, "the place is free though the step had 600 s to go")


def test_place_is_released_at_once_when_more_frames_were_queued(small: Server) -> None:
    session = connect(small.url)
    session.send('{"type":"step","data":{"wait_seconds":600}}')
    session.send('{"type":"state"}')
    session.send('{"type":"close"}')
    wait_for(lambda: used(small) == 1, 5, "one place used")
    reset_by_peer(session.sock)
    wait_for(lambda: used(small) == 0, 3, "the place is free")


def test_place_is_released_when_openenvs_client_closes_during_a_step(small: Server) -> None:
    async def leave() -> None:
        client = GenericEnvClient(base_url=small.url)
        await client.connect()
        await client.reset()
        step = asyncio.create_task(client.step({"wait_seconds": 600}))
        await asyncio.sleep(0.2)
        await client.close()
        step.cancel()

    asyncio.run(leave())
    wait_for(lambda: used(small) == 0, 3, "the place is free")


def test_queued_frames_are_answered_in_order(small: Server) -> None:
    session = connect(small.url)
    for frame in (RESET, '{"type":"step","data":{"wait_seconds":0.3}}', '{"type":"state"}', "[]"):
        session.send(frame)
    replies = [json.loads(session.recv()) for _ in range(4)]
    assert [reply["type"] for reply in replies] == ["observation", "observation", "state", "error"]
    assert replies[1]["data"]["observation"]["waited_seconds"] == 0.3
    assert replies[2]["data"]["step_count"] == 1


@pytest.mark.parametrize(
    "last_words",
    [b"", b"\x81", b"\x81\xfe\xff", b"\x88\x80\x00\x00\x00\x00", b"\xff\xff\xff", b"\x89\x00"],
    ids=["silence", "half a header", "half a length", "close", "nonsense", "unmasked ping"],
)
def test_disconnect_at_any_time_is_not_an_error(small: Server, last_words: bytes) -> None:
    for _ in range(5):
        session = connect(small.url)
        session.send('{"type":"step","data":{"wait_seconds":30}}')
        if last_words:
            session.sock.sendall(last_words)
        reset_by_peer(session.sock)
    wait_for(lambda: used(small) == 0, 5, "all places free")
    assert "Traceback" not in small.log.read_text()


def test_half_open_connections_take_no_place(small: Server) -> None:
    opened = []
    for request in (b"", b"GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: webso", b"\x16\x03\x01"):
        for _ in range(20):
            opened.append(socket.create_connection((small.address, 8000)))
            opened[-1].sendall(request)
    assert ask(connect(small.url), RESET)["type"] == "observation"
    assert small.ready()["used"] <= 1
    for connection in opened:
        connection.close()


def test_clients_that_never_read_do_not_block_others(tmp_path: Path) -> None:
    with serving(tmp_path, "--drain", "0", WORKERS=1, MAX_CONCURRENT_ENVS=200) as server:
        deaf = [connect(server.url) for _ in range(20)]
        for session in deaf:
            session.sock.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                for _ in range(20_000):
                    session.sock.sendall(
                        websocket.ABNF.create_frame('{"type":"state"}', 1).format()
                    )
        before = psutil.Process(server.ready()["workers"][0]["pid"]).memory_info().rss
        good = connect(server.url)
        for _ in range(200):
            assert ask(good, RESET)["type"] == "observation"
        after = psutil.Process(server.ready()["workers"][0]["pid"]).memory_info().rss
        assert after - before < 64 * 2**20


def test_waiting_step_blocks_no_thread(tmp_path: Path) -> None:
    async def wait_together(url: str) -> None:
        opened = [websockets.connect(url, compression=None) for _ in range(100)]
        sessions = await asyncio.gather(*(one.__aenter__() for one in opened))
        for session in sessions:
            await session.send('{"type":"step","data":{"wait_seconds":0.5}}')
        threads = psutil.Process(worker).num_threads()
        for session in sessions:
            assert json.loads(await session.recv())["type"] == "observation"
        for session in sessions:
            await session.close()
        assert threads < 10

    with serving(tmp_path, "--drain", "0", WORKERS=1) as server:
        worker = server.ready()["workers"][0]["pid"]
        asyncio.run(wait_together(f"ws://{server.address}:8000/ws"))


def test_sigterm_drains_sessions_and_refuses_new_ones(small: Server) -> None:
    session = connect(small.url)
    ask(session, RESET)
    session.send('{"type":"step","data":{"wait_seconds":1.0}}')
    small.process.terminate()
    wait_for(lambda: health(small) == 503, 5, "not healthy while draining")
    with pytest.raises(websocket.WebSocketBadStatusException, match="503"):
        connect(small.url)
    assert json.loads(session.recv())["data"]["observation"]["waited_seconds"] == 1.0
    session.close()
    assert small.process.wait(3) == 0
    assert "Traceback" not in small.log.read_text()


def health(server: Server, port: int = 8001) -> int:
    import http.client

    with contextlib.closing(http.client.HTTPConnection(server.address, port, timeout=5)) as asking:
        asking.request("GET", "/health")
        return asking.getresponse().status


def test_draining_ends_at_its_timeout(tmp_path: Path) -> None:
    with serving(tmp_path, "--drain", "0.3", WORKERS=2) as server:
        session = connect(server.url)
        session.send('{"type":"step","data":{"wait_seconds":600}}')
        wait_for(lambda: used(server) == 1, 5, "the step waits")
        assert server.stop() == 0
        opcode, data = session.recv_data()
        assert opcode == websocket.ABNF.OPCODE_CLOSE
        assert struct.unpack("!H", data[:2])[0] == 1012  # service restart
        assert "Traceback" not in server.log.read_text()


def test_killed_worker_is_replaced(tmp_path: Path) -> None:
    with serving(tmp_path, "--drain", "0", WORKERS=2) as server:
        first, second = (worker["pid"] for worker in server.ready()["workers"])
        os.kill(first, signal.SIGKILL)
        wait_for(lambda: server.ready()["ready"] and first not in pids(server), 20, "replaced")
        assert pids(server)[1] == second
        assert f"worker 0 (pid {first}) was killed by SIGKILL" in server.log.read_text()
        assert ask(connect(server.url), RESET)["type"] == "observation"


def pids(server: Server) -> list[int]:
    return [worker["pid"] for worker in server.ready()["workers"]]


def test_server_exits_when_a_worker_exits_too_often(tmp_path: Path) -> None:
    with serving(tmp_path, "--drain", "0", WORKERS=1) as server:
        for _ in range(4):
            old = wait_for(lambda: server.ready()["ready"] and pids(server)[0], 20, "a worker")
            os.kill(old, signal.SIGKILL)
            wait_for(lambda: server.process.poll() or old not in pids(server), 20, "noticed")  # noqa: B023
        assert server.process.wait(10) == 1
        assert "4 exits in 300 s, not restarting it again" in server.log.read_text()


def test_no_process_outlives_a_killed_server(tmp_path: Path) -> None:
    with serving(tmp_path, WORKERS=2) as server:
        workers = pids(server)
        server.process.kill()
        wait_for(lambda: not any(psutil.pid_exists(pid) for pid in workers), 5, "workers gone")


def test_server_names_the_process_that_occupies_its_port(small: Server, tmp_path: Path) -> None:
    with serving(tmp_path, address=small.address, wait=False, WORKERS=1) as second:
        assert second.process.wait(20) == 1
        output = second.log.read_text().strip().splitlines()
    assert len(output) == 1
    assert output[0].startswith(
        f"error: port 8000 on {small.address} cannot be bound: Address already in use by pid "
        f"{small.process.pid} ("
    )


@pytest.mark.parametrize(
    ("variable", "value"),
    [("WORKERS", "0"), ("WORKERS", "many"), ("PORT", "70000"), ("MAX_CONCURRENT_ENVS", "-1")],
)
def test_invalid_variable_is_reported_on_one_line(
    tmp_path: Path, variable: str, value: str
) -> None:
    with serving(tmp_path, wait=False, **{variable: value}) as server:
        assert server.process.wait(20) == 1
        output = server.log.read_text().strip().splitlines()
    assert len(output) == 1
    assert output[0].startswith(f"error: {variable}={value!r}")


def test_any_asgi_app_can_be_served_with_places(tmp_path: Path) -> None:
    (tmp_path / "shouting.py").write_text(bare_app('message["text"].upper()'))
    options = ["--app", "shouting:app", "--drain", "0"]
    with serving(tmp_path, *options, WORKERS=1, MAX_CONCURRENT_ENVS=2) as server:
        held = [connect(server.url, 8002) for _ in range(2)]
        held[0].send("hello")
        assert held[0].recv() == "HELLO"
        with pytest.raises(websocket.WebSocketBadStatusException, match="503"):
            connect(server.url, 8002)
        assert json.loads(connect(server.url).recv())["data"]["code"] == "CAPACITY_REACHED"


def test_openenvs_own_app_can_be_served(tmp_path: Path) -> None:
    with serving(
        Path(__file__).parents[2],
        *("--app", "tests.helpers.stock_app:app", "--drain", "0"),
        address=new_address(),
        WORKERS=1,
    ) as server:
        server.log.rename(tmp_path / "server.log")
        assert ask(connect(server.url), RESET)["type"] == "observation"


@pytest.mark.parametrize("app", ["nowhere:app", "benchmark.server.app:nothing"])
def test_server_exits_when_the_app_cannot_be_imported(tmp_path: Path, app: str) -> None:
    with serving(tmp_path, "--app", app, wait=False, WORKERS=1) as server:
        started = time.monotonic()
        assert server.process.wait(30) == 1
        assert time.monotonic() - started < 30
        last = server.log.read_text().splitlines()[-1]
        assert last.startswith(f"error: {app} cannot be imported: ")
