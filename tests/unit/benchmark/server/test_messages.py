"""Replies have the bytes of pydantic's encoder, which OpenEnv's server uses, whichever encoder wrote them."""

import datetime
import enum
import random
import struct
import uuid
from collections import namedtuple
from decimal import Decimal
from typing import Any

import pytest
from pydantic_core import PydanticSerializationError, to_json

from benchmark.server import messages


class Colour(enum.Enum):
    RED = "rot"


class Text(str): ...


class Number(int): ...


Point = namedtuple("Point", "x y")
UTC = datetime.UTC
ODD_VALUES = (
    *(float("nan"), float("inf"), -0.0, 1e16, 5e-324, 2**53 + 1, 2**64, -(2**70)),
    *('\x7f\u2028/\\"\x1f\U0001f600', "", True, None, (1, "a"), [], {}, {"": {}}),
    *(Colour.RED, Text("a"), Number(3), Point(1, 2), uuid.UUID(int=5), Decimal("1.50"), b"ab"),
    *(datetime.datetime(2026, 1, 1, tzinfo=UTC), datetime.date(2026, 1, 1)),
    *(datetime.timedelta(3), {1, 2}, {1: "a"}, {Colour.RED: 1}, {None: 1}),
)


def expected(value: Any) -> bytes:
    return to_json(value, by_alias=False, inf_nan_mode="null")


@pytest.mark.parametrize("value", ODD_VALUES, ids=repr)
def test_a_reply_is_encoded_as_pydantic_does(value: Any) -> None:
    message = {"type": "observation", "data": {"observation": [value, {"nested": value}]}}
    assert messages.encode(message) == expected(message)


def test_numbers_are_written_as_pydantic_does() -> None:
    bits = random.Random(1)
    numbers = [struct.unpack("<d", bits.randbytes(8))[0] for _ in range(20_000)]
    numbers += [bits.uniform(-1, 1) * 10.0 ** bits.randint(-12, 25) for _ in range(20_000)]
    message = {"type": "state", "data": numbers}
    assert messages.encode(message) == expected(message)


@pytest.mark.parametrize("value", [object(), "\ud800", b"\xff"], ids=repr)
def test_what_has_no_json_form_fails_as_in_pydantic(value: Any) -> None:
    message = {"type": "observation", "data": value}
    with pytest.raises((PydanticSerializationError, UnicodeEncodeError)) as reference:
        expected(message)
    with pytest.raises(type(reference.value), match=str(reference.value)[:20]):
        messages.encode(message)
