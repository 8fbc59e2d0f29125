"""What the app of a deployment allows, as its import on this machine tells: in the image or the Python
environment of the servers."""

import json
import os
from collections.abc import Callable

from benchmark.server.describe import Description, IMPORT_SECONDS
from benchmark.server.settings import DEFAULT_APP
from launcher.deployment.programs import programs
from launcher.deployment.spec import Deployment
from launcher.deployment.surroundings import node_folder
from launcher.runtimes.findings import Check, Finding, ok, warn
from launcher.system.command import capture, CommandFailed

START_SECONDS = 30.0  # of Python or of a container


def describe(deployment: Deployment) -> Description:
    """Never raises for an app that cannot be imported here: the nodes may differ from this machine."""
    app = deployment.app
    if app == DEFAULT_APP:
        return Description(app, "WaitEnvironment")
    tools = programs(deployment)
    describing = (*tools.modules, "benchmark.server.describe", "--app", app)
    path, options = tools.python_path(), tools.server_options
    argv, variables = tools.command("server", describing, path, options=options)
    variables = os.environ | variables | tools.variables(deployment.variables)
    folder = node_folder(deployment)
    try:
        printed = capture(argv, IMPORT_SECONDS + START_SECONDS, variables=variables, folder=folder)
        return Description(**json.loads(printed.splitlines()[-1]))
    except CommandFailed as failure:
        cause = failure.reason
    except (ValueError, IndexError, TypeError):
        cause = "it prints no description"
    return Description(app, unknown=f"it cannot be imported on {os.uname().nodename}: {cause}")


def summary(description: Description) -> str:
    app, sessions = description.app, description.sessions
    if description.unknown:
        return f"the limit of {app} is unknown: {description.unknown}"
    if sessions is None:
        return f"{description.environment} of {app} sets no limit of its own"
    return f"{description.environment} of {app} allows {sessions:,} session(s) in a worker"


def sessions(deployment: Deployment, report: Callable[[str], None]) -> int | None:
    """How many sessions the app allows in a worker, if that matters for the size of the deployment."""
    if deployment.sessions is None:
        return None
    description = describe(deployment)
    if description.unknown:
        report(summary(description))
    return description.sessions


def finding(description: Description, deployment: Deployment) -> Finding:
    text, requested = summary(description), deployment.max_concurrent_envs
    if description.unknown:
        advice = "run `launcher preflight` once it is deployed"
        return warn(Check.APP, (), text, advice)
    # With --sessions, the number of workers follows from the limit.
    asked = deployment.sessions is None and "max_concurrent_envs" in deployment.model_fields_set
    if asked and description.sessions is not None and description.sessions < requested:
        advice = "for more sessions use more --workers-per-node or --nodes"
        return warn(Check.APP, (), f"{text}, not {requested:,}", advice)
    return ok(Check.APP, text)
