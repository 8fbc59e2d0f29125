"""What is said about the app of a deployment, in apps that are imported in a process of their own."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmark.server.describe import Description
from launcher.checks.app import describe, finding, sessions, summary
from launcher.deployment.spec import Deployment
from launcher.runtimes.findings import Verdict

LIMITED = Description("a:b", "Chess", 4)
APPS = Path(__file__).parents[3] / "helpers" / "apps"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(APPS))
    return tmp_path


def deployment(app: str, **fields: Any) -> Deployment:
    return Deployment(app=app, local=True, **fields)


@pytest.mark.parametrize(
    ("fields", "verdict", "detail"),
    [
        ({}, Verdict.OK, "Chess of a:b allows 4 session(s) in a worker"),
        ({"max_concurrent_envs": 4}, Verdict.OK, "a worker"),
        ({"max_concurrent_envs": 5}, Verdict.WARN, "in a worker, not 5"),
        ({"max_concurrent_envs": 5, "sessions": 9}, Verdict.OK, "in a worker"),
    ],
)
def test_a_limit_below_the_places_that_were_asked_for_is_a_warning(
    fields: dict[str, Any], verdict: Verdict, detail: str
) -> None:
    found = finding(LIMITED, Deployment(**fields))
    assert found.verdict is verdict
    assert found.detail.endswith(detail)


def test_an_unknown_limit_is_a_warning() -> None:
    found = finding(Description("a:b", unknown="it has no code"), Deployment())
    assert found.verdict is Verdict.WARN
    assert found.detail == "the limit of a:b is unknown: it has no code"


def test_no_process_describes_the_environment_of_this_package() -> None:
    assert summary(describe(Deployment())) == (
        "WaitEnvironment of benchmark.server.app:app sets no limit of its own"
    )


def test_an_app_is_described_by_its_import(here: Path) -> None:
    found = describe(deployment("constructors:alone"))
    assert (found.environment, found.sessions, found.unknown) == ("Alone", 1, "")
    assert found.import_seconds > 0
    assert describe(deployment("constructors:several")).sessions == 5


def test_an_app_that_limits_itself_to_the_places_has_no_limit(here: Path) -> None:
    found = describe(deployment("counting:blocking"))
    assert (found.environment, found.sessions, found.unknown) == ("ThreadBound", None, "")


def test_what_an_import_prints_and_leaves_behind_does_not_matter(here: Path) -> None:
    (here / "loud.py").write_text(
        "import threading\nprint('hello')\n"
        "threading.Thread(target=threading.Event().wait).start()\napp = print\n"
    )
    found = describe(deployment("loud:app"))
    assert found.unknown == "its own code serves its sessions: it has no OpenEnv server at /ws"


def test_an_app_that_cannot_be_imported_here_is_reported_when_its_limit_matters(here: Path) -> None:
    lines: list[str] = []
    assert sessions(deployment("nowhere:app"), lines.append) is None
    assert lines == []
    assert sessions(deployment("nowhere:app", sessions=5), lines.append) is None
    assert len(lines) == 1
    assert "the limit of nowhere:app is unknown: it cannot be imported on " in lines[0]
    assert 'Could not import module "nowhere"' in lines[0]


def test_an_import_that_takes_too_long_names_its_line(here: Path) -> None:
    (here / "endless.py").write_text("import threading\n\nthreading.Event().wait()\n")
    code = "from benchmark.server import describe\ndescribe.IMPORT_SECONDS = 0.5\ndescribe.main()\n"
    argv = [sys.executable, "-c", code, "--app", "endless:app"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("error: endless:app has not been imported after 0.5 s; it is at ")
    assert "threading.py:" in done.stderr
