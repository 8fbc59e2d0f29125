"""The command line: parses, calls once, prints; errors are one line and an exit code."""

import argparse
import configparser
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from sandbox import enter, host, lifecycle, network, paths, root
from sandbox.errors import SandboxError, UsageError

NAME = "sandbox"
Call = Callable[[argparse.Namespace], int]


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:  # as nohup wants it
            signal.signal(number, interrupt)
    os.umask(0o022)
    try:
        host.check()
        return int(options.call(options))
    except SandboxError as failure:
        say(f"error: {failure}")
        return failure.exit_code
    except (OSError, subprocess.CalledProcessError, configparser.Error) as failure:
        say(f"error: {failure}")  # the disk is full, this machine forbids namespaces…
        return 1
    except Interrupted as signalled:
        say("interrupted")
        return 128 + signalled.number


class Interrupted(BaseException):
    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def interrupt(number: int, _: object) -> NoReturn:
    raise Interrupted(number)


def say(text: str) -> None:
    sys.stderr.write(f"{text}\n")


def parser() -> argparse.ArgumentParser:
    program = argparse.ArgumentParser(
        prog="sandbox", description="A Slurm cluster without a cluster, on this machine."
    )
    commands = program.add_subparsers(required=True, metavar="COMMAND")
    named = argparse.ArgumentParser(add_help=False)
    named.add_argument("--name", type=name, default=NAME, help="which sandbox [%(default)s]")

    def add(call: Call, text: str, **options: Any) -> argparse.ArgumentParser:
        command = commands.add_parser(call.__name__, help=text, description=text, **options)
        command.set_defaults(call=call)
        return command

    command = add(up, "start a login node and nodes", parents=[named])
    command.add_argument("--nodes", type=number_of_nodes, default=5, help="how many [%(default)s]")
    command.add_argument(
        "--cpu-quota", type=cores, metavar="CORES", help="processor time of each node, such as 0.2"
    )
    command.add_argument(
        "--no-quota",
        action="append",
        default=[],
        metavar="NODE",
        help="a node that --cpu-quota leaves alone; repeatable",
    )
    command.add_argument(
        "--venv",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="install the project in a virtual environment",
    )
    add(shell, "a shell on the login node", parents=[named])
    command = add(run, "run one command", parents=[named], usage="%(prog)s [options] -- COMMAND...")
    command.add_argument("--node", default=network.LOGIN, help="where [%(default)s]")
    command.add_argument("--user", choices=[paths.USER, "root"], default=paths.USER, help="as whom")
    command.add_argument("--cwd", help="in which folder [the project's]")
    command.add_argument("--online", action="store_true", help="in this machine's own network")
    command.add_argument("command", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    for call, text in ((kill, "a node dies at once"), (start, "a killed node comes back")):
        add(call, text, parents=[named]).add_argument("node")
    add(down, "stop everything and leave nothing", parents=[named])
    add(status, "which sandboxes and nodes are up")
    command = add(cache, "where the roots, virtual environments and images are kept")
    command.add_argument("--clear", action="store_true", help="remove them")
    return program


def name(text: str) -> str:
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,30}", text):
        raise argparse.ArgumentTypeError(f"{text!r}: letters a-z, digits and dashes only")
    return text


def number_of_nodes(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= network.MOST_NODES:
        raise argparse.ArgumentTypeError(f"{text!r}: 1 to {network.MOST_NODES} nodes")
    return int(text)


def cores(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0.01 <= value <= 1024:
        raise argparse.ArgumentTypeError(f"{text!r}: a number of cores such as 0.2")
    return value


def up(options: argparse.Namespace) -> int:
    for node in set(options.no_quota) - set(network.node_names(options.nodes)):
        raise UsageError(f"--no-quota {node}: there is no such node")
    free = tuple(options.no_quota)
    settings = lifecycle.Settings(options.nodes, options.cpu_quota, free, options.venv)
    lifecycle.up(paths.Folder(options.name), settings, say)
    return 0


def shell(options: argparse.Namespace) -> int:
    return _enter(options.name, enter.Command(["bash", "--login"]))


def run(options: argparse.Namespace) -> int:
    argv = options.command[1:] if options.command[:1] == ["--"] else options.command
    if not argv:
        raise UsageError("which command? run [options] -- COMMAND...")
    command = enter.Command(argv, options.node, options.user, options.cwd, options.online)
    return _enter(options.name, command)


def _enter(name: str, command: enter.Command) -> int:
    folder = paths.Folder(name)
    if command.node not in lifecycle.states(folder):
        raise UsageError(f"no node {command.node!r} in the sandbox {name!r}: see `status`")
    return enter.run(folder, command)


def kill(options: argparse.Namespace) -> int:
    lifecycle.kill(paths.Folder(options.name), options.node)
    return 0


def start(options: argparse.Namespace) -> int:
    lifecycle.start(paths.Folder(options.name), options.node)
    return 0


def down(options: argparse.Namespace) -> int:
    if not lifecycle.down(paths.Folder(options.name)):
        say(f"no sandbox named {options.name!r} is up")
    return 0


def status(_: argparse.Namespace) -> int:
    if not lifecycle.all_folders():
        say("no sandbox is up")
    for folder in lifecycle.all_folders():
        for node, is_up in lifecycle.states(folder).items():
            sys.stdout.write(f"{folder.name}  {node:8}{'up' if is_up else 'down'}\n")
    return 0


def cache(options: argparse.Namespace) -> int:
    folders = [paths.cache() / "sandbox", paths.images()]
    if options.clear and lifecycle.all_folders():
        raise UsageError("a sandbox is up and uses the cache: `down` it first")
    for folder in folders:
        if options.clear:
            root.remove(folder)
        else:
            sys.stdout.write(f"{folder}\n")
    return 0
