"""Sessions that live across requests reach the worker that owns them through Envoy; pages stay on theirs."""

import contextlib
import hashlib
import itertools
import json
import socket
import uuid
from base64 import b64encode
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import requests
import websocket

from benchmark.server.engine.session_id import make
from tests.helpers.envoy import envoy_before, unhealthy
from tests.helpers.local import new_address, ROOT, Server, serving, wait_for

APP = ("--app", "tests.helpers.routing_app:app", "--drain", "0")
VARIABLES = {"WORKERS": 2, "PYTHONPATH": ROOT}
REFUSED = {"x-openenv-error": "CAPACITY_REACHED"}
COOKIE = "openenv-worker"


class Balanced:
    """Two servers of two workers each behind Envoy."""

    def __init__(self, url: str, servers: list[Server], log: Path) -> None:
        self.url = url
        self.log = log
        self.servers = servers
        self.workers = [(server.address, port) for server in servers for port in (8002, 8003)]

    @property
    def admin_url(self) -> str:
        return self.url.replace(":8000", ":9901")

    @property
    def names(self) -> set[str]:
        return {f"{address}:{port}" for address, port in self.workers}

    def call(self, session_id: object = None, /, **arguments: Any) -> str:
        params = {"name": "tool", "arguments": arguments, "session_id": session_id}
        return self.post({"jsonrpc": "2.0", "method": "tools/call", "params": params, "id": 1})

    def post(self, request: object) -> str:
        return self.send(json.dumps(request).encode())

    def send(self, body: Any, **headers: str) -> str:
        """The worker that has answered `POST /mcp`, and received the whole body."""
        done = requests.post(f"{self.url}/mcp", data=body, headers=headers, timeout=20)
        assert done.status_code == 200, done.text
        if isinstance(body, bytes):
            assert done.json()["digest"] == hashlib.sha256(body).hexdigest()
        return str(done.json()["worker"])

    def connect(self, path: str, **options: Any) -> str:
        """The worker that has accepted a WebSocket."""
        url = self.url.replace("http", "ws", 1) + path
        with contextlib.closing(websocket.create_connection(url, timeout=20, **options)) as opened:
            return str(json.loads(opened.recv())["worker"])


@contextlib.contextmanager
def balanced(folder: Path) -> Iterator[Balanced]:
    with (
        serving(folder, *APP, **VARIABLES) as one,
        serving(folder, *APP, **VARIABLES) as other,
        envoy_before([one, other], folder, workers=2) as url,
    ):
        yield Balanced(url, [one, other], folder / "envoy.log")


@pytest.fixture(scope="module")
def four(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Balanced]:
    with balanced(tmp_path_factory.mktemp("four")) as found:
        yield found


def test_connection_reaches_the_owner_of_its_session(four: Balanced) -> None:
    for owner in four.workers:
        paths = [f"/ws?session_id={make(*owner)}", f"/ws?a=b&session_id={make(*owner)}&c=d"]
        assert {four.connect(path) for path in paths * 50} == {"{}:{}".format(*owner)}


def test_call_reaches_the_owner_of_its_session(four: Balanced) -> None:
    for owner in four.workers:
        assert {four.call(make(*owner)) for _ in range(100)} == {"{}:{}".format(*owner)}


def test_large_call_reaches_the_owner_of_its_session(four: Balanced) -> None:
    large = 'a "quoted" \\ line {\n' * 250_000
    for owner in four.workers:
        found = {four.call(make(*owner), text=large) for _ in range(5)}
        assert found == {"{}:{}".format(*owner)}


def test_chunked_call_reaches_the_owner_of_its_session(four: Balanced) -> None:
    for owner in four.workers:
        text = json.dumps({"params": {"arguments": ["x"] * 100_000, "session_id": make(*owner)}})
        for size in (7, 1000, 65_536) if owner == four.workers[0] else (65_536,):
            pieces = (text[at : at + size].encode() for at in range(0, len(text), size))
            assert four.send(pieces) == "{}:{}".format(*owner)


def test_body_beyond_the_limit_is_refused_and_the_limit_is_that_of_a_message(
    four: Balanced,
) -> None:
    done = requests.post(f"{four.url}/mcp", data=b"x" * (16 * 1024 * 1024 + 1), timeout=20)
    assert done.status_code == 413
    assert four.send(b"x" * (16 * 1024 * 1024)) in four.names
    done = requests.post(f"{four.url}/reset", data=b"x" * (16 * 1024 * 1024 + 1), timeout=20)
    assert done.status_code == 200


