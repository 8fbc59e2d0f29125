"""The header of an image file (SIF): what identifies the image, and its labels.

Only the standard library, and only the file's first and few bytes: every node can ask.
"""

import hashlib
import json
import struct
from pathlib import Path
from typing import Any, BinaryIO

from launcher.errors import UsageError

# launch script, magic, version, architecture, id, two times, free and total descriptors,
# then where the descriptors and the data begin, and how long they are
HEADER = struct.Struct("<32s10s3s3s16s6q2q")
MAGIC = b"SIF_MAGIC\0"
# type, used, id, group, link, offset, size, size with padding, two times, owner, group, name
DESCRIPTOR = struct.Struct("<i?3I3q2q2q128s")
DESCRIPTOR_BYTES = 585
GENERIC_JSON = 0x4006
LABELS_BYTES = 1 << 20


class NotAnImage(UsageError):
    pass


def digest(image: Path) -> str:
    """What identifies an image: a hash of everything before its data, and its size.

    The header holds an id that every build draws anew, the time, and where each part lies, so two
    builds differ and copies agree. It is read in a moment from any file system; a copy that was cut
    short is refused. A file whose data was altered in place afterwards is not noticed.
    """
    with _open(image) as file:
        *_, data_offset, _ = _header(image, file)
        file.seek(0)
        return hashlib.sha256(file.read(data_offset) + b"%d" % _size(file)).hexdigest()


def labels(image: Path) -> dict[str, str]:
    """An image's labels, as `apptainer inspect` shows them."""
    with _open(image) as file:
        *_, total, offset, _, _, _ = _header(image, file)
        for number in range(total):
            file.seek(offset + number * DESCRIPTOR_BYTES)
            kind, used, _, _, _, start, size, *_ = DESCRIPTOR.unpack(file.read(DESCRIPTOR.size))
            if used and kind == GENERIC_JSON and size <= LABELS_BYTES:
                file.seek(start)
                return _labels(json.loads(file.read(size)))
    return {}


def _labels(metadata: dict[str, Any]) -> dict[str, str]:
    found: dict[str, str] = metadata.get("data", {}).get("attributes", {}).get("labels") or {}
    return found


def _open(image: Path) -> BinaryIO:
    try:
        return image.open("rb")
    except FileNotFoundError:
        raise NotAnImage(f"{image}: there is no such image; launcher build makes images") from None
    except OSError as failure:
        raise NotAnImage(f"{image}: the image cannot be read: {failure.strerror}") from None


def _header(image: Path, file: BinaryIO) -> tuple[Any, ...]:
    try:
        header = HEADER.unpack(file.read(HEADER.size))
    except struct.error:
        header = ()
    if not header or header[1] != MAGIC:
        raise NotAnImage(f"{image} is not an Apptainer image (SIF); make one with: launcher build")
    *_, data_offset, data_bytes = header
    if _size(file) < data_offset + data_bytes:
        raise NotAnImage(
            f"{image} is cut short: {_size(file)} of {data_offset + data_bytes} bytes; "
            "copy it again, or make it anew with: launcher build --force"
        )
    return header


def _size(file: BinaryIO) -> int:
    return file.seek(0, 2)
