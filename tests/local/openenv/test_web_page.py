"""The web page of an unmodified OpenEnv app, made with Gradio, through Envoy: a visit stays on one worker."""

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import websocket
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support import expected_conditions as seen
from selenium.webdriver.support.wait import WebDriverWait

from tests.helpers.chromium import browsing
from tests.helpers.local import deployed, Deployment, wait_for
from tests.helpers.openenv_apps import APPS

PAGE_SECONDS = 30
# The page would ask other hosts for fonts and statistics.
ONLY_HERE = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.*"
COOKIE = "openenv-worker"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    folder = tmp_path_factory.mktemp("page")
    variables = {
        "PYTHONPATH": str(APPS),
        "ENABLE_WEB_INTERFACE": "true",
        "GRADIO_ANALYTICS_ENABLED": "False",
    }
    size = ("--nodes", "3", "--workers-per-node", "2", "--drain", "0")
    app = ("--app", "counting:asynchronous")
    with deployed(folder, "page", *size, *app, env=os.environ | variables) as deployment:
        yield deployment


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[webdriver.Chrome]:
    with browsing(tmp_path, ONLY_HERE) as browser:
        yield browser


def test_page_in_a_browser_steps_in_one_environment(
    page: Deployment, browser: webdriver.Chrome
) -> None:
    browser.get(page.url)
    click(browser, "Reset")
    wait_for(lambda: "new episode" in text(browser), PAGE_SECONDS, "the page shows an episode")
    for step in (1, 2, 3):
        click(browser, "Run step")
        wait_for(
            lambda step=step: text(browser).count("reward 0.5") == step,  # type: ignore[misc]
            PAGE_SECONDS,
            "the page shows the step",
        )
    # This environment belongs to the worker, so each answer comes from the worker that has stepped.
    assert [environment(browser)["total"] for _ in range(12)] == [3] * 12


def click(browser: webdriver.Chrome, name: str) -> None:
    button = (By.XPATH, f"//button[normalize-space()='{name}']")
    WebDriverWait(browser, PAGE_SECONDS).until(seen.element_to_be_clickable(button)).click()


def text(browser: webdriver.Chrome) -> str:
    return browser.find_element(By.TAG_NAME, "body").text


def environment(browser: webdriver.Chrome) -> dict[str, Any]:
    script = "const done = arguments[0]; fetch('/web/state').then(r => r.json()).then(done)"
    return dict(browser.execute_async_script(script))


def test_every_visit_stays_on_its_worker_and_visits_are_distributed(page: Deployment) -> None:
    workers = set()
    for _ in range(8):
        with requests.Session() as visit:
            assert "gradio" in visit.get(f"{page.url}/", timeout=20).text
            assert totals(visit, page.url) == [1, 2, 3, 4, 5, 6]
            (cookie,) = visit.cookies
            assert live_total(page.url, f"{COOKIE}={cookie.value}") == 6
            workers.add(cookie.value)
    assert len(workers) > 1


def totals(visit: requests.Session, url: str) -> list[int]:
    """What the steps of a new episode return."""
    visit.post(f"{url}/web/reset", json={}, timeout=20).raise_for_status()
    replies = [visit.post(f"{url}/web/step", json={"action": {}}, timeout=20) for _ in range(6)]
    return [reply.json()["observation"]["total"] for reply in replies]


def live_total(url: str, cookie: str) -> int:
    """What the socket of the page sends first."""
    address = url.replace("http", "ws", 1) + "/ws/ui"
    with contextlib.closing(
        websocket.create_connection(address, timeout=20, cookie=cookie)
    ) as socket:
        state = json.loads(socket.recv())["episode_state"]
    return int(state["current_observation"]["total"])