@pytest.mark.parametrize(
    "text",
    [
        '{"params": {"session_id": "ID"}}',
        '{"params":{"session_id":"ID"},"id":1}',
        '\n{ "id" : 1 ,\t"params"\n:\t{ "a" : [ { "b" : [ ] } ] , "session_id" : "ID" } }',
        '{"params": {"arguments": {"session_id": "OTHER"}, "session_id": "ID"}}',
        '{"params": {"arguments": [{"params": {"session_id": "OTHER"}}], "session_id": "ID"}}',
        '{"session_id": "OTHER", "meta": {"session_id": "OTHER"}, "params": {"session_id": "ID"}}',
        '{"params": {"text": "\\"session_id\\": \\"OTHER\\"", "session_id": "ID"}}',
        '{"params": {"text": "}{][\\\\", "other": "\\\\\\"}", "session_id": "ID"}}',
        '{"a": "params", "params": {"b": "session_id", "session_id": "ID"}}',
        '{"params": {"name": "ü 漢字 🚀", "session_id": "ID"}}',
    ],
)
def test_session_is_found_in_any_json(four: Balanced, text: str) -> None:
    for owner, other in itertools.pairwise([*four.workers, four.workers[0]]):
        named = text.replace("ID", make(*owner)).replace("OTHER", make(*other)).encode()
        assert [four.send(named) for _ in range(3)] == ["{}:{}".format(*owner)] * 3


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{}",
        b"[",
        b'"',
        b'"\\',
        b"not JSON",
        b'{"params"',
        b'{"params":',
        b'{"params": {"session_id": 7}}',
        b'{"params": {"session_id": null}}',
        b'{"params": {"session_id": "',
        b'{"params": ["session_id"]}',
        b"\x00\xff\xfe",
        b"[" * 100_000,
        b"]" * 100_000,
    ],
)
def test_body_without_a_session_reaches_any_worker_unchanged(four: Balanced, text: bytes) -> None:
    assert len({four.send(text) for _ in range(12)}) > 1


def test_new_sessions_are_distributed(four: Balanced) -> None:
    create = {"method": "openenv/session/create", "params": {}}
    posted = Counter(four.post(create) for _ in range(40))
    opened = Counter(four.connect("/ws") for _ in range(40))
    assert posted.keys() == opened.keys() == four.names
    assert max(*posted.values(), *opened.values()) <= 14


def forged(four: Balanced, foreign: str) -> list[str]:
    a_uuid = uuid.uuid4()
    return [
        str(a_uuid),
        f"{a_uuid}.",
        f"{a_uuid}.999.999.999.999-8002",
        f"{a_uuid}.____-8002",
        f"{a_uuid}.127.0.0.1-99999",
        f"{a_uuid}.localhost-8002",
        f"{a_uuid}.{four.servers[0].address}-8000",
        f"{a_uuid}.{four.servers[0].address}-8001",
        f"{a_uuid}.{foreign}",
        "..",
        "x" * 5000,
        "%00",
        "' .. os.exit() .. '",
        make("fd00::1", 8002),
        make("10.255.255.1", 8002),
    ]


def test_forged_and_foreign_ids_reach_a_worker_and_connect_nowhere_else(four: Balanced) -> None:
    with socket.create_server((new_address(), 0)) as elsewhere:
        address, port = elsewhere.getsockname()
        for session_id in forged(four, f"{address}-{port}"):
            assert four.call(session_id) in four.names
            assert four.connect(f"/ws?session_id={quote(session_id)}") in four.names
        for value in (b"", f"{address}:{port}".encode(), b"\n\x10" + b"127.0.0.1:8002"):
            headers = {"cookie": f"{COOKIE}={b64encode(value).decode()}"}
            assert requests.get(f"{four.url}/web", headers=headers, timeout=20).ok
        elsewhere.settimeout(0)
        with pytest.raises(BlockingIOError):
            elsewhere.accept()
    assert "error" not in four.log.read_text()


def test_a_worker_that_refuses_a_new_session_is_skipped(four: Balanced) -> None:
    with refusing(four.workers[:3], 503, REFUSED) as before:
        found = {four.post({"method": "openenv/session/create"}) for _ in range(12)}
        assert found == {"{}:{}".format(*four.workers[3])}
    assert sum(map(asked, four.workers)) >= sum(before) + 3


def test_refusal_of_all_workers_reaches_the_client(four: Balanced) -> None:
    with refusing(four.workers, 503, REFUSED) as before:
        done = requests.post(f"{four.url}/mcp", json={}, timeout=20)
    assert (done.status_code, done.text) == (503, "refused")
    assert [asked(worker) for worker in four.workers] == [count + 1 for count in before]


