"""Which of the GPUs of a server each of its workers uses."""

from collections.abc import Mapping

# Slurm sets these for a step that may use some of the GPUs of its node.
VISIBLE = ("CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES")


def worker_gpus(
    index: int, workers: int, gpus: int, environment: Mapping[str, str]
) -> dict[str, str]:
    """Divides the GPUs among the workers; several workers share one if there are too few."""
    visible = {name: environment[name].split(",") for name in VISIBLE if environment.get(name)}
    visible = visible or {VISIBLE[0]: [str(number) for number in range(gpus)]}
    return {
        name: ",".join(_share(devices, index, workers)) for name, devices in visible.items() if gpus
    }


def _share(devices: list[str], index: int, workers: int) -> list[str]:
    if len(devices) <= workers:
        return [devices[index % len(devices)]]
    count = len(devices)
    return devices[index * count // workers : (index + 1) * count // workers]
