"""Options that several commands share."""

import logging
from collections import ChainMap
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict
from functools import partial, wraps
from pathlib import Path
from types import NoneType
from typing import Any, cast, get_args, get_origin, Literal, TypeVar

import click
from click.core import ParameterSource
from click.types import OptionHelpExtra
from pydantic.fields import FieldInfo

from launcher.cli.parameters import DeploymentName, Integer, Number, ParamType, Seconds, ServerURL
from launcher.deployment.read import read_deployment, VARIABLES
from launcher.deployment.served import resolve
from launcher.deployment.spec import Deployment
from launcher.errors import DeploymentNotFound, UsageError
from launcher.lifecycle import registry
from launcher.lifecycle.registry import Known

F = TypeVar("F", bound=Callable[..., Any])

# Defaults that depend on the machine, the runtime or other options.
DEFAULT_TEXTS = {
    "nodes": "3; in an allocation all of its nodes",
    "runtime": "apptainer on Slurm, venv with --local",
    "images": "the folder that `launcher build` uses",
    "image": "server.sif in the folder of the images",
    "app": "the one of the environment or of its image",
    "workers_per_node": "the node's cores",
    "workdir": "the WORKDIR of the image; without containers the current folder",
    "idle_timeout": "none; 600 for sessions made by POST /mcp that have no WebSocket",
    "envoy_processes": "as many as --sessions requires, else 1",
    "envoy_threads": "half of the cores, divided among the processes",
    "dir": "the current folder; ./NAME with --name",
}
METAVARS = {"env": "NAME[=VALUE]", "bind": "SRC:DST[:ro]", "service": "COMMAND"}
FOLDER = click.Path(path_type=Path)
COMMAND = "launcher.command"


class Option(click.Option):
    """Its help ends with its environment variables, its default and its range."""

    def __init__(
        self,
        *arguments: Any,
        default_text: str = "",
        variables: Sequence[str] = (),
        **settings: Any,
    ) -> None:
        settings |= {"show_default": True, "show_envvar": True}
        super().__init__(*arguments, **settings)
        self._extra = {"default": default_text, "envvars": tuple(variables)}

    def get_help_extra(self, ctx: click.Context) -> OptionHelpExtra:
        extra = {name: text for name, text in self._extra.items() if text}
        return cast(OptionHelpExtra, super().get_help_extra(ctx) | extra)


def option(
    names: str, description: str | None, kind: Any = None, **settings: Any
) -> Callable[[F], F]:
    """`names` are separated by spaces."""
    return click.option(*names.split(), cls=Option, help=description, type=kind, **settings)


flag = partial(option, is_flag=True)

json_option = flag("--json as_json", "Print JSON instead of text.")

url_option = option(
    "--url",
    "The URL that receives the sessions.",
    ServerURL(),
    envvar="OPENENV_URL",
    default_text="the deployment of this folder",
)

name_option = option(
    "--name",
    "The name of the deployment.",
    DeploymentName(),
    default_text="the deployment of this folder, else openenv",
)

load_workers_option = option(
    "--load-workers",
    "The number of Locust processes. They run on the deployment's client nodes if it has any, "
    "otherwise on this machine.",
    Integer(1, 4096),
    default_text="one per core, at least 2, more if their descriptor limit requires it",
)

require_valid_option = flag("--require-valid", "Exit with 1 if a cell is INVALID.")


def options(*decorators: Callable[[F], F]) -> Callable[[F], F]:
    """Several options as one decorator; the help lists them in this order."""

    def decorate(command: F) -> F:
        for decorator in reversed(decorators):
            command = decorator(command)
        return command

    return decorate


criterion_options = options(
    option("--success", "The criterion: the share of a batch's sessions that must succeed.",
           Number(0.001, 1), default=0.95),
    option("--p99", "The criterion: the most seconds that 99 % of the sessions may take, such as "
           "'wait*2+1'.", metavar="EXPRESSION"),
)  # fmt: skip


def _log_to_stderr(_context: click.Context, _option: click.Parameter, debug: bool) -> None:
    logger = logging.getLogger("launcher")
    if debug and not logger.handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(asctime)s %(name)s: %(message)s"))
        logger.addHandler(handler)
        logger.setLevel(logging.DEBUG)


debug_option = flag(
    "--debug",
    "Log decisions and the commands that are run to standard error.",
    is_eager=True,
    expose_value=False,
    callback=_log_to_stderr,
)


def given_options() -> set[str]:
    """The parameters of the current command that are on its command line."""
    context = click.get_current_context()
    source = context.get_parameter_source
    return {name for name in context.params if source(name) is ParameterSource.COMMANDLINE}


