"""`launcher ui` with its page in a real browser."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest
from selenium import webdriver
from selenium.common.exceptions import WebDriverException
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support import expected_conditions as seen
from selenium.webdriver.support.wait import WebDriverWait

from launcher.system.ports import free_port
from tests.helpers.chromium import browsing
from tests.helpers.local import (
    Deployment,
    get_json,
    launch,
    LAUNCHER,
    MARK,
    new_address,
    processes_of,
    wait_for,
)

PAGE_SECONDS = 30


@dataclass
class Page:
    """`launcher ui` as a process, with its output."""

    process: subprocess.Popen[str]
    address: str
    said: Path

    def stats(self) -> dict[str, Any]:
        return dict(get_json(f"{self.address}/stats/requests"))


@contextlib.contextmanager
def page_served(folder: Path, environment: dict[str, str], *arguments: str) -> Iterator[Page]:
    said = folder / "ui-stderr.txt"
    argv = [*LAUNCHER, "ui", *arguments]
    with (
        said.open("w") as errors,
        subprocess.Popen(
            argv, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=errors, text=True
        ) as process,
    ):
        try:
            assert process.stdout is not None
            address = process.stdout.readline().strip()
            assert address, said.read_text()
            yield Page(process, address, said)
        finally:
            if process.poll() is None:
                process.terminate()
                try:
                    process.wait(10)
                except subprocess.TimeoutExpired:
                    process.kill()


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[webdriver.Chrome]:
    with browsing(tmp_path) as driver:
        yield driver


def field(browser: webdriver.Chrome, name: str) -> WebElement:
    located = seen.visibility_of_element_located((By.NAME, name))
    return WebDriverWait(browser, PAGE_SECONDS).until(located, f"the field {name} is seen")


def fill(browser: webdriver.Chrome, **values: object) -> None:
    for name, value in values.items():
        field(browser, name).send_keys(Keys.CONTROL, "a", Keys.NULL, str(value))
        assert field(browser, name).get_attribute("value") == str(value)


def press(browser: webdriver.Chrome, text: str) -> None:
    def pressed(browser: webdriver.Chrome) -> bool:
        browser.find_element(By.XPATH, f"//button[normalize-space()='{text}']").click()
        return True

    # Buttons move while a section unfolds; a click that something else would get is refused.
    patient = WebDriverWait(browser, PAGE_SECONDS, ignored_exceptions=[WebDriverException])
    patient.until(pressed, f"the button {text} is pressed")


def users(browser: webdriver.Chrome) -> str:
    """The number of users in the header of the page; empty before the first."""
    shown = browser.find_elements(By.XPATH, "//header//p[.='Users']/following-sibling::*")
    return shown[0].text if shown else ""


def table(browser: webdriver.Chrome) -> dict[str, dict[str, str]]:
    """The statistics table of the page: column → text, by the name of the request."""
    rows: list[list[str]] = browser.execute_script(
        "return [...document.querySelectorAll('table tr')]"
        ".map(row => [...row.cells].map(cell => cell.innerText.trim()))"
    )
    columns, *requests = rows or [[]]
    return {cells[1]: dict(zip(columns, cells, strict=True)) for cells in requests}


def loaded(browser: webdriver.Chrome) -> dict[str, dict[str, str]] | Literal[False]:
    """The statistics once all users run and every part of a session has been counted."""
    shown = table(browser)
    counted = {name for name, row in shown.items() if int(row["# Requests"]) > 0}
    return {"connect", "reset", "step"} <= counted and users(browser) == "20" and shown


def start_form(browser: webdriver.Chrome, address: str) -> dict[str, str | None]:
    """Opens the page and its custom parameters; returns their values."""
    browser.get(address)
    press(browser, "Custom parameters")
    names = ("waitSeconds", "steps", "sessionTimeout")
    return {name: field(browser, name).get_attribute("value") for name in names}


def keep_picture(browser: webdriver.Chrome, picture: Path) -> None:
    assert browser.save_screenshot(str(picture))
    if copy := os.environ.get("UI_SCREENSHOT"):
        shutil.copyfile(picture, copy)


def test_page_starts_shows_and_stops_a_load(
    deployment: Deployment, mark: dict[str, str], tmp_path: Path, browser: webdriver.Chrome
) -> None:
    port = str(free_port("127.0.0.1"))
    options = ["--url", deployment.url, "--web-port", port, "--load-workers", "2"]
    with page_served(tmp_path, mark, *options) as page:
        assert page.address == f"http://127.0.0.1:{port}"
        wait_for(lambda: f"ssh -L {port}:127.0.0.1:{port} " in page.said.read_text(), 5, "ssh -L")

        defaults = start_form(browser, page.address)
        assert defaults == {"waitSeconds": "1", "steps": "1", "sessionTimeout": "120"}
        fill(browser, userCount=20, spawnRate=20, waitSeconds=0.1)
        press(browser, "Start")
        shown = WebDriverWait(browser, PAGE_SECONDS).until(loaded, "20 users and their requests")
        keep_picture(browser, tmp_path / "ui.png")
        assert {row["# Fails"] for row in shown.values()} == {"0"}
        assert 90 <= float(shown["step"]["Min (ms)"]) < 1000, "steps do not wait as the form says"

        press(browser, "Stop")
        wait_for(lambda: page.stats()["state"] == "stopped", 10, "the load has stopped")
        stats = page.stats()
        assert stats["errors"] == []
        assert {row["num_failures"] for row in stats["stats"]} == {0}

        page.process.send_signal(signal.SIGINT)
        assert page.process.wait(PAGE_SECONDS) == 0
        assert processes_of(mark[MARK]) == []


def test_ui_names_the_process_that_has_taken_the_web_port(
    deployment: Deployment, mark: dict[str, str], tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        options = ["--url", deployment.url, "--web-port", port]
        refused = launch("ui", *options, cwd=tmp_path, env=mark)
    assert refused.returncode == 1
    (line,) = refused.stderr.splitlines()
    assert f"port {port} on 127.0.0.1" in line
    assert f"pid {os.getpid()} " in line
    assert refused.stdout == ""


def test_ui_fails_when_the_url_does_not_answer(mark: dict[str, str], tmp_path: Path) -> None:
    url = f"http://{new_address()}:8000"
    refused = launch("ui", "--url", url, cwd=tmp_path, env=mark)
    assert refused.returncode != 0
    (line,) = refused.stderr.splitlines()
    assert f"{url} does not answer" in line
    assert "Traceback" not in line
    assert refused.stdout == ""
