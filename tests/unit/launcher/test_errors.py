"""The tree of errors and the exit codes."""

import importlib
import re
import signal
from collections.abc import Iterator
from pathlib import Path

from launcher import errors

ROOT = Path(errors.__file__).parents[1]


def subclasses(kind: type[errors.LauncherError]) -> Iterator[type[errors.LauncherError]]:
    for child in kind.__subclasses__():
        yield child
        yield from subclasses(child)


def test_the_docstring_shows_every_error_below_its_cause() -> None:
    for file in (ROOT / "launcher").rglob("*.py"):
        if re.search(r"\((LauncherError|UsageError|CommandFailed)\):", file.read_text()):
            importlib.import_module(".".join(file.relative_to(ROOT).with_suffix("").parts))
    shown: dict[str, int] = {}
    for line in (errors.__doc__ or "").splitlines():
        if found := re.match(r"([│├└─ ]+)(\w+)", line):
            shown[found[2]] = len(found[1])
    found_errors = {
        each.__name__: each
        for each in subclasses(errors.LauncherError)
        if each.__module__.startswith("launcher.")
    }
    assert set(shown) == set(found_errors)
    for name, each in found_errors.items():
        parent = shown.get(each.__mro__[1].__name__, 0)
        assert shown[name] == parent + 4, name


def test_only_wrong_usage_exits_with_2() -> None:
    codes = {each.__name__: each.exit_code for each in subclasses(errors.LauncherError)}
    assert {name for name, code in codes.items() if code == 2} >= {"UsageError", "NotAnImage"}
    assert {codes[name] for name in ("PortTaken", "StartFailed", "SlurmFailed")} == {1}


def test_exit_codes_of_signals_are_those_of_a_shell() -> None:
    assert errors.SIGNAL_BASE + signal.SIGINT == errors.INTERRUPTED == 130
    assert errors.SIGNAL_BASE + signal.SIGPIPE == errors.BROKEN_PIPE == 141
