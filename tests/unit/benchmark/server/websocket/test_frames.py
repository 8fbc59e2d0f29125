"""The server's frame codec, compared with that of the `websockets` package."""

import random
import struct
import tracemalloc
from itertools import pairwise

import pytest
from websockets.frames import Close, CloseCode, Frame, Opcode
from websockets.protocol import OPEN
from websockets.server import ServerProtocol

from benchmark.server.websocket.frames import (
    BINARY,
    CLOSE,
    close_frame,
    CONTINUATION,
    frame,
    MAX_FRAGMENTS,
    parse_close,
    PING,
    PONG,
    Reader,
    TEXT,
    Violation,
    whole_text,
)

LIMIT = 70_000
SIZES = [0, 1, 124, 125, 126, 127, 1_000, 65_535, 65_536, 65_537]
Message = tuple[int, bytes]


def masked(opcode: int, payload: bytes = b"", fin: bool = True) -> bytes:
    return Frame(Opcode(opcode), payload, fin).serialize(mask=True)


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    return [data[start:end] for start, end in pairwise([0, *sorted(cuts), len(data)])]


def read(chunks: list[bytes], limit: int = LIMIT) -> tuple[list[Message], int | None]:
    """Messages and control frames, and the close code of a violation if there is one."""
    reader, result = Reader(limit), []
    try:
        for chunk in chunks:
            reader.feed(chunk)
            while (message := reader.next()) is not None:
                if message[0] == TEXT:
                    _check_text(message[1])
                if message[0] == CLOSE:
                    parse_close(message[1])
                if message[0] != CONTINUATION:
                    result.append(message)
                if message[0] == CLOSE:
                    return result, None
    except Violation as failure:
        return result, failure.code
    return result, None


def _check_text(payload: bytes) -> None:
    try:
        payload.decode()
    except UnicodeDecodeError:
        raise Violation(CloseCode.INVALID_DATA, "not UTF-8") from None


def read_by_websockets(chunks: list[bytes], limit: int = LIMIT) -> tuple[list[Message], int | None]:
    protocol = ServerProtocol(state=OPEN, max_size=limit)
    result: list[Message] = []
    parts: list[Frame] = []
    for chunk in chunks:
        protocol.receive_data(chunk)
        for event in protocol.events_received():
            assert isinstance(event, Frame)
            if event.opcode in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
                parts.append(event)
                if not event.fin:
                    continue
                whole = b"".join(bytes(part.data) for part in parts)
                kind = parts[0].opcode
                parts = []
                if kind is Opcode.TEXT and not _is_text(whole):
                    return result, CloseCode.INVALID_DATA
                result.append((int(kind), whole))
            else:
                result.append((int(event.opcode), bytes(event.data)))
        if protocol.parser_exc is not None:
            assert protocol.close_sent is not None
            return result, int(protocol.close_sent.code)
    return result, None


def _is_text(payload: bytes) -> bool:
    try:
        payload.decode()
    except UnicodeDecodeError:
        return False
    return True


def conversation(chance: random.Random) -> bytes:
    """Random messages as a client may send them, some fragmented with control frames in between."""
    sent = bytearray()
    for _ in range(chance.randrange(1, 12)):
        size = chance.choice(SIZES)
        payload = bytes(chance.choices(b"abc \xc3\xa9", k=size)) if chance.random() < 0.1 else None
        payload = payload or bytes(chance.choices(b"abcdefgh", k=size))
        cuts = [chance.randrange(size + 1) for _ in range(chance.choice((0, 0, 0, 1, 2, 5)))]
        parts = pieces(payload, cuts)
        kind = chance.choice((TEXT, BINARY))
        for number, part in enumerate(parts):
            sent += masked(CONTINUATION if number else kind, part, number == len(parts) - 1)
            while chance.random() < 0.3:
                control = bytes(chance.choices(range(256), k=chance.choice((0, 4, 125))))
                sent += masked(chance.choice((PING, PONG)), control)
    if chance.random() < 0.5:
        sent += masked(CLOSE, chance.choice((b"", Close(4001, "bye").serialize())))
    return bytes(sent)


