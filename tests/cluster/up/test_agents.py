"""Replies of agents arrive complete through srun, whatever their length and the number of nodes."""

import json

from tests.helpers.cluster import Cluster

ASK = """
import json
from launcher.runtimes.slurm import SlurmRuntime
from launcher.slurm.allocation import allocation

allocated = allocation()
runtime = SlurmRuntime(allocated, allocated.nodes, "openenv-long", 60.0)
try:
    runtime.prepare((), (), None)
    names = [f"a-name-that-nobody-resolves-{number:03}" for number in range(60)]
    answers = [runtime.probe({"names": names + ["node1"]}) for _ in range(10)]
finally:
    runtime.close()
print(json.dumps([[len(view["names"]) for view in views.values()] for views in answers]))
"""


def test_long_replies_of_several_nodes_arrive_complete(cluster: Cluster) -> None:
    done = cluster.run("salloc", "--nodes=5", "python", "-c", ASK)
    counts = json.loads(done.stdout.splitlines()[-1])
    assert counts == [[61] * 5] * 10
