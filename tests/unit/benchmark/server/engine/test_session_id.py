"""The ids of sessions that live across requests."""

import uuid
from urllib.parse import quote, urlencode

import pytest

from benchmark.server.engine.session_id import make, owner

ID = str(uuid.UUID(int=1, version=4))


@pytest.mark.parametrize(
    ("ip", "known"),
    [
        ("127.0.0.3", "127.0.0.3"),
        ("255.255.255.255", "255.255.255.255"),
        ("::1", "::1"),
        ("fd00::a:1", "fd00::a:1"),
        ("FD00:0:0:0:0:0:A:1", "fd00::a:1"),
        ("fe80::1%eth0", "fe80::1"),
        ("::ffff:10.0.0.7", "10.0.0.7"),
        ("2001:db8:ffff:ffff:ffff:ffff:ffff:ffff", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff"),
    ],
)
@pytest.mark.parametrize("port", [1, 8002, 65_535])
def test_an_id_names_its_owner(ip: str, known: str, port: int) -> None:
    assert owner(make(ip, port)) == (known, port)


@pytest.mark.parametrize("ip", ["127.0.0.3", "fd00::a:1"])
def test_an_id_is_the_same_in_a_url(ip: str) -> None:
    made = make(ip, 8002)
    assert quote(made, safe="") == made
    assert urlencode({"session_id": made}) == f"session_id={made}"


def test_an_id_cannot_be_guessed() -> None:
    made = [make("127.0.0.3", 8002).partition(".")[0] for _ in range(1000)]
    assert {uuid.UUID(each).version for each in made} == {4}
    assert len(set(made)) == 1000
    assert len({each[0] for each in made}) == 16


@pytest.mark.parametrize("ip", ["", "node-1", "127.0.0.1:8002", "127.0.0.1_8002"])
def test_an_owner_has_an_address(ip: str) -> None:
    with pytest.raises(ValueError, match="does not appear to be an IPv4 or IPv6 address"):
        make(ip, 8002)


@pytest.mark.parametrize(
    "foreign",
    [
        "",
        ID,
        f"{ID}.",
        f"{ID}.127.0.0.3",
        f"{ID}.127.0.0.3-",
        f"{ID}.127.0.0.3-0",
        f"{ID}.127.0.0.3-08002",
        f"{ID}.127.0.0.3-65536",
        f"{ID}.127.0.0.3-8002 ",
        f"{ID}.127.0.0.3-8002\n",
        f" {ID}.127.0.0.3-8002",
        f"{ID}.127.0.0.3-٨٠٠٢",
        f"{ID}.127.0.0.3:8002",
        f"{ID}.127.0.0.256-8002",
        f"{ID}.127.0.0.03-8002",
        f"{ID}.127.1-8002",
        f"{ID}._-8002",
        f"{ID}.fd00__a__1-8002",
        f"{ID}.fd00_0_0_0_0_0_a_1-8002",
        f"{ID}.node-1-8002",
        f"{ID}.127.0.0.3-8002.127.0.0.4-8002",
        f"A{ID[1:]}.127.0.0.3-8002",
        f"{ID.replace('-4', '-1')}.127.0.0.3-8002",
        ".127.0.0.3-8002",
        "x" * 100_000,
    ],
)
def test_a_forged_or_foreign_id_has_no_owner(foreign: str) -> None:
    assert owner(foreign) is None
