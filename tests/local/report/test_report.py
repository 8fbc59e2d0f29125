"""Reports of real grids, as a person opens them: in a browser, without a network."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver

from tests.helpers.chromium import browsing
from tests.helpers.local import Deployment, launch
from tests.helpers.report_folders import beyond, Made

OFFLINE = "--host-resolver-rules=MAP * ~NOTFOUND"
SEEN = """
return [...document.querySelectorAll('figure')].map(figure => {
  const drawn = figure.querySelector('svg, img').getBoundingClientRect();
  const texts = [...figure.querySelectorAll('svg text')].map(text => text.getBoundingClientRect());
  return {
    id: figure.id, width: drawn.width, height: drawn.height,
    caption: figure.querySelector('figcaption').innerText,
    said: figure.querySelector('[role=img]').getAttribute('aria-label'),
    outside: texts.filter(box => box.left < drawn.left - 1 || box.right > drawn.right + 1).length,
  };
});
"""
WIDTHS = "return [document.documentElement.scrollWidth, window.innerWidth]"


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[webdriver.Chrome]:
    with browsing(tmp_path, OFFLINE) as driver:
        yield driver


def opened(browser: webdriver.Chrome, page: Path) -> list[dict[str, Any]]:
    """The figures of the page; the page asked for nothing and complained of nothing."""
    browser.get(page.as_uri())
    assert browser.execute_script("return performance.getEntriesByType('resource').length") == 0
    assert browser.get_log("browser") == []  # type: ignore[no-untyped-call]
    figures: list[dict[str, Any]] = browser.execute_script(SEEN)
    return figures


def assert_seen(figures: list[dict[str, Any]], *names: str) -> None:
    assert [figure["id"] for figure in figures] == [f"fig-{name}" for name in names]
    for number, figure in enumerate(figures, 1):
        assert figure["width"] > 500, figure["id"]
        assert figure["height"] > 80, figure["id"]
        assert figure["caption"].startswith(f"Figure {number}. ")
        assert len(figure["said"]) > 20
        assert figure["outside"] == 0, f"texts of {figure['id']} stand out of it"


USUAL = ("success", "p99", "latency", "heat", "open", "distribution")


def test_the_report_of_a_real_grid_is_seen_without_a_network(
    deployment: Deployment, tmp_path: Path, browser: webdriver.Chrome
) -> None:
    output = tmp_path / "a result"
    grid = ["--requests-grid", "4,16,64", "--wait-grid", "0.1,0.2", "--reps", "2"]
    argv = ["grid", "--url", deployment.url, *grid, "--expected-hosts", "2"]
    done = deployment.run(*argv, "--output-dir", str(output))
    assert done.returncode == 0, done.stderr
    as_recorded = (output / "summary.csv").read_bytes()

    reported = launch("report", str(output), cwd=tmp_path)
    assert reported.returncode == 0, reported.stderr
    assert reported.stderr == ""
    assert (output / "summary.csv").read_bytes() == as_recorded
    assert not (output / "summary.csv.before").exists()
    assert str(output / "report.html") in reported.stdout.splitlines()
    for name in USUAL:
        assert (output / "figures" / f"{name}.png").read_bytes().startswith(b"\x89PNG")

    assert_seen(opened(browser, output / "report.html"), *USUAL)
    verdict = text_of(browser, "verdict")
    assert "wait 0.1 s: at least 64 sessions" in verdict
    assert "All 12 cells are VALID." in verdict
    assert len(re.findall("VALID", text_of(browser, "all-cells"))) == 12
    run = json.loads((output / "run.json").read_text())
    assert run["run_id"] in browser.find_element("tag name", "body").text


def text_of(browser: webdriver.Chrome, name: str) -> str:
    text = browser.find_element("id", name).text
    return text.replace("\N{NO-BREAK SPACE}", " ")


def test_the_report_of_an_experiment_is_seen(tmp_path: Path, browser: webdriver.Chrome) -> None:
    folder = tmp_path / "experiment"
    for servers in (1, 2, 4):
        batches = tuple(servers * batch for batch in (64, 96, 128, 160))
        run_id, refused = f"r{servers}", beyond(100 * servers)
        Made(
            folder / f"nodes-{servers}", batches, (1.0, 5.0), 3, servers, refused, run_id=run_id
        ).write()
    reported = launch("report", str(folder), cwd=tmp_path)
    assert reported.returncode == 0, reported.stderr
    figures = opened(browser, folder / "report.html")
    assert_seen(figures, *USUAL, "scaling")
    assert "extrapolation" in figures[-1]["caption"]
    shown, wide = browser.execute_script(WIDTHS)
    assert shown <= wide
    links = browser.find_elements("css selector", "#environment a")
    assert [link.get_attribute("href") for link in links[:2]] == [
        (folder / "nodes-1" / name).as_uri() for name in ("raw.jsonl", "summary.csv")
    ]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_figures_are_as_light_or_dark_as_the_text(scheme: str, tmp_path: Path) -> None:
    folder = Made(tmp_path / "grid", invalid=[(512, 1.0, 1)]).write()
    assert launch("report", str(folder), cwd=tmp_path).returncode == 0
    preferred = f"--blink-settings=preferredColorScheme={int(scheme == 'light')}"
    with browsing(tmp_path, OFFLINE, preferred) as browser:
        opened(browser, folder / "report.html")
        ink, ground = browser.execute_script(
            "const of = (selector, property) => "
            "getComputedStyle(document.querySelector(selector))[property];"
            "return [of('#fig-success text', 'fill'), of('body', 'backgroundColor')]"
        )
    lights = [sum(map(int, re.findall(r"\d+", colour)[:3])) for colour in (ink, ground)]
    assert (lights[0] < lights[1]) == (scheme == "light")
    assert abs(lights[0] - lights[1]) > 400


def test_report_fails_with_one_line_without_results(tmp_path: Path) -> None:
    reported = launch("report", str(tmp_path), cwd=tmp_path)
    assert reported.returncode == 2
    (line,) = reported.stderr.splitlines()
    assert "holds no results" in line
    assert reported.stdout == ""
