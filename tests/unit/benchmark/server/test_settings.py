"""Settings from environment variables, and the ports of a server."""

import argparse
import socket

import pytest

from benchmark.server.settings import (
    add_serving_options,
    Ports,
    ports_from,
    Serving,
    serving_from,
    SettingError,
    Settings,
    settings_from_environment,
)


def test_settings_are_read_from_the_environment() -> None:
    settings = settings_from_environment(
        {"WORKERS": "4", "PORT": "8100", "MAX_CONCURRENT_ENVS": "64", "NODE_NAME": "gpu-1"}
    )
    assert settings == Settings(4, 8100, 64, "gpu-1")
    assert settings.host_url == "gpu-1:8100"


@pytest.mark.parametrize("environment", [{}, {"WORKERS": "", "PORT": "", "NODE_NAME": ""}])
def test_settings_have_defaults_when_variables_are_missing_or_empty(
    environment: dict[str, str],
) -> None:
    assert settings_from_environment(environment) == Settings(1, 8000, 100, socket.gethostname())


@pytest.mark.parametrize(
    ("environment", "workers"),
    [
        ({"WORKERS": "2", "SLURM_CPUS_PER_TASK": "8"}, 2),
        ({"SLURM_CPUS_PER_TASK": "8"}, 8),
        ({"WORKERS": "", "SLURM_CPUS_PER_TASK": "8"}, 8),
    ],
)
def test_workers_default_to_the_cpus_of_the_slurm_task(
    environment: dict[str, str], workers: int
) -> None:
    assert settings_from_environment(environment).workers == workers


@pytest.mark.parametrize(
    ("name", "high"),
    [("WORKERS", 4096), ("SLURM_CPUS_PER_TASK", 4096), ("MAX_CONCURRENT_ENVS", 10_000_000)],
)
@pytest.mark.parametrize("value", ["0", "-1", "x", "1.5", " 2", "1e3", "10000001"])
def test_a_value_outside_its_range_is_rejected_by_name(name: str, high: int, value: str) -> None:
    with pytest.raises(SettingError) as refused:
        settings_from_environment({name: value})
    assert str(refused.value) == f"{name}={value!r} is not a whole number from 1 to {high}"


@pytest.mark.parametrize("value", ["0", "x", "65536"])
def test_an_invalid_port_is_rejected(value: str) -> None:
    with pytest.raises(SettingError, match=rf"^PORT='{value}' is not a whole number"):
        settings_from_environment({"PORT": value})


def test_a_port_without_room_for_the_other_ports_is_rejected() -> None:
    with pytest.raises(SettingError, match=r"^PORT='65535' "):
        settings_from_environment({"PORT": "65535", "WORKERS": "1"})


def test_the_ports_of_a_server_are_consecutive() -> None:
    assert ports_from(8000) == Ports(shared=8000, control=8001, first_own=8002)
    assert ports_from(8000).all(3) == [8000, 8001, 8002, 8003, 8004]
    assert Ports(8000, 9000, 9100).all(2) == [8000, 9000, 9100, 9101]


@pytest.mark.parametrize(
    ("name", "lowest", "highest"),
    [
        ("WORKERS", 1, 4096),
        ("SLURM_CPUS_PER_TASK", 1, 4096),
        ("PORT", 1, 60_000),
        ("MAX_CONCURRENT_ENVS", 1, 10_000_000),
    ],
)
def test_both_ends_of_a_range_are_valid(name: str, lowest: int, highest: int) -> None:
    for value in (lowest, highest):
        settings = settings_from_environment({name: str(value)})
        assert value in (settings.workers, settings.port, settings.max_concurrent_envs)
    with pytest.raises(SettingError):
        settings_from_environment({name: str(highest + 1)})


def test_worker_ports_count_from_the_first() -> None:
    ports = Ports(shared=8000, control=9000, first_own=9100)
    assert [ports.own(index) for index in (0, 1, 5)] == [9100, 9101, 9105]


def parsed(*arguments: str) -> Serving:
    parser = argparse.ArgumentParser()
    add_serving_options(parser)
    return serving_from(parser.parse_args(arguments))


@pytest.mark.parametrize(
    "serving", [Serving(), Serving("env:app", strict_sessions=True, idle_timeout=0.5)]
)
def test_the_arguments_of_a_worker_give_the_serving_of_its_server(serving: Serving) -> None:
    assert parsed(*serving.arguments()) == serving


@pytest.mark.parametrize("value", ["0", "-1", "nan", "inf", "soon"])
def test_an_idle_timeout_is_a_number_of_seconds(
    value: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        parsed(f"--idle-timeout={value}")
    assert f"'{value}' is not a number of seconds above 0" in capsys.readouterr().err
