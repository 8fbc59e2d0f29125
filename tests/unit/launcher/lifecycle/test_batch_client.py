"""What the submitting side reports and raises, from the state and the job."""

from pathlib import Path

import pytest

from launcher.deployment.spec import Deployment
from launcher.deployment.state import DeploymentState, DeploymentStatus, Event
from launcher.errors import (
    DeploymentEnded,
    DeploymentFailed,
    LauncherError,
    StartFailed,
    UsageError,
)
from launcher.lifecycle.batch_client import BatchClient
from launcher.lifecycle.batch_job import script
from launcher.lifecycle.user_command import check_command, UserCommand
from launcher.slurm.commands import Job

FAILED, ENDED = DeploymentStatus.FAILED, DeploymentStatus.ENDED
JOB = Job("17", "FAILED", "NonZeroExitCode")


@pytest.fixture
def reported() -> list[str]:
    return []


@pytest.fixture
def client(tmp_path: Path, reported: list[str]) -> BatchClient:
    client = BatchClient(Deployment(name="blue", dir=tmp_path), reported.append)
    client.job_id = "17"
    return client


@pytest.mark.parametrize(
    ("status", "ready_at", "error"),
    [
        (FAILED, None, StartFailed),
        (FAILED, 1.0, DeploymentFailed),
        (ENDED, None, StartFailed),
        (ENDED, 1.0, DeploymentEnded),
    ],
)
def test_a_recorded_failure_is_raised_by_its_status(
    client: BatchClient,
    status: DeploymentStatus,
    ready_at: float | None,
    error: type[LauncherError],
) -> None:
    state = DeploymentState(status=status, ready_at=ready_at, error="first\nsecond")
    failure = client._failure(state, JOB)
    assert type(failure) is error
    assert str(failure) == "first\nsecond"
    without_text = client._failure(DeploymentState(status=status, ready_at=ready_at))
    assert str(without_text) == f"the deployment has {status}"


def test_a_deployment_that_was_stopped_has_ended(client: BatchClient) -> None:
    failure = client._failure(DeploymentState(status=DeploymentStatus.STOPPED))
    assert (type(failure), str(failure)) == (DeploymentEnded, "blue was stopped")


@pytest.mark.parametrize(("ready_at", "error"), [(None, StartFailed), (1.0, DeploymentEnded)])
def test_a_job_that_ended_silently_shows_the_end_of_its_log(
    client: BatchClient, ready_at: float | None, error: type[LauncherError]
) -> None:
    client.rundir.batch_log.write_text("one\ntwo\n")
    state = DeploymentState(status=DeploymentStatus.READY, ready_at=ready_at, host="node1")
    failure = client._failure(state, JOB)
    assert type(failure) is error
    assert "; its launcher on node1 reported nothing" in str(failure)
    assert str(failure).endswith(f"the end of {client.rundir.batch_log}:\n  one\n  two")


def test_a_failed_job_without_a_log_suggests_a_shared_folder(client: BatchClient) -> None:
    failure = client._failure(DeploymentState(), JOB)
    assert type(failure) is UsageError
    assert "which its nodes may not share" in str(failure)
    assert "its launcher on" not in str(failure)
    cancelled = client._failure(DeploymentState(), Job("17", "CANCELLED", "None"))
    assert type(cancelled) is StartFailed
    assert str(cancelled).endswith(":\n  nothing")
    assert "reason unknown" in str(client._failure(DeploymentState()))


def test_each_event_is_reported_once_and_quiet_ones_never(
    client: BatchClient, reported: list[str]
) -> None:
    events = (Event("", "a"), Event("", "ready: not quiet"), Event("", "hidden", quiet=True))
    client._report_events(DeploymentState(events=events[:1]))
    client._report_events(DeploymentState(events=events))
    client._report_events(DeploymentState())
    client._report_events(DeploymentState(events=(*events, Event("", "b"))))
    assert reported == ["a", "ready: not quiet", "b"]


def test_a_state_of_another_job_is_not_read(client: BatchClient) -> None:
    state = DeploymentState(job="16", status=DeploymentStatus.READY)
    state.save(client.rundir.state)
    assert client._state() == DeploymentState()
    DeploymentState(job="17", status=DeploymentStatus.READY).save(client.rundir.state)
    assert client._state().status is DeploymentStatus.READY


def test_the_batch_script_becomes_the_launcher(client: BatchClient) -> None:
    first, command = script(client.rundir).splitlines()
    assert first == "#!/bin/sh"
    assert command.startswith("exec ")
    assert command.endswith("openenv-request.json")


def test_a_command_that_does_not_exist_is_refused() -> None:
    check_command(None)
    check_command(["sh", "-c", "no-such-program"])
    with pytest.raises(UsageError, match="cannot run 'no-such-program': no such program"):
        check_command(["no-such-program"])


def test_a_command_gets_the_connection_and_its_exit_code_is_returned() -> None:
    command = UserCommand(["sh", "-c", 'exit "$CODE"'], {"CODE": "7"})
    assert command.popen.wait(20) == 7
    command.terminate()
    assert command.wait() == 7


def test_a_command_that_is_terminated_reports_its_signal() -> None:
    command = UserCommand(["sleep", "60"], {})
    command.terminate()
    assert command.popen.wait(20) == command.wait() == 128 + 15


def test_the_variables_of_another_deployment_in_the_folder_stay(client: BatchClient) -> None:
    client.rundir.variables.write_text("{}")
    client.job_id = None  # its submission was refused
    client.stop()
    assert client.rundir.variables.exists()
