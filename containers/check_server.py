"""The test of a server image: starts a server and opens a session.

The arguments are passed to the server, such as --app server.app:app.
"""

import json
import os
import random
import subprocess
import sys
import time
import urllib.request

from websockets.sync.client import connect

START_SECONDS = 60
RESET = {"type": "reset", "data": {}}


def main() -> None:
    # A random loopback address, so that its ports are most likely free.
    address = "127." + ".".join(str(random.randint(1, 254)) for _ in range(3))
    server = subprocess.Popen(
        [sys.executable, "-P", "-m", "benchmark.server", "--host", address, *sys.argv[1:]],
        env=os.environ | {"WORKERS": "2", "PORT": "8000", "NODE_NAME": address},
    )
    try:
        wait_healthy(server, f"http://{address}:8000/health")
        with connect(f"ws://{address}:8000/ws", proxy=None) as session:
            session.send(json.dumps(RESET))
            answer = json.loads(session.recv(timeout=START_SECONDS))
            assert answer["type"] == "observation", answer
    finally:
        server.terminate()
        code = server.wait(START_SECONDS)
    if code:
        sys.exit(f"the server exited with {code}")


def wait_healthy(server: subprocess.Popen[bytes], url: str) -> None:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    deadline = time.monotonic() + START_SECONDS
    while server.poll() is None and time.monotonic() < deadline:
        try:
            opener.open(url, timeout=5).close()
            return
        except OSError:
            time.sleep(0.1)
    sys.exit("the server did not become healthy")


if __name__ == "__main__":
    main()
