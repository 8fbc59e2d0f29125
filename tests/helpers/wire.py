"""Transcripts: what a server sends, byte for byte, in reply to scripted WebSocket frames."""

import contextlib
import re
from collections.abc import Sequence
from dataclasses import dataclass

import websocket
from websocket import ABNF

SECONDS = 20.0
# What differs between two runs of the same server: session ids, and addresses of objects. OpenEnv calls a
# blocking `reset` through a function of its own, which a TypeError names.
VARYING = re.compile(
    r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}(\.[\w.-]+)?|0x[0-9a-f]{6,}"
    r"|[\w.]+\(\)(?= got multiple values)"
)


@dataclass(frozen=True)
class Send:
    """Frames sent by one write, and how many replies follow."""

    frames: tuple[str | bytes, ...]
    replies: int


@dataclass(frozen=True)
class Raw:
    """Bytes that are no valid frame, or parts of one."""

    content: bytes
    replies: int = 1


Entry = str | bytes | Send | Raw
Script = Sequence[Entry]


def together(*frames: str | bytes, replies: int | None = None) -> Send:
    return Send(frames, len(frames) if replies is None else replies)


# The last message of each transcript: its reply repeats MARK, unless the server closes.
MARK = "still there?"
PROBES = {
    "/ws": f'{{"type": "{MARK}"}}',
    "/mcp": f'{{"jsonrpc": "2.0", "id": 0, "method": "{MARK}"}}',
}


def transcript(url: str, script: Script, path: str = "/ws") -> list[str]:
    """The replies to the script and to a last, unknown message, or how the session closed."""
    connection = connect(url, path)
    replies: list[str] = []
    try:
        for entry in script:
            connection.sock.sendall(_bytes(entry))
            for _ in range(entry.replies if isinstance(entry, Send | Raw) else 1):
                replies.append(receive(connection))
                if replies[-1].startswith("closed"):
                    return replies
        with contextlib.suppress(OSError):  # a server that has hung up is seen below
            connection.sock.sendall(_bytes(PROBES[path]))
        while not replies or not (MARK in replies[-1] or replies[-1].startswith("closed")):
            replies.append(receive(connection))
        return replies
    finally:
        connection.shutdown()


def connect(url: str, path: str = "/ws") -> websocket.WebSocket:
    return websocket.create_connection(
        url.replace("http", "ws", 1) + path, timeout=SECONDS, skip_utf8_validation=True
    )


def receive(connection: websocket.WebSocket) -> str:
    try:
        opcode, frame = connection.recv_data_frame(control_frame=True)
    except (websocket.WebSocketConnectionClosedException, ConnectionResetError):
        return "closed without a close frame"
    content = bytes(frame.data)
    if opcode == ABNF.OPCODE_CLOSE:
        # The reason is the text of the WebSocket implementation; OpenEnv sends none.
        return f"closed {int.from_bytes(content[:2], 'big')}"
    if opcode == ABNF.OPCODE_PONG:
        return "pong"
    text = content.decode() if opcode == ABNF.OPCODE_TEXT else f"opcode {opcode}: {content!r}"
    return VARYING.sub("<varies>", text)


def frame(content: str | bytes, fin: int = 1, opcode: int | None = None) -> bytes:
    if opcode is None:
        opcode = ABNF.OPCODE_TEXT if isinstance(content, str) else ABNF.OPCODE_BINARY
    data = content.encode() if isinstance(content, str) else content
    return bytes(ABNF(fin, 0, 0, 0, opcode, 1, data).format())


def _bytes(entry: Entry) -> bytes:
    if isinstance(entry, Raw):
        return entry.content
    frames = entry.frames if isinstance(entry, Send) else (entry,)
    return b"".join(map(frame, frames))
