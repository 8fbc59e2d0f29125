"""The test of the locust image: a master and a load worker connect."""

import json
import random
import subprocess
import sys
import threading

PORT = "5557"
PYTHON = [sys.executable, "-P", "-m"]


def main() -> None:
    # A random loopback address, so that its ports are most likely free.
    address = "127." + ".".join(str(random.randint(1, 254)) for _ in range(3))
    place = ["--host", address, "--port", PORT, "--workers", "1"]
    master = subprocess.Popen(
        [*PYTHON, "locustfiles.grid.master", *place], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    place = ["--name", "load-1", "--master-host", address, "--master-port", PORT]
    worker = subprocess.Popen([*PYTHON, "locustfiles.grid.worker", *place])
    # The master prints nothing until a worker has connected.
    deadline = threading.Timer(60, master.kill)
    deadline.start()
    try:
        assert master.stdout is not None
        answer = master.stdout.readline()
        assert answer and json.loads(answer) == {"workers": 1}, answer
    finally:
        deadline.cancel()
        for process in (master, worker):
            process.kill()
            process.wait()


if __name__ == "__main__":
    main()
