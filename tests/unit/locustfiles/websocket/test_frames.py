"""The load's WebSocket codec, against that of the `websockets` package."""

import itertools
import random
from collections.abc import Iterator

import pytest
from websockets.frames import Close, Frame, Opcode
from websockets.server import ServerProtocol

from locustfiles.websocket.frames import (
    BadFrame,
    BINARY,
    CLOSE,
    close_reason,
    close_reply,
    frame,
    MAX_MESSAGE,
    PING,
    PONG,
    Reader,
    Request,
    TEXT,
    whole_text,
)

SIZES = (0, 1, 3, 4, 5, 125, 126, 127, 65_535, 65_536, 70_001)


def payload(size: int) -> bytes:
    return random.Random(size).randbytes(size)


def served(opcode: int, content: bytes, fin: bool = True) -> bytes:
    """As a server writes it."""
    return Frame(Opcode(opcode), content, fin).serialize(mask=False)


def understood(data: bytes) -> list[Frame]:
    """As a server reads it."""
    server = ServerProtocol(max_size=None)
    server.state = server.state.OPEN
    server.parser = server.parse()
    next(server.parser)
    server.receive_data(data)
    return [event for event in server.events_received() if isinstance(event, Frame)]


def read(pieces: Iterator[bytes]) -> list[tuple[int, bytes]]:
    reader = Reader()
    found = [message for piece in pieces for message in reader.feed(piece)]
    assert reader.between_frames
    return found


def cut(data: bytes, size: int) -> Iterator[bytes]:
    return (data[at : at + size] for at in range(0, len(data), size))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_a_server_understands_what_is_sent(opcode: int, size: int) -> None:
    content = payload(size)
    (seen,) = understood(frame(opcode, content))
    assert (seen.opcode, bytes(seen.data), seen.fin) == (opcode, content, True)


def test_each_frame_has_a_mask_of_its_own() -> None:
    step = Request(TEXT, b'{"type":"step"}')
    frames = {step.frame() for _ in range(3000)}
    assert len(frames) > 2990
    assert {bytes(seen.data) for sent in frames for seen in understood(sent)} == {
        b'{"type":"step"}'
    }


@pytest.mark.parametrize("size", SIZES)
def test_one_text_frame_is_seen_at_once(size: int) -> None:
    data = served(TEXT, payload(size))
    assert whole_text(data) == (payload(size) if size < 65_536 else None)
    assert whole_text(data[:-1]) is None
    assert whole_text(data + b"\x81") is None
    assert read(iter([data])) == [(TEXT, payload(size))]


@pytest.mark.parametrize("data", [b"", b"\x81", b"\x81\x7e", b"\x81\x7e\x00", b"\x89\x00"])
def test_what_is_no_whole_text_is_left_to_the_reader(data: bytes) -> None:
    assert whole_text(data) is None


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000, 10**6])
def test_pieces_of_any_size_give_the_same_messages(size: int) -> None:
    data = b"".join(
        [
            served(TEXT, payload(300)),
            served(PING, b"there?"),
            served(TEXT, b"one ", fin=False),
            served(PONG, b""),
            served(0, b"two ", fin=False),
            served(0, b"three"),
            served(BINARY, payload(70_000)) if size > 7 else b"",
            served(CLOSE, Close(1000, "bye").serialize()),
        ]
    )
    messages = read(cut(data, size))
    assert messages == [
        (TEXT, payload(300)),
        (PING, b"there?"),
        (PONG, b""),
        (TEXT, b"one two three"),
        *([(BINARY, payload(70_000))] if size > 7 else []),
        (CLOSE, b"\x03\xe8bye"),
    ]


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"\xc1\x00", "reserved bits"),
        (b"\x83\x00", "unknown opcode 3"),
        (b"\x81\x81abcd!", "masked"),
        (b"\x89\x7e", "control frame"),
        (b"\x09\x00", "control frame"),
        (b"\x80\x00", "out of order"),
        (b"\x01\x00\x81\x00", "out of order"),
        (b"\x81\x7f" + (MAX_MESSAGE + 1).to_bytes(8, "big"), "exceeds"),
        (b"\x81\x7f" + b"\xff" * 8, "exceeds"),
    ],
)
def test_what_no_server_may_send_is_refused(data: bytes, says: str) -> None:
    with pytest.raises(BadFrame, match=says):
        list(Reader().feed(data))


def test_fragments_do_not_add_up_to_more_than_a_message_may_have() -> None:
    reader, part = Reader(), served(0, bytes(MAX_MESSAGE // 3), fin=False)
    list(reader.feed(served(TEXT, b"x", fin=False)))
    with pytest.raises(BadFrame, match="exceeds"):
        for _ in range(4):
            list(reader.feed(part))


def test_random_bytes_are_messages_or_refused() -> None:
    dice = random.Random(1)
    for size in itertools.chain(range(64), [5000] * 50):
        try:
            list(Reader().feed(dice.randbytes(size)))
        except BadFrame as refused:
            assert str(refused)


def test_why_a_server_closes() -> None:
    assert close_reason(b"") == ""
    assert close_reason(Close(1011, "oops").serialize()) == "1011 oops"
    assert close_reason(b"\x0f\xa0") == "4000"
    for bad in (b"\x03", b"\x03\xee", b"\x00\x00"):
        with pytest.raises(BadFrame):
            close_reason(bad)


def test_a_close_is_answered_with_its_code() -> None:
    (seen,) = understood(close_reply(b"\x03\xe8bye"))
    assert (seen.opcode, bytes(seen.data)) == (CLOSE, b"\x03\xe8")
    assert bytes(understood(close_reply(b""))[0].data) == b""
