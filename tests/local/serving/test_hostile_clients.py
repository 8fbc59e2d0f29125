"""Hostile clients next to good sessions: the good sessions succeed, the server's memory stays bounded, and
afterwards every place is free."""

import asyncio
import contextlib
import json
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import psutil
import pytest
from websockets.asyncio.client import connect
from websockets.frames import Frame, Opcode

from tests.helpers.local import (
    deployed,
    Deployment,
    new_address,
    places_used,
    Server,
    serving,
    wait_for,
)

HANDSHAKE = (
    b"GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
STEP = '{"type":"step","data":{"wait_seconds":0}}'
LONG_STEP = b'{"type":"step","data":{"wait_seconds":600}}'
HOSTILE, GOOD = 100, 200
GOOD_SECONDS = 40.0
# How many bytes a worker may grow: for each hostile client a segment, the messages that it sent
# ahead, and the replies that it has not read.
MEMORY = 160 << 20

Attack = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def frame(opcode: int, payload: bytes = b"", fin: bool = True) -> bytes:
    return Frame(Opcode(opcode), payload, fin).serialize(mask=True)


async def flood(writer: asyncio.StreamWriter, data: bytes) -> None:
    """Sends as much as the other side accepts, until the connection ends."""
    writer.transport.set_write_buffer_limits(high=0)
    many = data * (1 + 60_000 // len(data))
    with contextlib.suppress(OSError):
        while True:
            writer.write(many)
            await writer.drain()
            await asyncio.sleep(0)


async def never_reading(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    reader._transport.pause_reading()  # type: ignore[attr-defined]
    await flood(writer, frame(1, b'{"type":"state"}') + frame(1, STEP.encode()))


async def pinging(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    reader._transport.pause_reading()  # type: ignore[attr-defined]
    await flood(writer, frame(9, b"x" * 125))


async def pinging_in_a_step(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(frame(1, LONG_STEP))
    await pinging(reader, writer)


async def far_ahead(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(frame(1, LONG_STEP))
    await flood(writer, frame(1, b"x" * 100_000))


async def dripping(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    for byte in frame(1, b"x" * 1_000):
        writer.write(bytes((byte,)))
        await asyncio.sleep(1)


async def announcing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"\x81\xff" + struct.pack("!Q", 16 << 20) + b"\0" * 4 + b"x" * 1_024)
    await reader.read()


async def fragments(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(frame(1, b"", fin=False))
    await flood(writer, frame(0, b"", fin=False))


async def many_steps(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Sends many steps at once, and reads the replies."""
    writer.write(frame(1, STEP.encode()) * 100_000)
    while await reader.read(1 << 20):
        pass


async def garbage(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(frame(8, b"\x03\xe8"))
    await flood(writer, b"\xff" * 1_000)


async def no_handshake(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(3_600)


ATTACKS: dict[str, tuple[Attack, int]] = {
    "never reading": (never_reading, HOSTILE),
    "pings without reading": (pinging, HOSTILE),
    "pings in a step": (pinging_in_a_step, HOSTILE),
    "far ahead of a step": (far_ahead, HOSTILE),
    "a byte a second": (dripping, HOSTILE),
    "16 MiB announced": (announcing, HOSTILE),
    "endless fragments": (fragments, HOSTILE),
    "100,000 steps at once": (many_steps, 2),
    "close, then garbage": (garbage, HOSTILE),
    "no handshake": (no_handshake, HOSTILE),
}


@contextlib.asynccontextmanager
async def attacked(address: str, port: int, attack: Attack, clients: int) -> AsyncIterator[None]:
    async def client() -> None:
        connection = socket.socket()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)  # full sooner
        connection.setblocking(False)
        await asyncio.get_running_loop().sock_connect(connection, (address, port))
        reader, writer = await asyncio.open_connection(sock=connection)
        writers.append(writer)
        if attack is not no_handshake:
            writer.write(HANDSHAKE)
            await reader.readuntil(b"\r\n\r\n")
        started.append(None)
        with contextlib.suppress(OSError):
            await attack(reader, writer)

    writers: list[asyncio.StreamWriter] = []
    started: list[None] = []
    tasks = [asyncio.create_task(client()) for _ in range(clients)]
    try:
        while len(started) < clients:
            await asyncio.sleep(0.01)
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for writer in writers:
            # Stop sending, because the server would otherwise process the rest before it sees the disconnect.
            with contextlib.suppress(OSError):
                writer.get_extra_info("socket").setsockopt(
                    socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
                )
            writer.transport.abort()
        await asyncio.sleep(0)


async def good(url: str) -> bool:
    async with connect(url, compression=None, open_timeout=60, ping_interval=None) as session:
        for message in ('{"type":"reset"}', STEP, STEP, STEP):
            await session.send(message)
            if json.loads(await session.recv())["type"] != "observation":
                return False
    return True


async def good_sessions(url: str, count: int) -> None:
    """Runs sessions, fifty at a time, all of which must succeed."""
    gate = asyncio.Semaphore(50)

    async def one() -> bool:
        async with gate:
            return await good(url)

    assert all(await asyncio.gather(*(one() for _ in range(count))))


def memory_growth(pid: int, before: int) -> int:
    return int(psutil.Process(pid).memory_info().rss) - before


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(
        tmp_path_factory.mktemp("target"),
        *("--drain", "0"),
        WORKERS=1,
        MAX_CONCURRENT_ENVS=2_000,
    ) as server:
        yield server


@pytest.mark.parametrize("name", ATTACKS)
def test_good_sessions_succeed_next_to_hostile_ones(name: str, target: Server) -> None:
    attack, clients = ATTACKS[name]
    pid = target.ready()["workers"][0]["pid"]
    before = psutil.Process(pid).memory_info().rss

    async def play() -> None:
        async with attacked(target.address, 8000, attack, clients):
            count = 1_000 if attack is never_reading else GOOD
            url = f"ws://{target.address}:8000/ws"
            await asyncio.wait_for(good_sessions(url, count), GOOD_SECONDS)
            assert memory_growth(pid, before) < MEMORY

    asyncio.run(play())
    wait_for(lambda: target.ready()["used"] == 0, 30, "all places free")
    assert target.ready()["workers"][0]["pid"] == pid
    assert "Traceback" not in target.log.read_text()


@pytest.fixture(scope="module")
def balanced(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    folder = tmp_path_factory.mktemp("balanced")
    with deployed(
        folder,
        f"hostile-{new_address()[4:].replace('.', '-')}",
        "--nodes",
        "2",
        "--max-concurrent-envs",
        "1000",
        "--drain",
        "0",
    ) as deployment:
        yield deployment


@pytest.mark.parametrize("name", ["never reading", "pings in a step", "endless fragments"])
def test_good_sessions_succeed_next_to_hostile_ones_through_envoy(
    name: str, balanced: Deployment
) -> None:
    attack, clients = ATTACKS[name]
    address, _, port = balanced.url.removeprefix("http://").partition(":")

    async def play() -> None:
        async with attacked(address, int(port), attack, clients):
            url = balanced.url.replace("http", "ws", 1) + "/ws"
            count = 1_000 if attack is never_reading else GOOD
            await asyncio.wait_for(good_sessions(url, count), GOOD_SECONDS)

    asyncio.run(play())
    wait_for(lambda: places_used(balanced) == 0, 30, "all places free")


def test_place_is_released_when_a_client_with_queued_messages_disconnects(target: Server) -> None:
    """The server does not read from a client that is far ahead, but detects its disconnect, with and without
    a reset."""

    async def leave_in_a_step() -> None:
        reader, writer = await asyncio.open_connection(target.address, 8000)
        writer.write(HANDSHAKE)
        await reader.readuntil(b"\r\n\r\n")
        writer.write(frame(1, LONG_STEP) + frame(1, b'{"type":"state"}') * 1_000)
        await writer.drain()
        while target.ready()["used"] != 1:
            await asyncio.sleep(0.01)
        writer.close()
        await writer.wait_closed()

    asyncio.run(leave_in_a_step())
    wait_for(lambda: target.ready()["used"] == 0, 5, "the place is free")
