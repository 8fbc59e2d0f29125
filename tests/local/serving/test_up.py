"""A deployment from `up` to `down`, with every fault in between."""

import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import time
import urllib.request
from functools import partial
from pathlib import Path

import psutil
import pytest

from launcher.deployment.paths import from_env_file
from tests.helpers.local import (
    assert_one_line,
    deployed,
    Deployment,
    launch,
    LAUNCHER,
    MARK,
    new_address,
    processes_of,
    wait_for,
)

THREE = ["up", "--local", "--nodes", "3", "--drain", "0"]


def options(folder: Path, name: str, address: str | None = None) -> list[str]:
    return ["--name", name, "--dir", str(folder), "--local-address", address or new_address()]


def hold(folder: Path, name: str, env: dict[str, str], *more: str) -> subprocess.Popen[str]:
    """Starts a launcher that holds a deployment in the foreground; returns when it is ready."""
    process = subprocess.Popen(
        [*LAUNCHER, *THREE, *options(folder, name), *more],
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline().startswith("OPENENV_URL=http://")
    return process


def all_gone(mark: dict[str, str]) -> bool:
    return not processes_of(mark[MARK])


def ports_free(address: str) -> bool:
    for port in (8000, 8001, 8002, 9901):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((address, port))
    return True


def test_connection_file_names_the_url_and_all_nodes(deployment: Deployment) -> None:
    values = from_env_file((deployment.folder / "openenv-connection.env").read_text())
    envoy, *nodes = [values["ENVOY_NODE"], *values["WORKER_NODES"].split()]
    first = deployment.state["deployment"]["local_address"]
    assert envoy == first
    assert nodes == [first[:-1] + "3", first[:-1] + "4"]
    assert values["OPENENV_URL"] == f"http://{envoy}:8000"
    assert (values["NUM_WORKERS"], values["WORKERS_PER_NODE"]) == ("2", "1")
    for node in nodes:
        with urllib.request.urlopen(f"http://{node}:8000/health", timeout=5) as answer:
            assert json.loads(answer.read()) == {"status": "healthy"}


def test_shell_reads_the_connection_file(deployment: Deployment) -> None:
    script = "source openenv-connection.env; for node in $WORKER_NODES; do echo $node; done"
    output = subprocess.check_output(["bash", "-ec", script], cwd=deployment.folder, text=True)
    assert output.split() == deployment.connection["WORKER_NODES"].split()


def test_status_lists_the_processes(deployment: Deployment) -> None:
    done = deployment.run("status", deployment.name)
    assert done.returncode == 0
    assert "ready" in done.stdout
    assert all(name in done.stdout for name in ("envoy", "server-1", "server-2"))
    state = json.loads(deployment.run("status", deployment.name, "--json").stdout)
    assert state["status"] == "ready"
    assert all(psutil.pid_exists(process["pid"]) for process in state["processes"])


def test_logs_name_their_process(deployment: Deployment) -> None:
    output = deployment.run("logs", deployment.name).stdout
    assert "server-1 | Node: " in output
    assert "launcher | " in output


def test_logs_follow_until_the_deployment_ends(tmp_path: Path) -> None:
    with deployed(tmp_path, "followed", "--nodes", "1", "--drain", "0") as followed:
        following = subprocess.Popen([*LAUNCHER, "logs", "-f", "followed"], stdout=subprocess.PIPE)
        assert following.stdout is not None
        wait_for(lambda: b"Serving" in following.stdout.readline(), 10, "the log is printed")
        followed.run("down", "followed")
        output, _ = following.communicate(timeout=10)
        assert b"stopping: SIGTERM" in output


def test_plan_shows_what_up_runs(tmp_path: Path) -> None:
    chosen = [
        *options(tmp_path, "planned"),
        "--nodes",
        "3",
        "--drain",
        "0",
        "--server-port",
        "8100",
    ]
    done = launch("plan", "--local", "--json", *chosen)
    assert done.returncode == 0, done.stderr
    plan = json.loads(done.stdout)
    assert list(tmp_path.iterdir()) == []
    assert launch("up", "--local", "--detach", *chosen).returncode == 0
    try:
        state = json.loads((tmp_path / "openenv-deployment.json").read_text())
        assert (tmp_path / "envoy-config-generated.yaml").read_text() == plan["envoy_config"]
        for planned, running in zip(plan["processes"], state["processes"], strict=True):
            process = psutil.Process(running["pid"])
            assert process.cmdline()[1:] == planned["argv"][1:]
            environment = process.environ()
            assert planned["environment"].items() <= environment.items()
        listening = {
            connection.laddr.port
            for process in state["processes"]
            for connection in psutil.Process(process["pid"]).net_connections("tcp")
            if connection.status == "LISTEN"
        }
        assert listening == {port for process in plan["processes"] for port in process["ports"]}
        output = launch("plan", "--local", *chosen).stdout
        for planned in plan["processes"]:
            assert shlex.join(planned["argv"]) in output
    finally:
        launch("down", "planned")


def test_one_node_serves_without_envoy(tmp_path: Path) -> None:
    with deployed(tmp_path, "single", "--nodes", "1", "--drain", "0") as single:
        assert single.connection["ENVOY_NODE"] == ""
        assert single.connection["NUM_WORKERS"] == "1"
        assert not (tmp_path / "envoy-config-generated.yaml").exists()
        done = single.run("grid", "-n", "10", "--wait", "0.1", "--expected-hosts", "1")
        assert done.returncode == 0, done.stderr
        assert single.run("preflight", "--name", "single").returncode == 0


@pytest.mark.parametrize("code", [0, 7])
def test_command_receives_the_connection_and_up_returns_its_exit_code(
    code: int, tmp_path: Path, mark: dict[str, str]
) -> None:
    command = ["--", "sh", "-c", f'echo "$OPENENV_URL $NUM_WORKERS"; exit {code}']
    done = launch(*THREE, *options(tmp_path, "command"), *command, env=mark)
    assert done.returncode == code
    url, servers = done.stdout.split()
    assert url.startswith("http://127.")
    assert servers == "2"
    assert all_gone(mark)
    assert not (tmp_path / "openenv-connection.env").exists()


def test_up_fails_when_the_command_does_not_exist(tmp_path: Path, mark: dict[str, str]) -> None:
    done = launch(*THREE, *options(tmp_path, "no-command"), "--", "no-such-command", env=mark)
    assert done.returncode == 2
    assert done.stderr.startswith("error: cannot run 'no-such-command'")
    assert all_gone(mark)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_signal_stops_everything_within_five_seconds(
    number: signal.Signals, tmp_path: Path, mark: dict[str, str]
) -> None:
    holder = hold(tmp_path, "signalled", mark)
    address = json.loads((tmp_path / "openenv-deployment.json").read_text())["connection"]
    holder.send_signal(number)
    wait_for(lambda: holder.poll() is not None and all_gone(mark), 5, "everything is gone")
    assert holder.communicate() is not None
    for node in [address["ENVOY_NODE"], *address["WORKER_NODES"].split()]:
        wait_for(partial(ports_free, node), 5, f"the ports of {node} are free")
    if number is not signal.SIGKILL:
        assert holder.returncode == 0
        assert not (tmp_path / "openenv-connection.env").exists()


def test_commands_recognise_the_stale_file_of_a_killed_launcher(
    tmp_path: Path, mark: dict[str, str]
) -> None:
    holder = hold(tmp_path, "killed", mark)
    holder.kill()
    holder.communicate()
    wait_for(lambda: all_gone(mark), 5, "everything is gone")
    assert (tmp_path / "openenv-connection.env").exists()
    grid = launch("grid", "-n", "1", cwd=tmp_path)
    assert_one_line(grid, "was left by a deployment that is gone", code=1)
    status = launch("status", "killed")
    assert (status.returncode, "gone" in status.stdout) == (1, True)
    assert_one_line(launch("preflight", "--name", "killed"), "is gone", code=1)
    again = launch(*THREE, *options(tmp_path, "killed"), "--", "true")
    assert again.returncode == 0
    assert "removed openenv-connection.env of a deployment that is gone" in again.stderr
    assert_one_line(launch("down", "killed"), "no deployment named 'killed'", code=1)


def test_down_cleans_up_after_a_killed_launcher(tmp_path: Path, mark: dict[str, str]) -> None:
    holder = hold(tmp_path, "cleaned", mark)
    holder.kill()
    holder.communicate()
    done = launch("down", "cleaned")
    assert (done.returncode, "was already gone" in done.stderr) == (0, True)
    assert not (tmp_path / "openenv-connection.env").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_command_and_its_descendants_end_with_the_launcher(
    number: signal.Signals, tmp_path: Path, mark: dict[str, str]
) -> None:
    command = ["--", "sh", "-c", "trap '' TERM; (setsid sleep 100 &) ; echo up; sleep 100; true"]
    argv = [*LAUNCHER, *THREE, *options(tmp_path, "tied"), *command]
    holder = subprocess.Popen(argv, env=mark, stdout=subprocess.PIPE, start_new_session=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"up\n"
    holder.send_signal(number)
    wait_for(lambda: holder.poll() is not None and all_gone(mark), 5, "everything is gone")
    holder.communicate()


def test_killed_server_is_reported_and_replaced(tmp_path: Path) -> None:
    with deployed(tmp_path, "mended", "--nodes", "3", "--drain", "0") as mended:
        old = mended.pid("server-1")
        os.kill(old, signal.SIGKILL)
        wait_for(lambda: mended.pid("server-1") != old, 10, "the server is replaced")
        wait_for(lambda: preflight_ok(mended), 20, "both servers take traffic again")
        output = mended.run("status", "mended").stdout
        assert "server-1 on" in output
        assert "was killed by SIGKILL; replaced (1 of 3)" in output


def preflight_ok(deployment: Deployment) -> bool:
    return deployment.run("preflight", "--name", deployment.name).returncode == 0


def test_deployment_fails_when_a_server_exits_too_often(
    tmp_path: Path, mark: dict[str, str]
) -> None:
    holder = hold(tmp_path, "doomed", mark)
    state = tmp_path / "openenv-deployment.json"
    dead: set[int] = set()
    while holder.poll() is None and len(dead) < 10:
        pid = json.loads(state.read_text())["processes"][1]["pid"]
        if pid is not None and pid not in dead:
            dead.add(pid)
            os.kill(pid, signal.SIGKILL)
        time.sleep(0.05)
    _, output = holder.communicate(timeout=10)
    assert holder.returncode == 1
    assert len(dead) == 4
    assert "error: server-1 on" in output
    assert "was killed by SIGKILL, 4 times within 5 minutes" in output
    assert all_gone(mark)
    assert json.loads(state.read_text())["status"] == "failed"


def test_failed_detached_deployment_stays_listed_until_down(tmp_path: Path) -> None:
    with deployed(tmp_path, "fallen", "--nodes", "3", "--drain", "0") as fallen:
        dead: set[int] = set()
        while len(dead) < 4:
            pid = wait_for(
                lambda: fallen.pid("server-1") not in dead and fallen.pid("server-1"), 9, ""
            )
            dead.add(pid)
            os.kill(pid, signal.SIGKILL)
        wait_for(lambda: fallen.state["status"] == "failed", 10, "it has failed")
        status = wait_for(lambda: failed_status(fallen), 10, "status reports the failure")
        assert "4 times within 5 minutes" in status
        assert "server-1 | " in fallen.run("logs", "fallen").stdout
        assert "was already failed" in fallen.run("down", "fallen").stderr
        assert_one_line(fallen.run("status", "fallen"), "no deployment named 'fallen'", code=1)


def failed_status(deployment: Deployment) -> str | None:
    done = deployment.run("status", deployment.name)
    return done.stdout if done.returncode == 1 and "fallen: failed" in done.stdout else None


def test_down_finds_a_deployment_whose_folder_was_removed(
    tmp_path: Path, mark: dict[str, str]
) -> None:
    (tmp_path / "run").mkdir()
    with deployed(
        tmp_path / "run", "homeless", "--nodes", "1", "--drain", "0", env=mark
    ) as homeless:
        shutil.rmtree(tmp_path / "run")
        status = launch("status", "homeless", env=mark)
        assert (status.returncode, "homeless" in status.stdout) == (0, True), status.stderr
        homeless.folder = tmp_path
        assert homeless.run("down", "homeless").stderr.strip() == "homeless is down"
        assert all_gone(mark)
        assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_signal_during_a_detached_start_leaves_nothing(
    number: signal.Signals, tmp_path: Path, mark: dict[str, str]
) -> None:
    (tmp_path / "slow.py").write_text("import time\ntime.sleep(60)\napp = None\n")
    argv = [*LAUNCHER, *THREE, *options(tmp_path, "slower"), "--app", "slow:app", "--detach"]
    starting = subprocess.Popen(argv, cwd=tmp_path, env=mark)
    wait_for(lambda: len(processes_of(mark[MARK])) >= 5, 20, "processes are being started")
    starting.send_signal(number)
    starting.wait(10)
    wait_for(lambda: all_gone(mark), 5, "everything is gone")


def test_failed_detached_start_leaves_no_files(tmp_path: Path) -> None:
    address = new_address()
    folder = tmp_path / "new"
    with socket.create_server((address, 8000)):
        done = launch(*THREE, *options(folder, "never", address), "--detach")
    assert_one_line(done, f"port 8000 on {address}")
    assert not folder.exists()


def test_up_fails_at_once_when_a_process_exits_before_it_is_ready(
    tmp_path: Path, mark: dict[str, str]
) -> None:
    (tmp_path / "broken.py").write_text("raise RuntimeError('no such world')\n")
    started = time.monotonic()
    done = launch(
        *THREE, *options(tmp_path, "broken"), "--app", "broken:app", cwd=tmp_path, env=mark
    )
    assert time.monotonic() - started < 30
    assert done.returncode == 1
    assert done.stderr.startswith("error: server-")
    assert "RuntimeError: no such world" in done.stderr
    assert all_gone(mark)
    assert not (tmp_path / "openenv-connection.env").exists()


def test_up_fails_when_the_app_does_not_exist(tmp_path: Path, mark: dict[str, str]) -> None:
    more = ["--app", "nowhere.to:be", "--detach"]
    done = launch(*THREE, *options(tmp_path, "nowhere"), *more, cwd=tmp_path, env=mark)
    assert done.returncode == 1
    assert "No module named 'nowhere'" in done.stderr
    assert all_gone(mark)


def test_up_fails_at_its_deadline_when_servers_never_become_healthy(
    tmp_path: Path, mark: dict[str, str]
) -> None:
    (tmp_path / "slow.py").write_text("import time\ntime.sleep(60)\napp = None\n")
    more = ["--app", "slow:app", "--ready-timeout", "2"]
    done = launch(*THREE, *options(tmp_path, "slow"), *more, cwd=tmp_path, env=mark)
    assert done.returncode == 1
    assert "error: not ready in time: Envoy reports" in done.stderr
    assert all_gone(mark)


@pytest.mark.parametrize(
    ("offset", "port"), [(0, 8000), (0, 9901), (1, 8000), (2, 8001), (1, 8002)]
)
def test_up_names_the_process_that_occupies_a_port(offset: int, port: int, tmp_path: Path) -> None:
    address = new_address()
    node = address[:-1] + str(2 + offset)
    with socket.create_server((node, port)):
        done = launch(*THREE, *options(tmp_path, "taken", address))
    assert_one_line(done, f"port {port} on {node}: Address already in use by pid {os.getpid()} (")
    assert not list(tmp_path.glob("*.env"))


def test_up_refuses_a_name_that_is_in_use(deployment: Deployment, tmp_path: Path) -> None:
    done = deployment.run(*THREE, *options(tmp_path, deployment.name))
    assert_one_line(done, f"deployment '{deployment.name}' is already up", code=2)


def test_up_refuses_a_folder_that_is_in_use(deployment: Deployment) -> None:
    done = deployment.run(*THREE, *options(deployment.folder, "second"))
    assert_one_line(done, f"is in use by deployment '{deployment.name}'", code=2)
    assert (deployment.folder / "openenv-connection.env").exists()


def test_down_fails_without_a_deployment() -> None:
    assert_one_line(launch("down", "nothing"), "no deployment named 'nothing' is up", code=1)


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (["--nodes", "0"], "--nodes: '0' is not a whole number from 1 to 100,000"),
        (["--nodes=-2"], "--nodes: '-2' is not a whole number from 1"),
        (["--nodes", "many"], "--nodes: 'many' is not a whole number"),
        (["--nodes", "2.5"], "--nodes: '2.5' is not a whole number"),
        (["--max-concurrent-envs", "0"], "--max-concurrent-envs: '0' is not a whole number from 1"),
        (["--ready-timeout", "nan"], "--ready-timeout: 'nan' is not a number above 0"),
        (["--local-address", "10.0.0.1"], "outside the loopback range"),
        (["--app", "no colon"], "write it as module:attribute"),
        (["--name", "with space"], "a name consists of"),
        (["--config", "absent.yaml"], "--config: File 'absent.yaml' does not exist"),
    ],
)
def test_invalid_option_is_reported_on_one_line(
    flags: list[str], expected: str, tmp_path: Path
) -> None:
    assert_one_line(launch("up", "--local", *flags, cwd=tmp_path), expected, code=2)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("worker_per_node: 2", "unknown key 'worker_per_node'; did you mean 'workers_per_node'?"),
        ("nodes: [", "is not valid YAML"),
        ("- nodes", "must contain 'key: value' lines"),
        ("nodes: none", "key 'nodes' in deployment.yaml: 'none' should be a valid integer"),
    ],
)
def test_invalid_file_is_reported_on_one_line(text: str, expected: str, tmp_path: Path) -> None:
    (tmp_path / "deployment.yaml").write_text(text)
    done = launch("up", "--local", "--config", "deployment.yaml", cwd=tmp_path)
    assert_one_line(done, expected, code=2)


