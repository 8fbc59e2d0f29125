"""`tests/tools/catalogue_table.py` with an environment of the same shape as those of OpenEnv's catalogue."""

import os
import subprocess
import sys

from tests.helpers.local import new_address, ROOT
from tests.helpers.openenv_apps import APPS


def test_fifty_sessions_at_once_with_the_environments_own_client() -> None:
    argv = [
        sys.executable,
        ROOT / "tests/tools/catalogue_table.py",
        f"counting_env={sys.executable}",
    ]
    done = subprocess.run(
        [*argv, "--local-address", new_address()],
        env=os.environ | {"PYTHONPATH": str(APPS)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    _, row = (" ".join(line.split()) for line in done.stdout.splitlines() if line.strip())
    assert row.startswith("counting_env CountingEnv openenv 0.10.0 engine 50 of 50 2 4 ")
