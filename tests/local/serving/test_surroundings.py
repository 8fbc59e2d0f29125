"""What an environment needs around it: variables, a working folder, another Python."""

import json
import os
import shutil
import signal
import subprocess
import urllib.error
import urllib.parse
from pathlib import Path
from typing import Any

import psutil
import pytest

from benchmark.server import boot
from launcher.system.files import private_folder
from tests.helpers.environments import new_environment, site_packages
from tests.helpers.local import (
    assert_one_line,
    deployed,
    Deployment,
    get_json,
    launch,
    LAUNCHER,
    new_address,
    ROOT,
    serving,
    wait_for,
)

SECRETS = {name: f"53cr3t-{name.lower()}" for name in ("FLAG", "SET", "FILE", "YAML")}
ONE = ("--nodes", "1", "--workers-per-node", "1", "--drain", "0", "--app", "surroundings:app")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    shutil.copy(ROOT / "tests/helpers/apps/surroundings.py", tmp_path)
    return tmp_path


def ask(deployment: Deployment, question: str, **parameters: Any) -> Any:
    return get_json(f"{deployment.url}/{question}?{urllib.parse.urlencode(parameters)}")


def found_in(folder: Path) -> list[str]:
    texts = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    return [
        str(p) for p, text in texts.items() if any(s.encode() in text for s in SECRETS.values())
    ]


def test_variables_reach_the_app_and_nothing_else_shows_them(
    folder: Path, mark: dict[str, str]
) -> None:
    """In the files of a deployment, its output and the command line of every process."""
    inputs = folder / "inputs"
    inputs.mkdir()
    (inputs / "secrets.env").write_text(f"FILE={SECRETS['FILE']}\n")
    (inputs / "up.yaml").write_text(
        f"env: {{YAML: {SECRETS['YAML']}}}\nenv-file: inputs/secrets.env"
    )
    given = ("--env", f"FLAG={SECRETS['FLAG']}", "--env=SET", "--config", "inputs/up.yaml")
    options = ("--local", "--name", "s", "--dir", "run", "--local-address", new_address())
    argv = (*options, *ONE, "--nodes=3", *given)
    environment = mark | {"SET": SECRETS["SET"], "XDG_STATE_HOME": str(folder / "state")}
    planned = launch("plan", *argv, "--json", "--debug", cwd=folder, env=environment)
    text = launch("plan", *argv, cwd=folder, env=environment).stdout
    assert "# with your values of FILE YAML FLAG SET\n" in text
    outputs = [planned.stdout, planned.stderr, text]
    server = json.loads(planned.stdout)["processes"][1]
    assert server["variables"] == ["FILE", "YAML", "FLAG", "SET"]
    assert set(SECRETS).isdisjoint(server["environment"])
    with (folder / "up.log").open("wb") as log:
        holder = subprocess.Popen(
            [*LAUNCHER, "up", *argv, "--debug"],
            cwd=folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=log,
        )
        assert holder.stdout is not None
        url = holder.stdout.readline().decode().strip().removeprefix("OPENENV_URL=")
        deployment = Deployment("s", folder, environment, {"OPENENV_URL": url})
        assert {name: ask(deployment, "variable", name=name) for name in SECRETS} == SECRETS
        shown = [" ".join(each.info["cmdline"] or ()) for each in psutil.process_iter(["cmdline"])]
        outputs += shown
        assert sum(f"--env FLAG={'*' * len(SECRETS['FLAG'])} " in line for line in shown) == 1
        for command in (("status", "s", "--json"), ("logs", "s")):
            outputs.append(launch(*command, cwd=folder, env=environment).stdout)
        shutil.rmtree(inputs)
        assert found_in(folder) == []
        assert found_in(private_folder()) == []
        launch("down", "s", cwd=folder, env=environment)
        outputs.append(holder.communicate(timeout=20)[0].decode())
    assert holder.returncode == 0
    assert found_in(folder) == []
    assert not [text for text in outputs if any(value in text for value in SECRETS.values())]


def test_a_detached_launcher_gets_the_values_and_restarted_servers_have_them(folder: Path) -> None:
    value = "a,b \"c\" 'd' $HOME `id`\nx=1"
    with deployed(folder, "detached", *ONE, "--env", f"V={value}") as deployment:
        assert ask(deployment, "variable", name="V") == value
        os.kill(deployment.pid("server-1"), signal.SIGKILL)
        wait_for(lambda: deployment.state["processes"][0]["restarts"] == 1, 20, "a new server")
        again = wait_for(lambda: ask(deployment, "variable", name="V"), 20, "it answers")
        assert again == value
        assert deployment.state["command"].count(" --env=V ") == 1


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (("--env", "1A=b"), "--env: '1A' is not the name of a variable; write NAME=VALUE or NAME"),
        (("--env", "NOT_SET"), "--env: NOT_SET is not set here; "),
        (("--env-file", "missing.env"), "--env-file: cannot read missing.env: No such file"),
    ],
)
def test_wrong_variables_are_one_line(folder: Path, given: tuple[str, ...], expected: str) -> None:
    assert_one_line(launch("up", "--local", *ONE, *given, cwd=folder), expected, 2)


