"""The releases of OpenEnv that are tested, each in a Python environment of its own with the kit."""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.helpers.local import ROOT
from tests.helpers.openenv_apps import APPS

OLD_FOLDER = ROOT / ".venv" / "openenv-0.3"


@dataclass(frozen=True)
class Release:
    package: str  # with its version, as it is installed from PyPI
    python: Path


NEW = Release("openenv 0.10.0", Path(sys.executable))
OLD = Release("openenv-core 0.3.0", OLD_FOLDER / "bin" / "python")


def install_old() -> None:
    """For tests that are started by hand: `make test` has done it."""
    stamp = OLD_FOLDER / ".installed"
    if not stamp.exists():
        make = ["make", "--directory", ROOT, stamp.relative_to(ROOT)]
        subprocess.run(make, check=True, timeout=170)


class Clients:
    """A process that opens sessions with the clients of a release."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process

    def open(self, client: str, url: str, sessions: int) -> Any:
        """The client's class and the release, when every session is open."""
        return self._ask([client, url, sessions])

    def step(self) -> Any:
        """What three steps of every session returned."""
        return self._ask("step")

    def _ask(self, question: object) -> Any:
        assert self.process.stdin
        assert self.process.stdout
        print(json.dumps(question), file=self.process.stdin, flush=True)
        answer = self.process.stdout.readline()
        assert answer, "the clients have exited; their error is in the output of the test"
        return json.loads(answer)


@contextlib.contextmanager
def clients_of(release: Release, folder: Path) -> Iterator[Clients]:
    """Its package `counting_env` is installed as far as AutoEnv looks: by its metadata."""
    metadata = folder / "openenv_counting_env-1.0.dist-info" / "METADATA"
    metadata.parent.mkdir()
    metadata.write_text("Metadata-Version: 2.1\nName: openenv-counting_env\nVersion: 1.0\n")
    # AutoEnv remembers in these folders what is installed.
    environment = os.environ | {
        "PYTHONPATH": f"{APPS}:{folder}",
        "XDG_CACHE_HOME": str(folder),
        "TMPDIR": str(folder),
    }
    argv = [release.python, "-P", APPS / "clients.py"]
    pipes: Mapping[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(argv, env=environment, **pipes) as process:
        try:
            yield Clients(process)
        finally:
            process.terminate()
