"""Whether a deployment really holds as many sessions as it has places: opens them all at once."""

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from benchmark.server.process import raise_descriptor_limit
from launcher.checks.session_client import open_all, Outcome, Refused, StepAction
from launcher.runtimes.findings import Check, fail, Finding, ok, warn
from launcher.system import http
from launcher.system.machine import limits

MAX_SESSIONS = 2_000
# No session is started later, and no reply may take longer: OpenEnv's clients wait as long by default.
SECONDS = 60.0
SCHEMA_SECONDS = 5.0
# Sessions of the checks before this one are closed, but their servers may not know that yet.
IDLE_SECONDS = 5.0
POLL_SECONDS = 0.05
MAX_ACTION_SHOWN = 120

# The answers of every server's /ready, by the server's name.
Pages = Mapping[str, Any]


def session_checks(
    url: str,
    read_places: Callable[[], Pages],
    servers: Sequence[str],
    requested: int,
    *,
    balanced: bool,
) -> Iterator[Finding]:
    """`requested` is how many sessions each worker should hold; `balanced`: through Envoy, which tries
    another worker when one is full."""
    pages = _idle_places(read_places)
    yield places(pages, servers, requested)
    free, used = _total(pages, "free"), _total(pages, "used")
    if used or not free:
        detail = f"not tried: {used:,} of {used + free:,} places are in use"
        yield warn(Check.SESSIONS, (), detail, "run this when nobody else uses the deployment")
        return
    try:
        schema = http.get_json(f"{url}/schema", SCHEMA_SECONDS)["action"]
    except (OSError, ValueError, KeyError, TypeError) as failure:
        detail = f"{url}/schema does not describe the actions of the app: {failure}"
        yield fail(
            Check.SESSIONS,
            (),
            detail,
            "serve an OpenEnv app; read the servers' logs: launcher logs",
        )
        return
    raise_descriptor_limit()
    count = min(free, MAX_SESSIONS, limits().sessions_per_worker)
    action = StepAction(schema)
    outcomes = open_all(url, count, action, SECONDS)
    yield sessions(outcomes, free, balanced=balanced)
    yield steps(outcomes, action)


def _idle_places(read_places: Callable[[], Pages]) -> Pages:
    deadline = time.monotonic() + IDLE_SECONDS
    while _total(pages := read_places(), "used") and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
    return pages


def _total(pages: Pages, key: str) -> int:
    return sum(int(page[key]) for page in pages.values())


def places(pages: Pages, servers: Sequence[str], requested: int) -> Finding:
    if silent := [server for server in servers if server not in pages]:
        return fail(
            Check.PLACES,
            (),
            f"{', '.join(silent)} did not report places",
            "read the servers' logs: launcher logs",
        )
    # A worker that is not ready has no places.
    limits = [
        worker["limit"] for page in pages.values() for worker in page["workers"] if worker["limit"]
    ]
    detail = f"{sum(limits):,} in {len(limits):,} worker(s) on {len(pages):,} server(s)"
    least = min(limits, default=requested)
    if least >= requested:
        return ok(Check.PLACES, detail)
    return warn(
        Check.PLACES,
        (),
        f"{detail}: the app allows {least:,} session(s) in a worker, not {requested:,}",
        "for more sessions use more workers (launcher up --workers-per-node)",
    )


def sessions(outcomes: Sequence[Outcome], free: int, *, balanced: bool = True) -> Finding:
    refused = [outcome.session for outcome in outcomes if outcome.session is not None]
    tried = len(outcomes)
    if not refused and tried:
        detail = f"{tried:,} of {free:,} places held a session at the same time"
        if tried < free:
            detail += f" (at most {MAX_SESSIONS:,} are tried, for at most {SECONDS:.0f} s)"
        return ok(Check.SESSIONS, detail)
    detail = f"{len(refused):,} of {tried:,} sessions failed: {reasons(refused)}"
    advice = "read the servers' logs: launcher logs"
    full = [each for each in refused if each.kind == "CAPACITY_REACHED"]
    if full and len(full) == len(refused) and not balanced:
        advice = (
            "without Envoy the kernel chooses the worker of a session, and a full one refuses it: give the "
            "workers half as many places again, or use Envoy (--nodes 2)"
        )
        return warn(Check.SESSIONS, (), detail, advice)
    if full:
        advice = (
            "the app admits fewer sessions than its workers have places: create it with "
            'max_concurrent_envs=int(os.environ["MAX_CONCURRENT_ENVS"]), or use more workers with '
            "--max-concurrent-envs 1"
        )
    return fail(Check.SESSIONS, (), detail, advice)


def steps(outcomes: Sequence[Outcome], action: StepAction) -> Finding:
    advice = "sessions open and reset; test their steps with the app's own client"
    if action.missing:
        detail = f"not tried: no action can be made from /schema: {action.missing}"
        return warn(Check.STEPS, (), detail, advice)
    text = json.dumps(action.value)
    text = text if len(text) <= MAX_ACTION_SHOWN else f"{text[:MAX_ACTION_SHOWN]}…"
    refused = [outcome.step for outcome in outcomes if outcome.step is not None]
    if refused:
        detail = (
            f"{len(refused):,} of {len(outcomes):,} steps with the action {text} failed: "
            f"{reasons(refused)}"
        )
        return warn(Check.STEPS, (), detail, advice)
    stepped = sum(outcome.session is None for outcome in outcomes)
    return ok(Check.STEPS, f"{stepped:,} session(s) made a step with the action {text}")


def reasons(refused: Sequence[Refused]) -> str:
    """How many there are of each kind, with the message of the first."""
    first = {each.kind: each.message for each in reversed(refused)}
    counts = Counter(each.kind for each in refused).most_common()
    return "; ".join(
        f"{count:,} × {kind}" + (f" ({' '.join(first[kind].split())})" if first[kind] else "")
        for kind, count in counts
    )
