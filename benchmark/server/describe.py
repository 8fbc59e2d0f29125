"""`python -m benchmark.server.describe --app MODULE:ATTRIBUTE` imports an app and prints one line of JSON:
what serves its sessions, and how many a worker can hold. It makes no environment.

Its import may take a minute; one that takes longer is an error, which names the line that it is at.
"""

import argparse
import contextlib
import json
import os
import sys
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TYPE_CHECKING

if TYPE_CHECKING:
    from benchmark.server.engine.spec import Spec

IMPORT_SECONDS = 60.0
# Many apps limit themselves to this variable; it must not hide the limit of an environment.
LIMIT_VARIABLE, MOST = "MAX_CONCURRENT_ENVS", 10_000_000


@dataclass(frozen=True)
class Description:
    """`sessions` is how many sessions the app allows in a worker, None without a limit. `unknown` says why
    that cannot be told, and is empty if it can. `environment` is empty for an app with code of its own."""

    app: str
    environment: str = ""
    sessions: int | None = None
    unknown: str = ""
    import_seconds: float = 0.0


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmark.server.describe")
    parser.add_argument("--app", required=True, help="the ASGI app, as module:attribute")
    name = parser.parse_args().app
    # The launcher imports this module for `Description` alone, and these take a while.
    from benchmark.server.engine.failures import describe as describe_failure
    from benchmark.server.process import die_with_parent

    die_with_parent(os.getppid())
    os.environ[LIMIT_VARIABLE] = str(MOST)
    started = time.monotonic()
    try:
        with contextlib.redirect_stdout(sys.stderr):
            app = _import(name)
    except (Exception, SystemExit) as failure:  # noqa: BLE001 - the message names the cause
        print(f"error: {name} cannot be imported: {describe_failure(failure)}", file=sys.stderr)
        return 1
    print(json.dumps(asdict(describe(name, app, round(time.monotonic() - started, 3)))))
    return 0


def _import(name: str) -> Any:
    from uvicorn.importer import import_from_string

    from benchmark.server.namesake import make_way, take_back

    sys.path.insert(0, str(Path.cwd()))
    timer = threading.Timer(IMPORT_SECONDS, _give_up, (name, threading.get_ident()))
    timer.daemon = True
    timer.start()
    make_way(name.partition(":")[0])
    try:
        return import_from_string(name)
    finally:
        timer.cancel()
        take_back()


def _give_up(name: str, importer: int) -> None:
    frame = sys._current_frames()[importer]
    where = f"{frame.f_code.co_filename}:{frame.f_lineno}"
    text = f"error: {name} has not been imported after {IMPORT_SECONDS:g} s; it is at {where}"
    print(text, file=sys.stderr)
    _exit(1)


def describe(name: str, app: Any, import_seconds: float) -> Description:
    from benchmark.server.engine.recognise import recognise, Unrecognised

    spec = recognise(app)
    if isinstance(spec, Unrecognised):
        reason = f"its own code serves its sessions: {spec.reason}"
        return Description(name, unknown=reason, import_seconds=import_seconds)
    sessions, unknown = _limit(spec)
    return Description(name, spec.name, sessions, unknown, import_seconds)


def _limit(spec: "Spec") -> tuple[int | None, str]:
    concurrent = spec.concurrent
    if concurrent is None:
        if spec.max_environments == 1:
            return None, f"only an environment of {spec.name} tells whether it allows several"
        concurrent = True  # OpenEnv refuses such an app otherwise
    limit = spec.limit(MOST, concurrent)
    return (None if limit == MOST else limit), ""


def _exit(code: int) -> None:
    """Exits although threads that the import started may still run."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    _exit(main())
