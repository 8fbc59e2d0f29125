"""What an environment needs around it, in containers on nodes."""

import json
import signal
from collections.abc import Iterator

import pytest

from tests.helpers.cluster import Cluster
from tests.helpers.cluster_user import Alice, as_alice, assert_error, FOLDER, PROJECT, UP
from tests.helpers.local import ROOT

SECRETS = ("s3cr3t $HOME `id` 'a' \"b\"", "an0ther,secret")
APP = ("--app", "surroundings:app", "--workdir", "/srv/app", "--bind", "app:/srv/app:ro")


@pytest.fixture
def alice(cluster: Cluster) -> Iterator[Alice]:
    with as_alice(cluster) as alice:
        alice.run("mkdir", "app", "data", check=True)
        alice.write(
            "app/surroundings.py", (ROOT / "tests/helpers/apps/surroundings.py").read_text()
        )
        alice.write("data/given", "a level")
        yield alice


def ask(alice: Alice, node: str, question: str) -> object:
    url = f"http://{node}:8000/{question}"
    return json.loads(alice.run("curl", "--silent", "--fail", url, check=True).stdout)


def test_variables_binds_and_a_scratch_layer_on_four_servers(alice: Alice, images: None) -> None:
    alice.write("secrets.env", f"ANOTHER={SECRETS[1]}\n")
    given = ("--env", f"TOKEN={SECRETS[0]}", "--env-file", "secrets.env", "--writable")
    service = ("--service", "echo ran > /tmp/service; exec sleep 600")
    site = {"APPTAINER_BIND": f"{FOLDER}/data/given:/site:ro", "APPTAINERENV_SITE": "a site's"}
    front = alice.spawn(
        *("env", *(f"{name}={value}" for name, value in site.items()), "launcher", *UP),
        *("--nodes", "5", *APP, "--bind", "data:/data:ro", *given, *service),
    )
    assert front.stdout is not None
    assert front.stdout.readline().startswith("OPENENV_URL=http://node"), front.communicate()
    alice.run("rm", "secrets.env", check=True)
    nodes = alice.state()["connection"]["WORKER_NODES"].split()
    assert len(nodes) == 4
    for node in nodes:
        assert ask(alice, node, "variable?name=TOKEN") == SECRETS[0]
        assert ask(alice, node, "variable?name=ANOTHER") == SECRETS[1]
        assert ask(alice, node, "variable?name=SITE") == "a site's"
        assert ask(alice, node, "file?path=/site") == "a level"
        assert ask(alice, node, "place") == {
            "folder": "/srv/app",
            "python": "/opt/openenv/bin/python",
            "prefix": "/opt/openenv",
        }
        assert ask(alice, node, "file?path=/data/given") == "a level"
        assert ask(alice, node, "file?path=/tmp/service") == "ran\n"
        assert ask(alice, node, "write?path=/data/new") == "Read-only file system"
        for path in ("/opt/openenv/new", "/tmp/new", "/home/alice/new"):
            assert ask(alice, node, f"write?path={path}&megabytes=100") == ""
        scratch = alice.run(
            "sh", "-c", "du -sm /tmp/openenv-slurm-1000/scratch-*", node=node
        ).stdout
        assert int(scratch.split()[0]) >= 300
        shown = alice.run("ps", "-ww", "-eo", "args", node=node, check=True).stdout
        assert not [secret for secret in SECRETS if secret in shown]
    for secret in SECRETS:
        folders = ("/home/alice/run", "/home/alice/.local/state", "/tmp")
        assert alice.run("grep", "-rlF", "--", secret, *folders).stdout == ""
    job = alice.jobs()[0].split()[1]
    described = alice.run("scontrol", "show", "job", "--details", job, check=True).stdout
    assert not [secret for secret in SECRETS if secret in described]
    front.send_signal(signal.SIGINT)
    assert alice.ended(front).returncode == 0
    for node in nodes:
        assert "scratch" not in alice.run("ls", "/tmp/openenv-slurm-1000", node=node).stdout


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (("--bind", "/srv/levels:/levels"), "/srv/levels does not exist on node3; choose a path"),
        (
            ("--runtime", "venv", "--workdir", "/srv/levels"),
            "/srv/levels does not exist on node3; ",
        ),
    ],
)
def test_a_path_that_one_node_lacks_is_named(
    alice: Alice, images: None, given: tuple[str, ...], expected: str
) -> None:
    alice.break_node("node2", "mkdir /srv/levels", "rm -r /srv/levels")
    nodes = ("--nodes", "3", "--nodelist", "node[1-3]")
    done = alice.launch(*UP, *nodes, *given)
    assert_error(done, expected, 1)


def test_slurm_says_when_it_has_no_gpus(alice: Alice, images: None) -> None:
    done = alice.launch(*UP, "--nodes", "2", "--gpus", "1")
    assert done.returncode == 1
    assert "gres" in done.stderr.lower()
    assert "--gpus-per-node=1" in done.stderr


def test_another_python_serves_under_slurm(alice: Alice) -> None:
    python = f"{PROJECT}/.venv/bin/python"
    app = ("--runtime", "venv", "--app", "surroundings:app", "--workdir", "app")
    alice.hold("--nodes", "2", *app, "--python", python, "--env", f"TOKEN={SECRETS[0]}")
    assert ask(alice, "node2", "place") == {
        "folder": f"{FOLDER}/app",
        "python": python,
        "prefix": f"{PROJECT}/.venv",
    }
    assert ask(alice, "node2", "variable?name=TOKEN") == SECRETS[0]
    argv = alice.run("ps", "-ww", "-eo", "args", node="node2", check=True).stdout
    assert f"{python} -P {PROJECT}/benchmark/server/boot.py benchmark.server --host" in argv


def test_a_python_that_cannot_serve_on_a_node_is_one_line(alice: Alice) -> None:
    options = ("--nodes", "2", "--runtime", "venv", "--python", "/usr/bin/python3")
    assert_error(
        alice.launch(*UP, *options), "--python /usr/bin/python3: it lacks fastapi>=0.115", 1
    )
