"""The load's frame codec, compared with that of the `websockets` package."""

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


def server_frame(opcode: int, content: bytes, fin: bool = True) -> bytes:
    """A frame as `websockets` writes it on a server."""
    return Frame(Opcode(opcode), content, fin).serialize(mask=False)


def parsed(data: bytes) -> list[Frame]:
    """The frames that `websockets` reads on a server."""
    server = ServerProtocol(max_size=None)
    server.state = server.state.OPEN
    server.parser = server.parse()
    next(server.parser)
    server.receive_data(data)
    return [event for event in server.events_received() if isinstance(event, Frame)]


def read(pieces: Iterator[bytes]) -> list[tuple[int, bytes]]:
    reader = Reader()
    messages = [message for piece in pieces for message in reader.feed(piece)]
    assert reader.between_frames
    return messages


def cut(data: bytes, size: int) -> Iterator[bytes]:
    return (data[at : at + size] for at in range(0, len(data), size))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_frames_can_be_read_by_websockets(opcode: int, size: int) -> None:
    content = payload(size)
    (received,) = parsed(frame(opcode, content))
    assert (received.opcode, bytes(received.data), received.fin) == (opcode, content, True)


def test_every_frame_has_a_new_mask() -> None:
    step = Request(TEXT, b'{"type":"step"}')
    frames = {step.frame() for _ in range(3000)}
    assert len(frames) > 2990
    assert {bytes(received.data) for sent in frames for received in parsed(sent)} == {
        b'{"type":"step"}'
    }


@pytest.mark.parametrize("size", SIZES)
def test_a_single_text_frame_is_recognised(size: int) -> None:
    data = server_frame(TEXT, payload(size))
    assert whole_text(data) == (payload(size) if size < 65_536 else None)
    assert whole_text(data[:-1]) is None
    assert whole_text(data + b"\x81") is None
    assert read(iter([data])) == [(TEXT, payload(size))]


