"""How the GPUs of a server are divided among its workers."""

import pytest

from benchmark.server.gpus import worker_gpus


@pytest.mark.parametrize(
    ("workers", "visible", "shares"),
    [
        (2, "0,1", ["0", "1"]),
        (3, "4,7", ["4", "7", "4"]),
        (2, "0,1,2,3", ["0,1", "2,3"]),
        (2, "0,1,2", ["0", "1,2"]),
        (2, "GPU-a", ["GPU-a", "GPU-a"]),
        (1, "0,1", ["0,1"]),
    ],
)
def test_visible_gpus_are_divided(workers: int, visible: str, shares: list[str]) -> None:
    environment = {"CUDA_VISIBLE_DEVICES": visible, "OTHER": "1"}
    found = [worker_gpus(index, workers, 9, environment) for index in range(workers)]
    assert found == [{"CUDA_VISIBLE_DEVICES": share} for share in shares]


def test_gpus_are_numbered_where_nothing_says_which_are_visible() -> None:
    assert worker_gpus(1, 2, 2, {"CUDA_VISIBLE_DEVICES": ""}) == {"CUDA_VISIBLE_DEVICES": "1"}


def test_each_kind_of_gpu_is_divided() -> None:
    environment = {"CUDA_VISIBLE_DEVICES": "0,1", "ROCR_VISIBLE_DEVICES": "2,3"}
    expected = {"CUDA_VISIBLE_DEVICES": "1", "ROCR_VISIBLE_DEVICES": "3"}
    assert worker_gpus(1, 2, 2, environment) == expected


def test_nothing_is_set_unless_gpus_were_asked_for() -> None:
    assert worker_gpus(0, 2, 0, {"CUDA_VISIBLE_DEVICES": "0,1"}) == {}
