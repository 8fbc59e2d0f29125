"""The header and labels of an image file in Apptainer's format, SIF: https://github.com/apptainer/sif

Uses the standard library only and reads few bytes, because every node does it.
"""

import hashlib
import json
import os
import struct
from pathlib import Path
from typing import Any, BinaryIO

from launcher.errors import UsageError

# Launch script, magic, version, architecture, id, two times, free and total descriptors, and the offsets
# and lengths of the descriptors and of the data.
HEADER = struct.Struct("<32s10s3s3s16s6q2q")
MAGIC = b"SIF_MAGIC\0"
# Type, used, id, group, link, offset, size, size with padding, two times, owner, group, name.
DESCRIPTOR = struct.Struct("<i?3I3q2q2q128s")
DESCRIPTOR_BYTES = 585
GENERIC_JSON = 0x4006
LABELS_BYTES = 1 << 20
# Machines by the code of their architecture.
MACHINES = {b"02": "x86_64", b"04": "aarch64", b"06": "ppc64le", b"09": "s390x"}


class NotAnImage(UsageError): ...


def digest(image: Path) -> str:
    """Identifies an image by a hash of everything before its data, and its size.

    The header holds the times of the build and an id that is unique to it, so copies have the same
    digest and builds do not. Data that was altered in place goes unnoticed. Raises `NotAnImage`, also for
    the image of another architecture than this machine's.
    """
    with _open(image) as file:
        _, _, _, architecture, *_, data_offset, _ = _header(image, file)
        machine = MACHINES.get(architecture[:2])
        if machine not in (None, os.uname().machine):
            raise NotAnImage(
                f"{image} is for {machine}, and this machine is {os.uname().machine}; build it on a "
                "machine like the nodes"
            )
        file.seek(0)
        return hashlib.sha256(file.read(data_offset) + b"%d" % _size(file)).hexdigest()


def labels(image: Path) -> dict[str, str]:
    """The labels that `apptainer inspect` shows. Raises `NotAnImage`."""
    with _open(image) as file:
        *_, total, offset, _, _, _ = _header(image, file)
        for number in range(total):
            file.seek(offset + number * DESCRIPTOR_BYTES)
            kind, used, _, _, _, start, size, *_ = DESCRIPTOR.unpack(file.read(DESCRIPTOR.size))
            if used and kind == GENERIC_JSON and size <= LABELS_BYTES:
                file.seek(start)
                data = json.loads(file.read(size)).get("data", {})
                return dict(data.get("attributes", {}).get("labels") or {})
    return {}


def _open(image: Path) -> BinaryIO:
    try:
        return image.open("rb")
    except FileNotFoundError:
        raise NotAnImage(f"{image} does not exist; build images with: launcher build") from None
    except OSError as failure:
        raise NotAnImage(f"{image} cannot be read: {failure.strerror}") from None


def _header(image: Path, file: BinaryIO) -> tuple[Any, ...]:
    try:
        header = HEADER.unpack(file.read(HEADER.size))
    except struct.error:
        header = ()
    if not header or header[1] != MAGIC:
        raise NotAnImage(f"{image} is not an Apptainer image (SIF); build one with: launcher build")
    *_, data_offset, data_bytes = header
    if _size(file) < data_offset + data_bytes:
        raise NotAnImage(
            f"{image} is truncated to {_size(file)} of {data_offset + data_bytes} bytes; copy it again, or "
            "rebuild it with: launcher build --force"
        )
    return header


def _size(file: BinaryIO) -> int:
    return file.seek(0, 2)
