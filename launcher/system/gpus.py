"""The GPUs of this node."""

import os
import re
from collections.abc import Mapping
from pathlib import Path

from benchmark.server.gpus import VISIBLE


def count_gpus(environment: Mapping[str, str] = os.environ, devices: Path = Path("/dev")) -> int:
    for name in VISIBLE:
        if name in environment:
            return len([word for word in environment[name].split(",") if word != "NoDevFiles"])
    nvidia = [file for file in devices.glob("nvidia*") if re.fullmatch(r"nvidia\d+", file.name)]
    amd = list(devices.glob("dri/renderD*")) if (devices / "kfd").exists() else []
    return len(nvidia) + len(amd)


def gpu_variables(environment: Mapping[str, str]) -> dict[str, str]:
    """Apptainer's variables that name the same GPUs in a container, which sees no others."""
    return {f"APPTAINERENV_{name}": environment[name] for name in VISIBLE if name in environment}
