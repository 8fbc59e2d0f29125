"""The command line. An error is one line on stderr and an exit code."""

import argparse
import configparser
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from sandbox import lifecycle, paths
from sandbox.errors import SandboxError, UsageError
from sandbox.machine import host
from sandbox.nodes import enter, network
from sandbox.system import files

NAME = "sandbox"
Call = Callable[[argparse.Namespace], int | None]


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:  # nohup ignores SIGHUP
            signal.signal(number, interrupt)
    os.umask(0o022)
    try:
        host.check()
        return options.call(options) or 0
    except SandboxError as failure:
        say(f"error: {failure}")
        return failure.exit_code
    except (OSError, subprocess.CalledProcessError, configparser.Error) as failure:
        say(f"error: {failure}")  # such as a full disk, or namespaces that are not permitted
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
        prog="sandbox", description="A virtual Slurm cluster on this machine."
    )
    commands = program.add_subparsers(required=True, metavar="COMMAND")
    named = argparse.ArgumentParser(add_help=False)
    named.add_argument("--name", type=name, default=NAME, help="name of the sandbox [%(default)s]")

    def add(call: Call, text: str, **options: Any) -> argparse.ArgumentParser:
        command = commands.add_parser(call.__name__, help=text, description=text, **options)
        command.set_defaults(call=call)
        return command

    command = add(up, "start a login node and compute nodes", parents=[named])
    command.add_argument(
        "--nodes", type=number_of_nodes, default=5, help="number of compute nodes [%(default)s]"
    )
    command.add_argument(
        "--cpu-quota", type=cores, metavar="CORES", help="CPU limit of each node, such as 0.2"
    )
    command.add_argument(
        "--no-quota",
        action="append",
        default=[],
        metavar="NODE",
        help="a node without the limit of --cpu-quota; repeatable",
    )
    command.add_argument(
        "--venv",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="install the project in a virtual environment",
    )
    add(shell, "open a shell on the login node", parents=[named])
    command = add(
        run, "run a command on a node", parents=[named], usage="%(prog)s [options] -- COMMAND..."
    )
    command.add_argument("--node", default=network.LOGIN, help="the node to run on [%(default)s]")
    command.add_argument(
        "--user",
        choices=[paths.USER, "root"],
        default=paths.USER,
        help="the user to run as [%(default)s]",
    )
    command.add_argument("--cwd", help="working directory [that of the project]")
    command.add_argument("--online", action="store_true", help="use the network of this machine")
    command.add_argument("command", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    for call, text in ((kill, "kill a node at once"), (start, "start a killed node again")):
        add(call, text, parents=[named]).add_argument("node")
    add(down, "stop the sandbox and remove everything but the cache", parents=[named])
    add(status, "list sandboxes and their nodes")
    command = add(cache, "list the cached root file systems, virtual environments and images")
    command.add_argument("--clear", action="store_true", help="remove the cache")
    return program


def name(text: str) -> str:
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,30}", text):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a name; use letters a-z, digits and dashes"
        )
    return text


def number_of_nodes(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= network.MAX_NODES:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a number of nodes; give 1 to {network.MAX_NODES}"
        )
    return int(text)


def cores(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0.01 <= value <= 1024:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of cores; give one such as 0.2")
    return value


def up(options: argparse.Namespace) -> None:
    for node in set(options.no_quota) - set(network.node_names(options.nodes)):
        raise UsageError(f"--no-quota {node}: the sandbox has no such node")
    unlimited = tuple(options.no_quota)
    settings = lifecycle.Settings(options.nodes, options.cpu_quota, unlimited, options.venv)
    lifecycle.up(paths.Folder(options.name), settings, say)


def shell(options: argparse.Namespace) -> int:
    return _enter(options.name, enter.Command(["bash", "--login"]))


def run(options: argparse.Namespace) -> int:
    argv = options.command[1:] if options.command[:1] == ["--"] else options.command
    if not argv:
        raise UsageError("run requires a command: run [options] -- COMMAND...")
    command = enter.Command(argv, options.node, options.user, options.cwd, options.online)
    return _enter(options.name, command)


def _enter(name: str, command: enter.Command) -> int:
    folder = paths.Folder(name)
    if command.node not in lifecycle.states(folder):
        raise UsageError(
            f"no node {command.node!r} in the sandbox {name!r}; run `status` to list nodes"
        )
    return enter.run(folder, command)


def kill(options: argparse.Namespace) -> None:
    lifecycle.kill(paths.Folder(options.name), options.node)


def start(options: argparse.Namespace) -> None:
    lifecycle.start(paths.Folder(options.name), options.node)


def down(options: argparse.Namespace) -> None:
    if not lifecycle.down(paths.Folder(options.name)):
        say(f"no sandbox named {options.name!r} is running")


def status(_: argparse.Namespace) -> None:
    if not lifecycle.all_folders():
        say("no sandbox is running")
    for folder in lifecycle.all_folders():
        for node, is_up in lifecycle.states(folder).items():
            sys.stdout.write(f"{folder.name}  {node:8}{'up' if is_up else 'down'}\n")


def cache(options: argparse.Namespace) -> None:
    folders = [paths.cache() / "sandbox", paths.images()]
    if options.clear and lifecycle.all_folders():
        raise UsageError("a running sandbox uses the cache; stop it first with `down`")
    for folder in folders:
        if options.clear:
            files.remove(folder)
        else:
            sys.stdout.write(f"{folder}\n")
