"""The GPUs of a node, by its devices and by what Slurm leaves of them."""

from pathlib import Path

import pytest

from launcher.system.gpus import count_gpus, gpu_variables


@pytest.mark.parametrize(
    ("visible", "count"), [("0,1", 2), ("GPU-a", 1), ("", 1), ("NoDevFiles", 0)]
)
def test_visible_devices_count(visible: str, count: int, tmp_path: Path) -> None:
    (tmp_path / "nvidia0").touch()
    environment = {"CUDA_VISIBLE_DEVICES": visible} if visible else {}
    assert count_gpus(environment, tmp_path) == count


def test_devices_count(tmp_path: Path) -> None:
    assert count_gpus({}, tmp_path) == 0
    for name in ("nvidia0", "nvidia1", "nvidiactl", "nvidia-uvm"):
        (tmp_path / name).touch()
    assert count_gpus({}, tmp_path) == 2
    (tmp_path / "dri").mkdir()
    (tmp_path / "dri/renderD128").touch()
    assert count_gpus({}, tmp_path) == 2
    (tmp_path / "kfd").touch()
    assert count_gpus({}, tmp_path) == 3


def test_containers_see_the_same_devices() -> None:
    environment = {"CUDA_VISIBLE_DEVICES": "3", "ROCR_VISIBLE_DEVICES": "1", "OTHER": "x"}
    assert gpu_variables(environment) == {
        "APPTAINERENV_CUDA_VISIBLE_DEVICES": "3",
        "APPTAINERENV_ROCR_VISIBLE_DEVICES": "1",
    }
    assert gpu_variables({}) == {}