@pytest.mark.parametrize("seed", range(150))
def test_messages_do_not_depend_on_how_the_data_arrives(seed: int) -> None:
    chance = random.Random(seed)
    data = conversation(chance)
    expected = read_by_websockets([data])
    assert read([data]) == expected
    for _ in range(4):
        many = chance.choice((1, 5, 50))
        chunks = pieces(data, [chance.randrange(len(data) + 1) for _ in range(many)])
        assert read(chunks) == expected


@pytest.mark.parametrize("seed", range(20))
def test_messages_can_arrive_byte_by_byte(seed: int) -> None:
    chance = random.Random(seed)
    data = b"".join(
        masked(chance.choice((TEXT, BINARY, PING)), b"x" * chance.choice((0, 1, 125)))
        for _ in range(10)
    )
    data += masked(TEXT, b"y" * 126, fin=False) + masked(CONTINUATION, b"z" * 1_000)
    chunks = [data[at : at + 1] for at in range(len(data))]
    assert read(chunks) == read_by_websockets([data])


def raw(first: int, second: int, *rest: bytes) -> bytes:
    return bytes((first, second)) + b"".join(rest)


MASK = b"\0\0\0\0"
FRAGMENT = masked(TEXT, b"a", fin=False)
INVALID: dict[str, bytes] = {
    "reserved bit 1": raw(0xC1, 0x80, MASK),
    "reserved bit 2": raw(0xA1, 0x80, MASK),
    "reserved bit 3": raw(0x91, 0x80, MASK),
    "reserved bit of a ping": raw(0xC9, 0x80, MASK),
    "reserved bit of a continuation": FRAGMENT + raw(0xC0, 0x80, MASK),
    **{f"opcode {n}": raw(0x80 | n, 0x80, MASK) for n in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15)},
    "not masked": raw(0x81, 0x01, b"a"),
    "ping not masked": raw(0x89, 0x00),
    "close not masked": raw(0x88, 0x00),
    "ping of 126": masked(PING)[:1] + raw(0xFE, 0, b"\x7e", MASK, b"x" * 126),
    "close of 126": raw(0x88, 0xFE, b"\0\x7e", MASK, b"\x03\xe8" + b"x" * 124),
    "pong with a long length": raw(0x8A, 0xFF, struct.pack("!Q", 126), MASK, b"x" * 126),
    "ping in fragments": raw(0x09, 0x80, MASK),
    "pong in fragments": raw(0x0A, 0x80, MASK),
    "close in fragments": raw(0x08, 0x80, MASK),
    "continuation without a beginning": masked(CONTINUATION, b"a"),
    "continuation without a start": masked(CONTINUATION, b"a", fin=False),
    "continuation after a whole message": masked(TEXT, b"a") + masked(CONTINUATION, b"a"),
    "continuation after the last": FRAGMENT + masked(CONTINUATION) + masked(CONTINUATION),
    "text inside a message": FRAGMENT + masked(TEXT, b"b"),
    "binary inside a message": FRAGMENT + masked(BINARY, b"b"),
    "fragment inside a message": FRAGMENT + FRAGMENT,
    "close of one byte": masked(CLOSE, b"\x03"),
    "close reason not UTF-8": masked(CLOSE, b"\x03\xe8\xff"),
    "too big": masked(BINARY, b"x" * (LIMIT + 1)),
    "too big, announced": raw(0x82, 0xFF, struct.pack("!Q", LIMIT + 1)),
    "2^63 bytes": raw(0x82, 0xFF, struct.pack("!Q", 1 << 63)),
    "2^64 - 1 bytes": raw(0x82, 0xFF, b"\xff" * 8),
    "too big in sum": masked(TEXT, b"x" * LIMIT, fin=False) + masked(CONTINUATION, b"x"),
    "too big in sum, not final": masked(TEXT, b"x" * 40_000, fin=False)
    + masked(CONTINUATION, b"x" * 40_000, fin=False),
    "text not UTF-8": masked(TEXT, b"\xff"),
    "text cut in a character": masked(TEXT, b"\xc3"),
    "text with a surrogate": masked(TEXT, b"\xed\xa0\x80"),
    "text not UTF-8 in sum": masked(TEXT, b"\xc3", fin=False) + masked(CONTINUATION, b"a"),
}


