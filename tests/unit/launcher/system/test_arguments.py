"""The values of --env on a command line."""

import subprocess
import sys
from pathlib import Path

import pytest

from launcher.system.arguments import without_values

ROOT = Path(__file__).parents[4]
SHOW = """\
import sys
from pathlib import Path
from launcher.system.arguments import hide_values
hide_values()
print(Path("/proc/self/cmdline").read_bytes().split(b"\\0")[:-1][3:])
print(sys.argv[1:])
"""


@pytest.mark.parametrize(
    ("argv", "shown"),
    [
        (["up", "--env", "A=b=c", "--local"], ["up", "--env", "A=***", "--local"]),
        (["--env=A=b", "--env=B", "--env", "C"], ["--env=A=***", "--env=B", "--env", "C"]),
        (["--env"], ["--env"]),
        (["--env", "--env=A=b"], ["--env", "--env=***"]),
        (["--env-file=a", "--envoy-port", "1"], ["--env-file=a", "--envoy-port", "1"]),
        (["--env", "A=b", "--", "--env", "C=d"], ["--env", "A=***", "--", "--env", "C=d"]),
    ],
)
def test_values_are_replaced(argv: list[str], shown: list[str]) -> None:
    assert without_values(argv) == shown


def test_ps_shows_stars_and_the_program_still_has_the_values() -> None:
    argv = ["--env", "A=wörd", "--env=B=c d", "--env=C", "--", "--env=D=e"]
    done = subprocess.run(
        [sys.executable, "-c", SHOW, *argv], cwd=ROOT, capture_output=True, text=True, check=True
    )
    shown, kept = done.stdout.splitlines()
    assert kept == str(argv)
    expected = ["--env", "A=*****", "--env=B=***", "--env=C", "--", "--env=D=e"]
    assert shown == str([word.encode() for word in expected])
