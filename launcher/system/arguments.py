"""The values of `--env NAME=VALUE` on this process's own command line."""

import contextlib
from collections.abc import Callable, Iterable
from itertools import islice
from pathlib import Path

OPTION = "--env"
HIDDEN = "*"


def hide_values() -> None:
    """Overwrites the values where `ps` reads the command line of this process (proc(5)); `sys.argv`
    keeps them."""
    with contextlib.suppress(OSError):
        arguments = Path("/proc/self/cmdline").read_bytes().decode("latin-1")
        shown = "\0".join(without_values(arguments.split("\0"), lambda value: HIDDEN * len(value)))
        if shown == arguments:
            return
        # The fields after the name of the program, which may contain anything, start with field 3.
        fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
        with Path("/proc/self/mem").open("r+b", buffering=0) as memory:
            memory.seek(int(fields[48 - 3]))  # arg_start
            memory.write(shown.encode("latin-1"))


def without_values(
    arguments: Iterable[str], replaced: Callable[[str], str] = lambda _: HIDDEN * 3
) -> list[str]:
    """The arguments with `replaced` values; those after `--` belong to the user's command."""
    shown: list[str] = []
    rest = iter(arguments)
    for argument in rest:
        if argument == "--":
            return [*shown, argument, *rest]
        if argument == OPTION:
            shown += [argument, *(_replace(value, replaced) for value in islice(rest, 1))]
        elif argument.startswith(f"{OPTION}="):
            shown.append(f"{OPTION}={_replace(argument.partition('=')[2], replaced)}")
        else:
            shown.append(argument)
    return shown


def _replace(assignment: str, replaced: Callable[[str], str]) -> str:
    name, equals, value = assignment.partition("=")
    return f"{name}{equals}{replaced(value)}" if equals else name
