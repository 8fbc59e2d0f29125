"""`python -m tests.perf.sampling_cost [SESSIONS]`: what sampling costs the launcher's process, on a
local deployment of Envoy and 2 servers that hold so many sessions (2,000): CPU time a sample, and the
share of a core at a sample a second."""

import sys
import tempfile
import time
from pathlib import Path

import websocket

from benchmark.server.process import raise_descriptor_limit
from launcher.sampling import Sampler
from tests.conftest import deployed, Deployment, places_used

SESSIONS = 2000
SECONDS = 10.0


def hold(deployment: Deployment, sessions: int) -> list[websocket.WebSocket]:
    url = f"{deployment.url.replace('http', 'ws', 1)}/ws"
    opened = [websocket.create_connection(url, timeout=20) for _ in range(sessions)]
    assert places_used(deployment) == sessions
    return opened


def measure(deployment: Deployment, output: Path) -> tuple[float, int]:
    """CPU seconds of this process, and how many times it looked at everything."""
    with Sampler(output, deployment.state, None, deployment.url) as sampler:
        begun, text = time.process_time(), output.read_text()
        time.sleep(SECONDS)
        used = time.process_time() - begun
    assert not sampler.warnings, sampler.warnings
    return used, output.read_text().removeprefix(text).count('"kind":"node"')


def main() -> int:
    sessions = int(sys.argv[1]) if sys.argv[1:] else SESSIONS
    raise_descriptor_limit()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        options = ("--nodes", "3", "--max-concurrent-envs", str(max(1, sessions)), "--drain", "0")
        with deployed(folder, "sampling-cost", *options) as deployment:
            opened = hold(deployment, sessions)
            used, samples = measure(deployment, folder / "samples.jsonl")
            for session in opened:
                session.shutdown()
    if not samples:
        print("nothing was sampled", file=sys.stderr)
        return 1
    print(
        f"{1000 * used / samples:.1f} ms of CPU a sample, {100 * used / SECONDS:.2f} % of a core at one "
        f"a second ({samples} samples of Envoy and 2 servers with {sessions:,} sessions)"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