def test_invalid_variable_is_reported_on_one_line(tmp_path: Path) -> None:
    done = launch("up", "--local", cwd=tmp_path, env=os.environ | {"WORKERS_PER_NODE": "x"})
    assert_one_line(done, "variable WORKERS_PER_NODE: 'x' should be a valid integer", code=2)


def test_up_fails_in_a_folder_that_is_not_writable(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = launch(*THREE, *options(tmp_path / "file" / "below", "unwritable"))
    assert_one_line(done, "cannot write to", code=2)


def test_help_and_completion() -> None:
    for command in ([], ["up"], ["grid"], ["ui"], ["preflight"], ["plan"]):
        assert launch(*command, "--help").returncode == 0
    script = launch("completion", "bash").stdout
    assert "_LAUNCHER_COMPLETE" in script
    assert subprocess.run(["bash", "-n"], input=script, text=True, check=False).returncode == 0
    assert "\x1b[" not in launch("up", "--local", "--nodes", "0").stderr


def test_interrupting_a_detached_start_leaves_nothing(tmp_path: Path, mark: dict[str, str]) -> None:
    (tmp_path / "slow.py").write_text("import time\ntime.sleep(60)\napp = None\n")
    argv = [*LAUNCHER, *THREE, *options(tmp_path, "slow"), "--app", "slow:app", "--detach"]
    starting = subprocess.Popen(argv, cwd=tmp_path, env=mark)
    wait_for(lambda: len(processes_of(mark[MARK])) >= 5, 20, "processes are being started")
    starting.send_signal(signal.SIGINT)
    assert starting.wait(10) == 130
    wait_for(lambda: all_gone(mark), 5, "everything is gone")
