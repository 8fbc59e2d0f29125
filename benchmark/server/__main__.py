"""`python -m benchmark.server` runs one environment server on this node."""

import argparse
import sys

from benchmark.server.settings import (
    add_serving_options,
    Ports,
    ports_from,
    serving_from,
    SettingError,
    settings_from_environment,
)
from benchmark.server.workers.sockets import PortTaken
from benchmark.server.workers.supervisor import Server, ServerFailed

DRAIN_SECONDS = 10.0


def main() -> int:
    try:
        settings = settings_from_environment()
    except SettingError as failure:
        return _fail(str(failure))
    parser = argparse.ArgumentParser(
        prog="python -m benchmark.server",
        description="Serve OpenEnv environments from this node. The environment variables WORKERS, "
        "PORT, MAX_CONCURRENT_ENVS, NODE_NAME and CONSTRUCTOR_TIMEOUT configure the server.",
    )
    add_serving_options(parser)
    parser.add_argument("--host", default="0.0.0.0", help="the address to listen on")
    parser.add_argument("--control-port", type=int, help="for health checks (default: PORT + 1)")
    parser.add_argument(
        "--worker-port", type=int, help="worker i uses this + i (default: PORT + 2)"
    )
    drain_help = "how many seconds to wait for open sessions after SIGTERM"
    parser.add_argument("--drain", type=float, default=DRAIN_SECONDS, help=drain_help)
    gpus_help = "divide this many GPUs among the workers"
    parser.add_argument("--gpus", type=int, default=0, help=gpus_help)
    options = parser.parse_args()
    defaults = ports_from(settings.port)
    ports = Ports(
        defaults.shared,
        options.control_port or defaults.control,
        options.worker_port or defaults.first_own,
    )
    try:
        serving = serving_from(options)
        Server(settings, serving, options.host, ports, options.gpus).run(options.drain)
    except (PortTaken, ServerFailed) as failure:
        return _fail(str(failure))
    return 0


def _fail(message: str) -> int:
    print(f"error: {message}", file=sys.stderr, flush=True)
    return 1


if __name__ == "__main__":
    sys.exit(main())
