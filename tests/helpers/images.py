"""Files that look like images of Apptainer."""

import os
from pathlib import Path

from launcher.images import sif


def image(
    path: Path, labels: str = "{}", padding: bytes = b"", architecture: bytes | None = None
) -> Path:
    """A file with the header of an image: one part, its metadata."""
    metadata = b'{"data": {"attributes": {"labels": %s}}}' % labels.encode()
    own = next(code for code, machine in sif.MACHINES.items() if machine == os.uname().machine)
    offset, start = 4096, 8192
    header = sif.HEADER.pack(
        *(b"#!launch\n", sif.MAGIC, b"01", architecture or own, b"i" * 16, 1, 2, 0, 1),
        *(offset, sif.DESCRIPTOR_BYTES, start, len(metadata)),
    )
    part = sif.DESCRIPTOR.pack(
        *(sif.GENERIC_JSON, True, 1, 1, 0, start, len(metadata), 0, 1, 2, 3, 4, b"")
    )
    path.write_bytes((header.ljust(offset, b"\0") + part).ljust(start, b"\0") + metadata + padding)
    return path