@pytest.mark.parametrize("data", [b"", b"\x81", b"\x81\x7e", b"\x81\x7e\x00", b"\x89\x00"])
def test_anything_but_a_complete_text_frame_is_left_to_the_reader(data: bytes) -> None:
    assert whole_text(data) is None


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000, 10**6])
def test_messages_do_not_depend_on_how_the_data_arrives(size: int) -> None:
    data = b"".join(
        [
            server_frame(TEXT, payload(300)),
            server_frame(PING, b"there?"),
            server_frame(TEXT, b"one ", fin=False),
            server_frame(PONG, b""),
            server_frame(0, b"two ", fin=False),
            server_frame(0, b"three"),
            server_frame(BINARY, payload(70_000)) if size > 7 else b"",
            server_frame(CLOSE, Close(1000, "bye").serialize()),
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
    ("data", "message"),
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
def test_an_invalid_frame_is_rejected(data: bytes, message: str) -> None:
    with pytest.raises(BadFrame, match=message):
        list(Reader().feed(data))


def test_the_size_limit_applies_to_the_sum_of_fragments() -> None:
    reader, part = Reader(), server_frame(0, bytes(MAX_MESSAGE // 3), fin=False)
    list(reader.feed(server_frame(TEXT, b"x", fin=False)))
    with pytest.raises(BadFrame, match="exceeds"):
        for _ in range(4):
            list(reader.feed(part))


def test_random_bytes_are_messages_or_rejected() -> None:
    dice = random.Random(1)
    for size in itertools.chain(range(64), [5000] * 50):
        try:
            list(Reader().feed(dice.randbytes(size)))
        except BadFrame as refused:
            assert str(refused)


def test_the_reason_of_a_close_frame_is_text() -> None:
    assert close_reason(b"") == ""
    assert close_reason(Close(1011, "oops").serialize()) == "1011 oops"
    assert close_reason(b"\x0f\xa0") == "4000"
    for bad in (b"\x03", b"\x03\xee", b"\x00\x00"):
        with pytest.raises(BadFrame):
            close_reason(bad)


def test_the_reply_to_a_close_frame_has_its_code() -> None:
    (received,) = parsed(close_reply(b"\x03\xe8bye"))
    assert (received.opcode, bytes(received.data)) == (CLOSE, b"\x03\xe8")
    assert bytes(parsed(close_reply(b""))[0].data) == b""


@pytest.mark.parametrize(
    ("size", "head"),
    [
        (0, b"\x81\x80"),
        (125, b"\x81\xfd"),
        (126, b"\x81\xfe\x00\x7e"),
        (127, b"\x81\xfe\x00\x7f"),
        (65_535, b"\x81\xfe\xff\xff"),
        (65_536, b"\x81\xff\x00\x00\x00\x00\x00\x01\x00\x00"),
    ],
)
def test_a_frame_uses_the_shortest_length_encoding(size: int, head: bytes) -> None:
    sent = frame(TEXT, bytes(size))
    assert sent[: len(head)] == head
    assert len(sent) == len(head) + 4 + size


@pytest.mark.parametrize("opcode", [TEXT, BINARY, CLOSE, PING, PONG])
def test_a_frame_is_final_and_masked(opcode: int) -> None:
    sent = frame(opcode, b"payload")
    assert sent[0] == 0x80 | opcode
    assert sent[1] == 0x80 | 7
    mask = sent[2:6]
    assert bytes(byte ^ mask[at % 4] for at, byte in enumerate(sent[6:])) == b"payload"


def lengths(size: int, width: int, opcode: int = TEXT) -> bytes:
    """An unmasked frame whose length is encoded in `width` bytes: 1, 2 or 8."""
    marker = {1: size, 2: 126, 8: 127}[width]
    extended = b"" if width == 1 else size.to_bytes(width, "big")
    return bytes((0x80 | opcode, marker)) + extended + b"x" * size


@pytest.mark.parametrize(
    ("size", "width"),
    [
        (0, 1),
        (0, 2),
        (1, 1),
        (125, 1),
        (125, 2),
        (126, 2),
        (255, 2),
        (256, 2),
        (65_535, 2),
        (65_535, 8),
    ],
)
def test_every_length_encoding_is_read(size: int, width: int) -> None:
    data = lengths(size, width)
    assert whole_text(data) == (None if width == 8 else b"x" * size)
    assert list(Reader().feed(data + server_frame(PING, b""))) == [(TEXT, b"x" * size), (PING, b"")]


@pytest.mark.parametrize("opcode", [PING, PONG, CLOSE])
def test_a_control_payload_has_at_most_125_bytes(opcode: int) -> None:
    content = b"\x03\xe8" + b"x" * 123
    assert list(Reader().feed(server_frame(opcode, content))) == [(opcode, content)]
    with pytest.raises(BadFrame, match="control frame"):
        list(Reader().feed(lengths(126, 2, opcode)))


@pytest.mark.parametrize("first", [0x90, 0xA0, 0xC0])
def test_no_reserved_bit_may_be_set(first: int) -> None:
    with pytest.raises(BadFrame, match="reserved bits"):
        list(Reader().feed(bytes((first | TEXT, 0))))


@pytest.mark.parametrize("opcode", [3, 4, 5, 6, 7, 11, 12, 13, 14, 15])
def test_an_unknown_opcode_is_rejected(opcode: int) -> None:
    with pytest.raises(BadFrame, match=f"unknown opcode {opcode}"):
        list(Reader().feed(bytes((0x80 | opcode, 0))))


def test_a_frame_is_rejected_as_soon_as_its_head_has_arrived() -> None:
    reader = Reader()
    assert list(reader.feed(b"\x81\x7f" + MAX_MESSAGE.to_bytes(8, "big")[:7])) == []
    with pytest.raises(BadFrame, match="exceeds"):
        list(reader.feed(b"\x01"))


def test_a_message_may_reach_the_limit() -> None:
    reader = Reader()
    assert list(reader.feed(b"\x82\x7f" + MAX_MESSAGE.to_bytes(8, "big") + b"x")) == []
    with pytest.raises(BadFrame, match="exceeds"):
        list(Reader().feed(b"\x82\x7f" + (MAX_MESSAGE + 1).to_bytes(8, "big")))


def test_the_size_limit_applies_to_every_message_anew() -> None:
    reader, size = Reader(), MAX_MESSAGE // 2
    for _ in range(2):
        assert list(reader.feed(server_frame(BINARY, bytes(size), fin=False))) == []
        ((opcode, message),) = reader.feed(server_frame(0, bytes(size)))
        assert (opcode, len(message)) == (BINARY, MAX_MESSAGE)
    list(reader.feed(server_frame(TEXT, b"ab", fin=False)))
    with pytest.raises(BadFrame, match="exceeds"):
        list(reader.feed(b"\x80\x7f" + (MAX_MESSAGE - 1).to_bytes(8, "big")))


def test_a_reader_is_between_frames_only_when_nothing_is_incomplete() -> None:
    reader = Reader()
    assert reader.between_frames
    assert list(reader.feed(b"\x81")) == []
    assert not reader.between_frames
    assert list(reader.feed(b"\x00")) == [(TEXT, b"")]
    assert reader.between_frames
    assert list(reader.feed(server_frame(BINARY, b"a", fin=False))) == []
    assert not reader.between_frames
    assert list(reader.feed(server_frame(0, b"b", fin=False))) == []
    assert not reader.between_frames
    assert list(reader.feed(server_frame(0, b"c"))) == [(BINARY, b"abc")]
    assert reader.between_frames


@pytest.mark.parametrize(
    ("code", "valid"),
    [
        *((code, True) for code in (1000, 1001, 1003, 1007, 1014, 3000, 3999, 4000, 4999)),
        *((code, False) for code in (0, 999, 1004, 1005, 1006, 1015, 2999, 5000, 65_535)),
    ],
)
def test_only_codes_that_may_be_sent_are_valid(code: int, valid: bool) -> None:
    payload = code.to_bytes(2, "big") + b"why"
    if valid:
        assert close_reason(payload) == f"{code} why"
    else:
        with pytest.raises(BadFrame, match=f"close code {code} is not valid"):
            close_reason(payload)
    with pytest.raises(BadFrame, match="incomplete"):
        close_reason(payload[:1])


def test_a_reason_that_is_not_utf_8_is_shown_as_far_as_possible() -> None:
    assert close_reason(b"\x03\xe8a\xff") == "1000 a\ufffd"
    assert close_reason(b"\x03\xe8") == "1000"


@pytest.mark.parametrize("opcode", [CLOSE, PING, PONG])
def test_a_control_frame_may_arrive_between_fragments(opcode: int) -> None:
    reader = Reader()
    assert list(reader.feed(server_frame(TEXT, b"a", fin=False))) == []
    assert list(reader.feed(server_frame(opcode, b"\x03\xe8"))) == [(opcode, b"\x03\xe8")]
    assert list(reader.feed(server_frame(0, b"b"))) == [(TEXT, b"ab")]
