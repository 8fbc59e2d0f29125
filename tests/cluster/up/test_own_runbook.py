"""deploy/RUNBOOK.md: every command in it, in its order."""

import re
from dataclasses import dataclass

from tests.helpers.cluster import Cluster
from tests.helpers.local import ROOT

RUNBOOK = ROOT / "deploy/RUNBOOK.md"
BLOCK = re.compile(
    r"(?:<!-- (online|shell: (?P<shell>.+)) -->\n)?```bash\n(?P<text>.+?)```", re.DOTALL
)
# The options to shorten; everything else runs as written in the runbook.
SHORTER = {
    "--requests-grid 32,128,512,2048": "--requests-grid 16,64",
    "--requests-grid 512,1024,2048": "--requests-grid 16,64",
    "--wait-grid 1.0,5.0": "--wait-grid 0.1,0.2",
    "--wait 1.0 --reps 3": "--wait 0.1 --reps 2",
    "    --reps 3 \\": "    --reps 2 \\",
    "--server-nodes 1,2,4": "--server-nodes 1,2",
    "--max-concurrent-envs 64 --wait 0.1": "--max-concurrent-envs 8 --success 1 --wait 0.5",
}

# serve_single.sh starts 64 workers, which would test nothing more than two do.
WORKERS = "export WORKERS=2\n"


@dataclass(frozen=True)
class Block:
    text: str
    online: bool
    shell: str | None


def blocks() -> list[Block]:
    text = RUNBOOK.read_text()
    for long, short in SHORTER.items():
        assert long in text, f"{long!r} is no longer in the runbook"
        text = text.replace(long, short)
    return [
        Block(found["text"], found[1] == "online", found["shell"]) for found in BLOCK.finditer(text)
    ]


def test_every_command_of_the_runbook(cluster: Cluster) -> None:
    cluster.run("rm", "-rf", "experiments")
    output, script = "", "set -e\n" + WORKERS
    for block in blocks():
        if block.online:
            cluster.run("bash", "-ec", block.text, online=True, timeout=600)
        elif block.shell:
            output += run(cluster, "bash", script) + run(
                cluster, block.shell, "set -e\n" + block.text
            )
            script = "set -e\n"
        elif "pip install" in block.text:
            cluster.run("bash", "-ec", block.text, online=True)
        else:
            script += block.text
    assert "http://node1:8000: 4 servers on node2 node3 node4 node5; load from node6" in output
    assert "[FAIL]" not in output
    assert "320 rows from ['node2:8000', 'node3:8000', 'node4:8000', 'node5:8000']" in output
    assert re.search(r"OPENENV_URL=http://node\d:8080", output)
    assert "- Scaling efficiency" in output or "Scaling efficiency |" in output
    assert "Traceback" not in output
    assert "command not found" not in output


def run(cluster: Cluster, command: str, script: str) -> str:
    done = cluster.run("bash", "-c", command, input=script, check=False, timeout=300)
    output = done.stdout + done.stderr
    assert done.returncode == 0, output
    return output