@pytest.mark.parametrize("name", INVALID)
def test_a_violation_has_the_same_close_code_as_in_websockets(name: str) -> None:
    data = masked(TEXT, b"before") + INVALID[name]
    expected = read_by_websockets([data])
    assert expected[1] is not None
    assert read([data]) == expected
    assert read([data[at : at + 1] for at in range(len(data))]) == expected


@pytest.mark.parametrize(
    "data",
    [
        masked(TEXT, b"x" * LIMIT),
        masked(TEXT, b"x" * 40_000, fin=False) + masked(CONTINUATION, b"x" * 30_000),
        masked(TEXT, b"\xc3", fin=False) + masked(PING, b"p") + masked(CONTINUATION, b"\xa9"),
        raw(0x81, 0xFE, b"\0\x01", MASK, b"a"),
        raw(0x81, 0xFF, b"\0\0\0\0\0\0\0\x01", MASK, b"a"),
        (masked(TEXT, b"x" * LIMIT, fin=False) + masked(CONTINUATION)) * 2,
    ],
    ids=["largest", "largest in sum", "ping in a character", "16 bits", "64 bits", "twice"],
)
def test_what_is_just_allowed(data: bytes) -> None:
    expected = read_by_websockets([data])
    assert expected[1] is None
    assert read([data]) == expected


@pytest.mark.parametrize("code", [*range(998, 1020), 1099, 2999, 3000, 3999, 4000, 4999, 5000, 0])
def test_close_codes(code: int) -> None:
    data = masked(CLOSE, struct.pack("!H", code) + b"why")
    assert read([data])[1] == read_by_websockets([data])[1]


@pytest.mark.parametrize("seed", range(400))
def test_a_corrupted_byte_leads_to_the_same_close_code(seed: int) -> None:
    """One byte is wrong. A frame with two faults may have the code of either."""
    chance = random.Random(seed)
    data = bytearray(
        b"".join(masked(chance.choice((1, 2, 8, 9)), b"\x03\xe8ab", fin=True) for _ in range(5))
    )
    data[chance.randrange(len(data))] = chance.randrange(256)
    messages, code = read([bytes(data)])
    expected, expected_code = read_by_websockets([bytes(data)])
    if code == expected_code:
        assert [m for m in messages if m[0] != CLOSE] == [m for m in expected if m[0] != CLOSE]
    else:
        # this reader checks a head before the payload arrives, and a close code after the frame
        assert (code, expected_code) in ((1002, None), (1002, 1009))


def test_a_close_frame_may_arrive_between_fragments() -> None:
    """The RFC allows control frames between fragments; `websockets` rejects this one."""
    data = FRAGMENT + masked(CLOSE, b"\x03\xe8")
    assert read([data]) == ([(CLOSE, b"\x03\xe8")], None)
    assert read_by_websockets([data])[1] == 1002


@pytest.mark.parametrize("size", [*SIZES, 1 << 20])
@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_frames_are_encoded_as_in_websockets(opcode: int, size: int) -> None:
    payload = b"x" * size
    assert frame(opcode, payload) == Frame(Opcode(opcode), payload).serialize(mask=False)


@pytest.mark.parametrize("reason", ["", "why", "é" * 200, "a" + "é" * 200, "x" * 123])
def test_a_close_frame_truncates_a_long_reason(reason: str) -> None:
    written = close_frame(4001, reason)
    assert len(written) <= 127
    code, text = parse_close(written[2:])
    assert (code, text) == (4001, reason[: len(text)])
    assert len(text.encode()) >= min(len(reason.encode()), 122)
    assert parse_close(close_frame(1005)[2:]) == (1005, "")


@pytest.mark.parametrize("size", [0, 1, 2])
def test_fragments_use_no_more_memory_than_their_payload(size: int) -> None:
    reader = Reader(1 << 20)
    reader.feed(masked(TEXT, b"", fin=False))
    reader.next()
    segment = masked(CONTINUATION, b"x" * size, fin=False) * 1_000
    tracemalloc.start()
    for _ in range(60):
        reader.feed(segment)
        while reader.next() is not None:
            pass
    grown, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert grown < 60_000 * size * 2 + 50_000


