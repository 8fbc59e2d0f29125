"""Types of the values on the command line."""

from typing import Any

import click
import pytest

from launcher.cli.parameters import (
    CommaSeparated,
    Integer,
    KeyValue,
    Number,
    Seconds,
    ServerURL,
    Size,
)

INTEGERS = CommaSeparated(Integer(1, 1000))
SECONDS = CommaSeparated(Seconds(0, 1000))


def refusal(kind: click.ParamType[Any], value: str) -> str:
    with pytest.raises(click.BadParameter) as refused:
        kind.convert(value, None, None)
    return refused.value.message


@pytest.mark.parametrize(
    ("value", "integers"),
    [
        ("32", (32,)),
        ("32,128", (32, 128)),
        ("128,32", (128, 32)),
        (" 32 , 128 ", (32, 128)),
        ("32,128,", (32, 128)),
        ("1,1000", (1, 1000)),
    ],
)
def test_a_list_keeps_its_order(value: str, integers: tuple[int, ...]) -> None:
    assert INTEGERS.convert(value, None, None) == integers


def test_a_list_of_seconds_may_have_fractions() -> None:
    assert SECONDS.convert("0,0.5,1e2", None, None) == (0.0, 0.5, 100.0)


@pytest.mark.parametrize("value", [(1, 2), [1, 2], "1,2"])
def test_a_list_accepts_what_was_saved_of_it(value: Any) -> None:
    assert INTEGERS.convert(value, None, None) == (1, 2)


@pytest.mark.parametrize("value", ["", " ", ",", " , ,"])
def test_an_empty_list_is_refused(value: str) -> None:
    assert refusal(INTEGERS, value) == "it is empty; give one or more values, separated by commas"


@pytest.mark.parametrize(("value", "twice"), [("5,5", "5"), ("1,2,1", "1")])
def test_a_list_with_a_value_twice_is_refused(value: str, twice: str) -> None:
    assert refusal(INTEGERS, value) == f"it contains {twice} more than once"


def test_a_list_compares_values_not_words() -> None:
    assert refusal(SECONDS, "1,0,0.0") == "it contains 0 more than once"


@pytest.mark.parametrize("word", ["many", "1.5", "1e3", "1 2", "0x10", "nan", "-1", "0", "1001"])
def test_an_integer_is_refused_with_its_range(word: str) -> None:
    assert refusal(INTEGERS, f"1,{word}") == f"{word!r} is not a whole number from 1 to 1,000"


@pytest.mark.parametrize("word", ["many", "1.5.", "1s", "-0.5", "nan", "inf", "-inf", "1000.1"])
def test_a_number_is_refused_with_its_range(word: str) -> None:
    assert refusal(SECONDS, f"1,{word}") == f"{word!r} is not a number from 0 to 1,000"


@pytest.mark.parametrize("value", ["0", "-1", "inf", "nan"])
def test_a_number_above_an_open_end_has_no_upper_bound_but_is_finite(value: str) -> None:
    kind = Number(0, min_open=True)
    assert refusal(kind, value) == f"{value!r} is not a number above 0"
    assert kind.convert("1e-9", None, None) == 1e-9
    assert kind.convert("1e9", None, None) == 1e9


@pytest.mark.parametrize(("value", "accepted"), [("1", 1), ("4096", 4096)])
def test_the_ends_of_a_range_belong_to_it(value: str, accepted: int) -> None:
    assert Integer(1, 4096).convert(value, None, None) == accepted


def test_a_bound_is_written_out() -> None:
    assert refusal(Integer(1, 10_000_000), "0").endswith("from 1 to 10,000,000")
    assert refusal(Number(0.001, 1), "0").endswith("from 0.001 to 1")


@pytest.mark.parametrize(
    ("value", "size"),
    [("64G", 64 << 30), ("64g", 64 << 30), ("64GB", 64 << 30), ("1K", 1024), ("3", 3 << 20)],
)
def test_a_size_is_written_as_slurm_writes_it(value: str, size: int) -> None:
    assert Size().convert(value, None, None) == size


@pytest.mark.parametrize("value", ["", "G", "0", "0G", "-1G", "1.5G", "64P", "big"])
def test_a_size_that_slurm_would_not_take_is_refused(value: str) -> None:
    assert refusal(Size(), value) == f"{value!r} is not a size such as 64G"


def test_a_pair_is_divided_at_its_first_equals_sign() -> None:
    assert KeyValue().convert("KEY=a=b", None, None) == ("KEY", "a=b")
    assert KeyValue().convert("KEY=", None, None) == ("KEY", "")


@pytest.mark.parametrize("value", ["KEY", "=value", ""])
def test_a_pair_needs_a_key_and_an_equals_sign(value: str) -> None:
    assert refusal(KeyValue(), value) == f"{value!r} is not of the form KEY=VALUE"


@pytest.mark.parametrize(
    ("given", "used"),
    [
        ("http://n1:8000", "http://n1:8000"),
        ("http://n1:8000/", "http://n1:8000"),
        ("http://n1:8000/path/", "http://n1:8000/path"),
        ("ws://n1:8000", "http://n1:8000"),
        ("http://n1", "http://n1:80"),
        ("http://n1/", "http://n1:80"),
        ("http://n1:", "http://n1:80"),
        ("http://127.0.0.2:8000", "http://127.0.0.2:8000"),
        ("http://[::1]:8000", "http://[::1]:8000"),
        ("http://[::1]", "http://[::1]:80"),
    ],
)
def test_urls_become_http_with_a_port_and_no_slash(given: str, used: str) -> None:
    assert ServerURL().convert(given, None, None) == used


@pytest.mark.parametrize("url", ["https://n1", "wss://n1:8000"])
def test_urls_with_tls_are_refused(url: str) -> None:
    message = f"{url!r} is not an http:// or ws:// URL; TLS is not supported"
    assert refusal(ServerURL(), url) == message


@pytest.mark.parametrize(
    "url", ["", "n1", "n1:8000", "http://", "http://:8000", "/path", "ftp://n1"]
)
def test_urls_without_scheme_or_host_are_refused(url: str) -> None:
    assert refusal(ServerURL(), url) == f"{url!r} is not an http:// or ws:// URL"


@pytest.mark.parametrize("port", ["x", "70000", "-1", "80 "])
def test_urls_with_a_bad_port_are_refused(port: str) -> None:
    message = f"'http://n1:{port}' is not a URL, or its port is not a number up to 65535"
    assert refusal(ServerURL(), f"http://n1:{port}") == message
