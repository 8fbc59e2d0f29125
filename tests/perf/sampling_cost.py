"""`python -m tests.perf.sampling_cost [--sessions N] [--json]`: the cost of sampling for the
launcher on a local deployment of Envoy and two servers that hold the sessions (2,000): CPU time per
sample, and the share of a core at one sample per second."""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

import websocket

from benchmark.server.process import raise_descriptor_limit
from launcher.deployment.state import DeploymentState
from launcher.sampling import Sampler
from tests.helpers.local import deployed, Deployment, places_used

SESSIONS = 2000
SECONDS = 10.0


def hold(deployment: Deployment, sessions: int) -> list[websocket.WebSocket]:
    url = f"{deployment.url.replace('http', 'ws', 1)}/ws"
    opened = [websocket.create_connection(url, timeout=20) for _ in range(sessions)]
    assert places_used(deployment) == sessions
    return opened


def measure(deployment: Deployment, output: Path, seconds: float) -> tuple[float, int]:
    """The CPU seconds of this process, and the number of samples of the node."""
    state = DeploymentState.from_dict(deployment.state)
    with Sampler(output, state, None, deployment.url) as sampler:
        started, text = time.process_time(), output.read_text()
        time.sleep(seconds)
        used = time.process_time() - started
    assert not sampler.warnings, sampler.warnings
    return used, output.read_text().removeprefix(text).count('"kind":"node"')


def main() -> int:
    parser = argparse.ArgumentParser(prog="tests.perf.sampling_cost")
    parser.add_argument("--sessions", type=int, default=SESSIONS)
    parser.add_argument("--seconds", type=float, default=SECONDS)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    sessions: int = given.sessions
    raise_descriptor_limit()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        options = ("--nodes", "3", "--max-concurrent-envs", str(max(1, sessions)), "--drain", "0")
        with deployed(folder, "sampling-cost", *options) as deployment:
            opened = hold(deployment, sessions)
            used, samples = measure(deployment, folder / "samples.jsonl", given.seconds)
            for session in opened:
                session.shutdown()
    if not samples:
        print("nothing was sampled", file=sys.stderr)
        return 1
    if given.json:
        result = {"sample_ms": 1000 * used / samples, "core_share": used / given.seconds}
        print(json.dumps(result | {"samples": samples, "sessions": sessions}))
        return 0
    print(
        f"{1000 * used / samples:.1f} ms of CPU per sample, {100 * used / given.seconds:.2f} % of a core "
        f"at one sample per second ({samples} samples of Envoy and 2 servers with {sessions:,} sessions)"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