@pytest.mark.parametrize("status", [500, 502, 503, 504, 429, 409, 404])
def test_other_answers_are_not_retried(four: Balanced, status: int) -> None:
    with refusing(four.workers, status, {}) as before:
        done = requests.post(f"{four.url}/mcp", json={}, timeout=20)
    assert done.status_code == status
    assert sum(map(asked, four.workers)) == sum(before) + 1


@contextlib.contextmanager
def refusing(
    workers: list[tuple[str, int]], status: int, headers: dict[str, str]
) -> Iterator[list[int]]:
    """Yields how many calls the workers had before."""
    try:
        yield [refuse(worker, status, headers) for worker in workers]
    finally:
        for worker in workers:
            refuse(worker, 0, {})


def refuse(worker: tuple[str, int], status: int, headers: dict[str, str]) -> int:
    url = "http://{}:{}/refuse".format(*worker)
    return int(requests.post(url, json=[status, headers], timeout=20).json())


def asked(worker: tuple[str, int]) -> int:
    return refuse(worker, 0, {})


BROWSER = {"accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


@pytest.mark.parametrize(
    ("path", "headers"), [("/", BROWSER), ("/own/page", BROWSER), ("/web", {}), ("/web/?a=b", {})]
)
def test_a_page_and_all_it_requests_stay_on_one_worker(
    four: Balanced, path: str, headers: dict[str, str]
) -> None:
    owners = set()
    for _ in range(12):
        with requests.Session() as browser:
            owner = browser.get(four.url + path, headers=headers, timeout=20).json()["worker"]
            (cookie,) = browser.cookies
            assert (cookie.name, cookie.path, cookie.expires) == (COOKIE, "/", None)
            for then in ("/web/assets/a.js", "/web/gradio_api/queue/join", "/reset"):
                done = browser.post(four.url + then, timeout=20)
                assert done.json()["worker"] == owner
                assert "set-cookie" not in done.headers
            sent = f"theme=dark; {cookie.name}={cookie.value}; other=1"
            assert {four.connect(to, cookie=sent) for to in ("/ws/ui", "/ws")} == {owner}
            owners.add(owner)
    assert len(owners) > 1


def test_cookie_ends_with_the_browser_and_is_hidden_from_scripts(four: Balanced) -> None:
    cookie = requests.get(f"{four.url}/web", timeout=20).headers["set-cookie"]
    value, *attributes = cookie.split("; ")
    assert value.startswith(f"{COOKIE}=")
    assert sorted(attributes) == ["HttpOnly", "Path=/", "SameSite=Lax"]


@pytest.mark.parametrize("cookies", [{}, {"session": "of-the-app"}])
@pytest.mark.parametrize("path", ["/health", "/metadata", "/website", "/reset", "/step", "/mcp"])
def test_clients_of_the_api_get_no_cookie_and_are_distributed(
    four: Balanced, path: str, cookies: dict[str, str]
) -> None:
    done = [requests.post(four.url + path, cookies=cookies, timeout=20) for _ in range(24)]
    assert {each.json()["worker"] for each in done} == four.names
    assert not any("set-cookie" in each.headers for each in done)


def test_connections_get_no_cookie(four: Balanced) -> None:
    for path in ("/ws", f"/ws?session_id={make(*four.workers[0])}"):
        url = four.url.replace("http", "ws", 1) + path
        with contextlib.closing(websocket.create_connection(url, timeout=20)) as opened:
            assert "set-cookie" not in opened.getheaders()


def test_requests_for_a_dead_worker_are_answered_by_another(tmp_path: Path) -> None:
    with balanced(tmp_path) as four, requests.Session() as browser:
        dead, alive = four.servers
        while not page_of(four, browser).startswith(f"{dead.address}:"):
            browser.cookies.clear()
        left = {f"{alive.address}:{port}" for port in (8002, 8003)}
        dead.stop()
        assert answering(four, dead) <= left  # Envoy does not know it yet
        page = page_of(four, browser)
        assert page in left
        assert {page_of(four, browser) for _ in range(10)} == {page}
        wait_for(lambda: unhealthy(four.admin_url) == {dead.address}, 5, "Envoy knows it")
        assert answering(four, dead) == left


def page_of(four: Balanced, browser: requests.Session) -> str:
    return str(browser.get(f"{four.url}/web/", timeout=20).json()["worker"])


def answering(four: Balanced, dead: Server) -> set[str]:
    """The workers that answer for sessions of a dead server."""
    ids = [make(dead.address, port) for port in (8002, 8003)] * 5
    called = {four.call(session_id) for session_id in ids}
    return called | {four.connect(f"/ws?session_id={session_id}") for session_id in ids}