def test_the_number_of_fragments_is_limited() -> None:
    enough = masked(TEXT, b"", fin=False) + masked(CONTINUATION, fin=False) * (MAX_FRAGMENTS - 2)
    assert read([enough + masked(CONTINUATION)] * 2) == ([(TEXT, b"")] * 2, None)
    assert read([enough + masked(CONTINUATION, fin=False) * 2]) == ([], 1009)


def test_an_announced_size_allocates_no_memory() -> None:
    tracemalloc.start()
    reader = Reader(16 << 20)
    reader.feed(raw(0x82, 0xFF, struct.pack("!Q", 16 << 20), MASK) + b"x" * 1_000)
    assert reader.next() is None
    assert tracemalloc.get_traced_memory()[0] < 50_000
    tracemalloc.stop()
    assert reader.buffered == 1_014


def lengths(opcode: int, size: int, width: int) -> bytes:
    """A masked frame whose length is encoded in `width` bytes: 1, 2 or 8."""
    marker = {1: size, 2: 126, 8: 127}[width]
    extended = b"" if width == 1 else size.to_bytes(width, "big")
    return bytes((0x80 | opcode, 0x80 | marker)) + extended + MASK + b"x" * size


@pytest.mark.parametrize(
    ("size", "width"),
    [(0, 1), (1, 1), (125, 1), (125, 2), (126, 2), (127, 2), (65_535, 2), (65_535, 8), (65_536, 8)],
)
def test_every_length_encoding_is_read(size: int, width: int) -> None:
    reader = Reader(65_536)
    reader.feed(lengths(BINARY, size, width) + masked(TEXT, b"next"))
    assert reader.next() == (BINARY, b"x" * size)
    assert reader.next() == (TEXT, b"next")
    assert reader.next() is None


@pytest.mark.parametrize(
    ("size", "head"),
    [
        (0, b"\x81\x00"),
        (125, b"\x81\x7d"),
        (126, b"\x81\x7e\x00\x7e"),
        (65_535, b"\x81\x7e\xff\xff"),
        (65_536, b"\x81\x7f\x00\x00\x00\x00\x00\x01\x00\x00"),
    ],
)
def test_a_frame_uses_the_shortest_length_encoding(size: int, head: bytes) -> None:
    assert frame(TEXT, b"x" * size) == head + b"x" * size


@pytest.mark.parametrize("opcode", [CLOSE, PING, PONG])
@pytest.mark.parametrize(("size", "valid"), [(125, True), (126, False)])
def test_a_control_payload_has_at_most_125_bytes(opcode: int, size: int, valid: bool) -> None:
    reader = Reader(10)  # the limit is for messages only
    reader.feed(lengths(opcode, size, 1 if valid else 2))
    if valid:
        assert reader.next() == (opcode, b"x" * size)
    else:
        with pytest.raises(Violation) as violation:
            reader.next()
        assert violation.value.code == 1002


@pytest.mark.parametrize("limit", [1, 125, 126, 65_536])
def test_a_message_may_reach_the_limit_but_not_exceed_it(limit: int) -> None:
    reader = Reader(limit)
    for _ in range(2):  # the limit applies to every message again
        reader.feed(masked(TEXT, b"x" * (limit - 1), fin=False))
        assert reader.next() == (CONTINUATION, b"")
        reader.feed(masked(CONTINUATION, b"y"))
        assert reader.next() == (TEXT, b"x" * (limit - 1) + b"y")
    reader.feed(masked(BINARY, b"x" * (limit + 1)))
    with pytest.raises(Violation) as violation:
        reader.next()
    assert violation.value.code == 1009


def test_an_incomplete_frame_stays_buffered() -> None:
    reader, data = Reader(100), masked(TEXT, b"hello")
    reader.feed(data[:3])
    assert (reader.next(), reader.buffered) == (None, 3)
    reader.feed(data[3:] + b"\x81")
    assert reader.buffered == len(data) + 1
    assert (reader.next(), reader.buffered) == ((TEXT, b"hello"), 1)
    assert (reader.next(), reader.buffered) == (None, 1)


