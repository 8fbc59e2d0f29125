"""`python -m tests.perf.time_to_ready`: seconds from `launcher up` until it prints its URL, in containers on
a sandbox of its own, and the number of Slurm steps that this takes. Requires root on Debian."""

import statistics
import sys
import time

from tests.helpers.cluster import Cluster, running

SIZES = (3, 5, 16)
RUNS = 3
UP = ["launcher", "up", "--name", "ready", "--cpus-per-task", "1", "--detach", "--nodes"]


def once(cluster: Cluster, nodes: int) -> tuple[float, int]:
    started = time.monotonic()
    cluster.run(*UP, str(nodes))
    seconds = time.monotonic() - started
    steps = cluster.run("squeue", "--steps", "--noheader", "--format=%j").stdout.split()
    cluster.run("launcher", "down", "ready")
    return seconds, sum(name.startswith("openenv-") for name in steps)


def main() -> int:
    with running("time-to-ready", "--nodes", str(max(SIZES))) as cluster:
        cluster.run("launcher", "build", online=True, timeout=600)
        print("nodes  median s   all s                Slurm steps")
        for nodes in SIZES:
            measured = [once(cluster, nodes) for _ in range(RUNS)]
            seconds = [each for each, _ in measured]
            listed = " ".join(f"{each:.1f}" for each in seconds)
            steps = max(count for _, count in measured)
            print(f"{nodes:5}  {statistics.median(seconds):8.1f}   {listed:20} {steps}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
