"""Builds images as an ordinary user from a local base, and runs them on nodes."""

import re
from pathlib import Path

import pytest

from launcher.images.paths import IMAGES
from tests.helpers.cluster import build_images, Cluster
from tests.helpers.cluster_user import UP

FOLDER = "/home/alice/.local/share/openenv-slurm/images"
SECRETS = r"/mnt/(ca|pip|packages|context|runtime)|openenv-build-|index-url|PIP_|SSL_CERT"
DOCKERFILE = """\
ARG BASE_IMAGE=registry.invalid/openenv-base:latest
FROM ${BASE_IMAGE} AS builder
WORKDIR /app
COPY . /app/env
RUN python3 -m venv /app/env/.venv && mv /app/env/.venv /app/.venv
FROM ${BASE_IMAGE}
WORKDIR /app
COPY --from=builder /app/.venv .venv
COPY --from=builder /app/env env
ENV PATH="/app/.venv/bin:$PATH" LEVEL=7 MODE=hard GREETING='it costs $5 {{ x }}'
COPY <<EOF greeting.txt
$GREETING
EOF
RUN useradd --create-home app
USER app
RUN <<EOF
mkdir -p ~/.cache/browsers
echo "$GREETING" > ~/.cache/browsers/name
EOF
VOLUME /data
CMD ["sh", "-c", "cd /app/env && uvicorn server.app:app --host 0.0.0.0 --port 8000"]
"""
APP = """\
import os
from benchmark.server.app import app
print(os.getcwd(), os.environ["LEVEL"], os.environ["MODE"], flush=True)
"""

pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def built(cluster: Cluster) -> str:
    """The output of building the three images."""
    return build_images(cluster)


def test_images_are_built_tested_and_small(built: str) -> None:
    lines = built.splitlines()
    assert [Path(line.split(":")[0]).stem for line in lines] == list(IMAGES)
    assert all(int(line.split()[1]) < 100 for line in lines), lines


def test_build_skips_images_that_are_up_to_date(cluster: Cluster, built: str) -> None:
    again = cluster.run("launcher", "build", online=True).stdout
    assert again.count("up to date") == len(IMAGES)


@pytest.mark.parametrize("name", IMAGES)
def test_images_contain_no_settings_of_the_host(cluster: Cluster, built: str, name: str) -> None:
    image = f"{FOLDER}/{name}.sif"
    described = cluster.run("apptainer", "inspect", "--all", image).stdout
    assert not re.search(SECRETS + "|/home/|deb.*/debian|proxy", described)
    inside = cluster.run("apptainer", "exec", "--cleanenv", image, "env").stdout
    assert not re.search("(?i)pip_|cert|_proxy|index", inside)
    if name != "envoy":
        found = "grep -rlE '/mnt/(ca|pip|packages|context|runtime)' /etc /opt || true"
        assert cluster.run("apptainer", "exec", image, "sh", "-c", found).stdout == ""
        tools = "command -v gcc make; ls /opt/openenv/bin/pip /etc/apt/sources.list; ls /mnt"
        assert cluster.run("apptainer", "exec", image, "sh", "-c", tools, check=False).stdout == ""


def test_runscripts_run(cluster: Cluster, built: str) -> None:
    for name, argument, expected in (
        ("server", "--help", "Serve OpenEnv environments"),
        ("envoy", "--version", "envoy  version"),
        ("locust", "--version", "locust "),
    ):
        assert expected in cluster.run("apptainer", "run", f"{FOLDER}/{name}.sif", argument).stdout


def test_variables_reach_containers_unchanged_on_every_node(cluster: Cluster, built: str) -> None:
    value = "a,b \"c\" 'd' $HOME `id` x=1"
    code = (
        "import os; from pathlib import Path; from launcher.images.apptainer import exec_argv\n"
        f"argv = exec_argv(Path('{FOLDER}/server.sif'), ['printenv', 'V'], {{'V': {value!r}}})\n"
        "os.execvp('srun', ['srun', '-N3', *argv])"
    )
    assert cluster.run("python", "-c", code).stdout.splitlines() == [value] * 3


def test_every_node_sees_the_same_image(cluster: Cluster, built: str) -> None:
    code = f"from launcher.images.sif import digest; from pathlib import Path; \
print(digest(Path('{FOLDER}/server.sif')))"
    digests = cluster.run("srun", "-N3", "python", "-c", code).stdout.split()
    assert len(digests) == 3
    assert len(set(digests)) == 1


def test_environment_is_built_from_its_folder_and_served_by_its_name(
    cluster: Cluster, built: str
) -> None:
    folder = "/home/alice/my env"
    cluster.run("mkdir", "-p", f"{folder}/server")
    for name, text in (
        ("openenv.yaml", "app: server.app:app"),
        ("server/Dockerfile", DOCKERFILE),
        ("server/app.py", APP),
    ):
        cluster.run("sh", "-c", 'cat > "$0"', f"{folder}/{name}", input=text)
    options = ("--name", "my-env", "--base", f"{FOLDER}/base.sif")
    done = cluster.run("launcher", "build", folder, *options, online=True, timeout=300)
    assert "my-env.sif: " in done.stdout
    for note in ("USER app is ignored", "VOLUME /data cannot be written in the image"):
        assert note in done.stderr
    code = "import server.app, sys; print(sys.prefix)"
    contained = ("apptainer", "exec", "--cleanenv", "--contain", f"{FOLDER}/my-env.sif")
    found = cluster.run("srun", *contained, "python", "-P", "-c", code).stdout
    assert found.splitlines()[-1] == "/app/.venv"
    show = "cat ~/.cache/browsers/name /app/greeting.txt; ls -d /data; printenv GREETING"
    greeting = "it costs $5 {{ x }}\n"
    shown = cluster.run("srun", *contained, "sh", "-c", show).stdout
    assert shown == f"{greeting}{greeting}/data\n{greeting}"
    up = ("launcher", *UP, "--nodes", "1", "--image", "my-env", "--env", "MODE=easy")
    log = cluster.run("env", "-C", folder, *up, "--", "cat", "benchmark-env-server-1.log").stdout
    assert "/app/env 7 easy\n" in log
    assert "Serving server.app:app on" in log


def test_build_reports_an_unreachable_base(cluster: Cluster) -> None:
    options = ("--base", "registry.invalid/base:1", "--images", "/tmp/none", "--force")
    done = cluster.run("launcher", "build", "envoy", *options, check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines()[1].startswith("error: the registry of the base image cannot")


def test_build_names_the_images_that_an_environment_needs(cluster: Cluster) -> None:
    text = "FROM registry.invalid/python:3\nCOPY --from=registry.invalid/tool:1 /a /b\n"
    script = f"mkdir -p /tmp/needy; printf '{text}' > /tmp/needy/Dockerfile"
    cluster.run("sh", "-c", script)
    options = ("--dockerfile", "/tmp/needy/Dockerfile", "--images", "/tmp/none")
    done = cluster.run("launcher", "build", *options, check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith(
        "error: /tmp/needy/Dockerfile needs registry.invalid/python:3, registry.invalid/tool:1, and a "
        "registry cannot be reached from here; build on a machine that reaches it, or choose a base with"
    )