def deployment_options(command: F, hidden: Collection[str] = ()) -> F:
    """[FOLDER], which is also --environment, --config and an option for every field of `Deployment`; the
    command receives the Deployment. The help leaves out the `hidden` fields."""

    @wraps(command)
    def read(config: Path | None, folder: Path | None, **values: Any) -> Any:
        flags = {name: values.pop(name) for name in Deployment.model_fields}
        if folder and flags["environment"]:
            raise UsageError("give the environment as FOLDER or as --environment, not as both")
        flags["environment"] = folder or flags["environment"]
        deployment = resolve(read_deployment(flags, config), named="dir" not in hidden)
        return command(deployment, **values)

    config = option(
        "--config",
        "A YAML file that sets any of these options; options on the command line override it.",
        click.Path(exists=True, dir_okay=False, path_type=Path),
    )
    fields = [
        _field_option(name, field, name in hidden)
        for name, field in Deployment.model_fields.items()
    ]
    argument = click.argument("folder", metavar="[FOLDER]", required=False, type=FOLDER)
    return cast(F, options(config, *fields, argument)(read))


def _field_option(name: str, field: FieldInfo, hidden: bool) -> Callable[[Any], Any]:
    """The option has no default, because file and environment come before the field's default."""
    option_of_field = partial(
        option,
        f"--{name.replace('_', '-')}",
        field.description,
        variables=VARIABLES.get(name, ()),
        hidden=hidden,
    )
    if field.annotation is bool:
        return option_of_field(is_flag=True, default=None)
    if field.default == ():
        return option_of_field(metavar=METAVARS.get(name, "OPTION"), multiple=True)
    default = "" if field.default is None else str(field.default)
    return option_of_field(field_type(field), default_text=DEFAULT_TEXTS.get(name, default))


def field_type(field: FieldInfo) -> ParamType:
    kind = field.annotation
    if NoneType in get_args(kind):
        kind = next(each for each in get_args(kind) if each is not NoneType)
    if get_origin(kind) is Literal:
        return click.Choice(get_args(kind))
    if kind is Path:
        return click.Path(readable=False, path_type=Path)  # only the nodes check it
    if kind in (int, float):
        bounds = ChainMap(*map(asdict, field.metadata))
        low = bounds.get("ge", bounds.get("gt"))
        number = Integer if kind is int else Seconds
        return number(low, bounds.get("le"), min_open="gt" in bounds)
    return click.STRING


class WithCommand(click.Command):
    """A command that takes another one after --, which `command_after_dashes` returns."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        end = args.index("--") if "--" in args else len(args)
        ctx.meta[COMMAND] = tuple(args[end + 1 :])
        return super().parse_args(ctx, args[:end])

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        return [*super().collect_usage_pieces(ctx), "[-- COMMAND...]"]


def command_after_dashes() -> tuple[str, ...]:
    found: tuple[str, ...] = click.get_current_context().meta[COMMAND]
    return found


def named_deployment(command: F) -> F:
    """[NAME] and --name NAME; the command receives the deployment, running or not."""

    @wraps(command)
    def find(name: str | None, positional: str | None, **values: Any) -> Any:
        if name and positional and name != positional:
            raise UsageError(f"NAME is {positional!r} but --name is {name!r}; give one of them")
        return command(registry.find(positional or name or registry.usual_name()), **values)

    argument = click.argument("positional", metavar="[NAME]", required=False, type=DeploymentName())
    return cast(F, options(argument, name_option)(find))


def find_running(name: str | None) -> Known:
    """Raises `DeploymentNotFound`."""
    known = registry.find(name or registry.usual_name())
    if not known.alive:
        raise registry.gone(known)
    if not known.state.url:
        name, folder = known.rundir.name, known.rundir.folder
        raise DeploymentNotFound(
            f"deployment {name!r} has written nothing to {folder} yet; see launcher status {name}"
        )
    return known


def find_url(url: str | None, name: str | None, recorded: str | None = None) -> str:
    """The URL of a command that loads a deployment; `recorded` is that of the run it resumes.

    Raises `UsageError` and `DeploymentNotFound`."""
    if name is not None:
        if "url" in given_options():
            raise UsageError("--url and --name are mutually exclusive")
        return str(find_running(name).state.url)
    if url is not None:
        return url
    if recorded is not None:
        return recorded
    if connection := registry.connection(Path()):
        return connection["OPENENV_URL"]
    raise UsageError("no URL; give --url or --name, or run `launcher up` in this folder first")
