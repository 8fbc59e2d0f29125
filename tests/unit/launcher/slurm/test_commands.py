import contextlib
from collections.abc import Callable
from pathlib import Path

import pytest

from launcher.deployment.paths import RunDir
from launcher.deployment.spec import Deployment
from launcher.errors import UsageError
from launcher.slurm import commands
from launcher.slurm.commands import Job, parse_job, SlurmFailed
from launcher.slurm.salloc import salloc_argv
from launcher.slurm.sbatch import sbatch_argv
from launcher.slurm.srun import step_argv
from tests.helpers.allocations import HETEROGENEOUS, PLAIN

Program = Callable[[str, str], None]


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Program:
    """Installs a shell script as one of Slurm's programs."""
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")

    def install(name: str, script: str) -> None:
        file = tmp_path / name
        file.write_text(f"#!/bin/sh\n{script}\n")
        file.chmod(0o755)

    return install


def test_a_job_is_read_from_its_first_component() -> None:
    text = (
        "\nJobId=12 JobName=x JobState=PENDING Reason=Resources Comment=a=b NodeList=\n"
        "JobId=13 JobState=RUNNING Reason=None NodeList=n[1-2]\n"
    )
    assert parse_job("12", text) == Job("12", "PENDING", "Resources", "")
    assert parse_job("12", "") == Job("12", "UNKNOWN", "", "")


@pytest.mark.parametrize(
    ("reason", "description"),
    [
        ("Resources", "PENDING (Resources)"),
        ("None", "PENDING"),
        ("", "PENDING"),
        ("NonZeroExitCode", "PENDING"),
    ],
)
def test_a_job_is_described_with_an_informative_reason(reason: str, description: str) -> None:
    assert Job("12", "PENDING", reason).description == description


@pytest.mark.parametrize(
    ("state", "active", "ended"),
    [
        *(("RUNNING", True, False), ("SUSPENDED", True, False), ("REQUEUED", True, False)),
        ("COMPLETING", False, False),
        *(("TIMEOUT", False, True), ("PREEMPTED", False, True), ("UNKNOWN", False, True)),
    ],
)
def test_a_job_is_active_completing_or_ended(state: str, active: bool, ended: bool) -> None:
    job = Job("12", state, "None")
    assert (job.active, job.ended) == (active, ended)


def test_a_forgotten_job_is_unknown_and_has_no_steps(program: Program) -> None:
    for name in ("scontrol", "squeue"):
        program(name, "echo 'slurm_load_jobs error: Invalid job id specified' >&2; exit 1")
    assert commands.job("7") == Job("7", "UNKNOWN", "")
    assert commands.steps("7") == {}


def test_another_failure_is_raised_with_the_command(program: Program) -> None:
    program("scontrol", "echo 'scontrol: error: Unable to contact slurm controller' >&2; exit 1")
    with pytest.raises(
        SlurmFailed,
        match=r"^Unable to contact slurm controller; the command was: scontrol --oneliner show job 7$",
    ):
        commands.job("7")
    program("squeue", "echo 'squeue: error: Access denied' >&2; exit 1")
    with pytest.raises(SlurmFailed, match=r"^Access denied; the command was: squeue"):
        commands.steps("7")


def test_steps_are_found_by_name(program: Program) -> None:
    program("squeue", "printf '7.0 openenv-x\\n7.batch\\n7.1 a name\\n'")
    assert commands.steps("7") == {"openenv-x": "7.0", "a name": "7.1"}


def test_node_states_keep_their_flags(program: Program) -> None:
    program("sinfo", "printf 'n1 idle\\nn2 down*\\n'")
    assert commands.node_states(["n1", "n2"]) == {"n1": "idle", "n2": "down*"}


def test_the_id_of_a_submitted_job_is_the_last_line_without_its_cluster(program: Program) -> None:
    program("sbatch", "printf 'a note\\n12;cluster\\n'")
    assert commands.submit(("sbatch", "--parsable", "job.sh")) == "12"


def test_a_missing_program_is_a_usage_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(UsageError, match="Slurm is not installed here: squeue is not on PATH"):
        commands.steps("7")


@pytest.mark.parametrize(
    ("error", "raises"),
    [("", False), ("scancel: error: Invalid job id 7", False), ("Access denied", True)],
)
def test_cancel_ignores_a_job_that_has_ended(error: str, raises: bool, program: Program) -> None:
    program("scancel", f"printf '{error}' >&2; exit 1")
    with pytest.raises(SlurmFailed) if raises else contextlib.nullcontext():
        commands.cancel("7")


def test_a_step_has_one_task_on_every_node() -> None:
    argv = step_argv(PLAIN, ["n2", "n3"], "openenv-x", ["agent", "60"])
    assert (argv[0], argv[-2:]) == ("srun", ("agent", "60"))
    nodes = {"--jobid=7", "--nodes=2", "--ntasks=2", "--ntasks-per-node=1", "--nodelist=n2,n3"}
    assert nodes | {"--overlap", "--no-kill", "--kill-on-bad-exit=0"} <= set(argv)
    assert not [word for word in argv if word.startswith("--het-group")]


def test_a_step_of_a_heterogeneous_job_names_its_component() -> None:
    argv = step_argv(HETEROGENEOUS, ["b2"], "x", ["agent"])
    assert {"--jobid=7", "--het-group=1", "--nodelist=b2", "--nodes=1"} <= set(argv)


def test_a_job_is_never_requeued_and_survives_the_failure_of_a_node() -> None:
    deployment = Deployment(nodes=5, client_nodes=2, partition="p", time="1:00:00", mem="4G")
    rundir = RunDir(Path("/srv/a b/100%"), "x")
    argv = sbatch_argv(deployment.model_copy(update={"sbatch": ("--gres=gpu:1",)}), rundir)
    assert (argv[:2], argv[-1]) == (("sbatch", "--parsable"), "/srv/a b/100%/openenv-job.sh")
    options = {"--nodes=7", "--partition=p", "--time=1:00:00", "--mem=4G", "--gres=gpu:1"}
    assert options | {"--no-requeue", "--no-kill"} <= set(argv)
    assert "--output=/srv/a b/100%%/benchmark-env-job.log" in argv
    assert not [word for word in argv if word.startswith("--account")]


def test_an_empty_option_is_passed_to_slurm_and_has_no_default_of_its_own() -> None:
    deployment = Deployment(partition="", account=None, time="")
    options = [option for option in sbatch_argv(deployment, deployment.rundir) if option[-1] == "="]
    assert options == ["--partition=", "--time="]
    assert {"--partition=", "--time=5"} <= set(salloc_argv(deployment))