def test_each_byte_is_unmasked_with_its_own_byte_of_the_mask() -> None:
    reader = Reader(100)
    reader.feed(raw(0x82, 0x85, b"\x01\x02\x04\x08", b"\x11\x12\x14\x18\x11"))
    assert reader.next() == (BINARY, b"\x10" * 5)


def test_a_violation_carries_its_code_and_reason() -> None:
    violation = Violation(CloseCode.MESSAGE_TOO_BIG, "why")
    assert (violation.code, str(violation)) == (1009, "why")


@pytest.mark.parametrize("code", [1000, 1011, 4999])
def test_a_close_frame_starts_with_its_code(code: int) -> None:
    assert close_frame(code, "why") == b"\x88\x05" + code.to_bytes(2, "big") + b"why"


def test_a_close_frame_without_a_status_is_empty() -> None:
    assert close_frame(1005, "ignored") == b"\x88\x00"
    assert parse_close(b"") == (1005, "")


def test_a_reason_of_123_bytes_fits_and_one_more_is_cut() -> None:
    assert close_frame(1000, "x" * 124) == close_frame(1000, "x" * 123)
    assert len(close_frame(1000, "x" * 123)) == 127
    assert parse_close(close_frame(1000, "é" * 62)[2:]) == (1000, "é" * 61)


@pytest.mark.parametrize(
    ("payload", "code", "reason"),
    [
        (b"\x03\xe8\xff", 1007, "UTF-8"),
        (b"\x03", 1002, "too short"),
        (b"\x03\xed", 1002, "status code"),
    ],
)
def test_an_invalid_close_payload_is_a_violation(payload: bytes, code: int, reason: str) -> None:
    with pytest.raises(Violation, match=reason) as violation:
        parse_close(payload)
    assert violation.value.code == code


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (raw(0xC1, 0x80, MASK), "reserved bits"),
        (raw(0x81, 0x00), "not masked"),
        (raw(0x83, 0x80, MASK), "unknown opcode 3"),
        (raw(0x09, 0x80, MASK), "control frame"),
        (FRAGMENT + FRAGMENT, "out of order"),
        (raw(0x82, 0xFF, struct.pack("!Q", LIMIT + 1)), f"exceeds {LIMIT} bytes"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",  # masks are random
)
def test_a_violation_names_its_reason(data: bytes, reason: str) -> None:
    reader = Reader(LIMIT)
    reader.feed(data)
    with pytest.raises(Violation, match=reason):
        while reader.next():
            pass


@pytest.mark.parametrize("size", SIZES)
def test_whole_text_is_what_the_reader_reads(size: int) -> None:
    assert whole_text(masked(TEXT, b"x" * size)) == (b"x" * size if size < 1 << 16 else None)


OTHERS = {
    "binary": masked(BINARY, b"x"),
    "control": masked(PING, b"x"),
    "first fragment": masked(TEXT, b"x", fin=False),
    "last fragment": masked(CONTINUATION, b"x"),
    "two": masked(TEXT, b"x") * 2,
    "unmasked": frame(TEXT, b"x" * 20),
    "long and unmasked": frame(TEXT, b"x" * 200),
    "reserved bit": bytes((0xC1,)) + masked(TEXT, b"x")[1:],
    "long for a short one": b"\x81\xfe" + bytes(130),
    "very long for a long one": b"\x81\xff" + (200).to_bytes(8) + bytes(204),
    "one byte": b"\x81",
}


@pytest.mark.parametrize("data", OTHERS.values(), ids=OTHERS)
def test_whole_text_leaves_everything_else_to_the_reader(data: bytes) -> None:
    assert whole_text(data) is None


@pytest.mark.parametrize("size", [1, 126, 300])
def test_whole_text_leaves_parts_of_a_frame_to_the_reader(size: int) -> None:
    data = masked(TEXT, b"x" * size)
    assert [end for end in range(1, len(data)) if whole_text(data[:end]) is not None] == []
    assert whole_text(data + b"x") is None