def test_the_working_folder_is_the_chosen_one(
    folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    with deployed(elsewhere, "workdir", *ONE, "--workdir", str(folder)) as deployment:
        assert ask(deployment, "place")["folder"] == str(folder)
        assert ask(deployment, "module", name="surroundings") == f"{folder}/surroundings.py"


@pytest.mark.parametrize(
    ("given", "expected", "code"),
    [
        (("--workdir", "missing"), "/missing does not exist on 127.", 2),
        (("--gpus", "1"), "has 0 GPU(s) for this deployment; choose nodes with GPUs", 2),
        (("--bind", "/a:/b"), "--bind is for containers, and these servers run without: ", 2),
    ],
)
def test_what_this_machine_lacks_is_one_line(
    folder: Path, given: tuple[str, ...], expected: str, code: int
) -> None:
    options = ("--local-address", new_address(), "--name", "lacks")
    environment = {k: v for k, v in os.environ.items() if k != "CUDA_VISIBLE_DEVICES"}
    done = launch("up", "--local", *options, *ONE, *given, cwd=folder, env=environment)
    assert_one_line(done, expected, code)


OWN = """\
import analysis, benchmark.scoring, launcher.rockets
from surroundings import app

@app.get("/own")
def own() -> list[str]:
    return [analysis.NAME, benchmark.scoring.NAME, launcher.rockets.NAME]
"""


def write_own_packages(folder: Path) -> None:
    """Packages that have the names of ours."""
    for name in ("analysis/__init__", "benchmark/scoring", "launcher/rockets"):
        file = folder / f"{name}.py"
        file.parent.mkdir()
        (file.parent / "__init__.py").touch()
        file.write_text(f"NAME = {name!r}\n")


def test_an_apps_own_packages_may_have_the_names_of_ours(folder: Path) -> None:
    write_own_packages(folder)
    (folder / "game.py").write_text(OWN)
    with deployed(folder, "names", *ONE, "--app", "game:app") as deployment:
        expected = ["analysis/__init__", "benchmark/scoring", "launcher/rockets"]
        assert get_json(f"{deployment.url}/own") == expected
        assert ask(deployment, "module", name="benchmark") == f"{folder}/benchmark/__init__.py"


def test_our_own_app_is_served_beside_a_package_of_its_name(folder: Path) -> None:
    write_own_packages(folder)
    with serving(folder, "--app", "benchmark.server.app:app", WORKERS=1) as server:
        assert get_json(f"{server.url}/metadata")["name"] == "WaitEnvironment"
    (folder / "benchmark/server").mkdir()
    (folder / "benchmark/server/app.py").write_text("from surroundings import app")
    with serving(folder, "--app", "benchmark.server.app:app", WORKERS=1) as server:
        assert get_json(f"{server.url}/place")["folder"] == str(folder)


def test_another_python_serves_with_its_own_packages(
    folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    environment = tmp_path_factory.mktemp("environment")
    python = new_environment(environment, boot.REQUIRED)
    write_own_packages(site_packages(environment))
    (folder / "game.py").write_text(OWN)
    with deployed(
        folder, "python", *ONE, "--app", "game:app", "--python", str(python)
    ) as deployment:
        place = ask(deployment, "place")
        assert (place["python"], place["prefix"]) == (str(python), str(environment))
        expected = ["analysis/__init__", "benchmark/scoring", "launcher/rockets"]
        assert get_json(f"{deployment.url}/own") == expected
        state = json.dumps(deployment.state)
        assert f"--python {python}" in state
        for module in ("locustfiles", "pandas"):  # of the launcher's environment
            with pytest.raises(urllib.error.HTTPError, match="500"):
                ask(deployment, "module", name=module)


def test_a_python_that_cannot_serve_is_one_line(folder: Path) -> None:
    options = ("--local-address", new_address(), "--name", "lacks")
    python = new_environment(folder / "environment")
    done = launch("up", "--local", *options, *ONE, "--python", str(python), cwd=folder)
    assert_one_line(done, f"--python {python}: it lacks fastapi>=0.115, uvicorn>=0.54, ", 2)


def test_each_worker_uses_its_gpus(folder: Path) -> None:
    variables = {"CUDA_VISIBLE_DEVICES": "2,5"}
    options = (*ONE, "--workers-per-node", "2", "--gpus", "2")
    with deployed(folder, "gpus", *options, env=os.environ | variables) as deployment:
        (server,) = deployment.state["servers"]
        assert [
            get_json(f"http://{server['address']}:{port}/variable?name=CUDA_VISIBLE_DEVICES")
            for port in server["worker_ports"]
        ] == ["2", "5"]


def test_doctor_names_what_this_machine_lacks(folder: Path) -> None:
    given = ("--workdir", "missing", "--gpus", "64", "--python", str(folder))
    done = launch("doctor", "--local", *ONE, *given, "--local-address", new_address(), cwd=folder)
    assert done.returncode == 1
    for text in (
        f"{folder}/missing does not exist on ",
        "--gpus 64: ",
        f"--python {folder}: it is a folder; ",
    ):
        assert text in " ".join(done.stdout.split()), done.stdout
