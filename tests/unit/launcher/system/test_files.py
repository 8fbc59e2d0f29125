import subprocess
import sys
from pathlib import Path

import pytest

from launcher.errors import UsageError
from launcher.system.files import lock


def test_a_lock_excludes_another_process_until_the_file_is_closed(tmp_path: Path) -> None:
    file = tmp_path / "lock"
    attempt = (
        "import sys; from pathlib import Path; from launcher.system.files import lock\n"
        "with Path(sys.argv[1]).open('a') as file: lock(file, 'it is busy')"
    )
    argv = (sys.executable, "-c", attempt, str(file))
    with file.open("a") as held:
        lock(held, "never raised")
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        assert done.stderr.splitlines()[-1] == "launcher.errors.UsageError: it is busy"
    subprocess.run(argv, check=True)


def test_a_lock_is_refused_with_the_given_text(tmp_path: Path) -> None:
    with (tmp_path / "lock").open("a") as first, (tmp_path / "lock").open("a") as second:
        lock(first, "never raised")
        with pytest.raises(UsageError, match=r"^it is busy$"):
            lock(second, "it is busy")
