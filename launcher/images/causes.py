"""Why Apptainer failed, from its output: the messages of Apptainer, pip, debootstrap and FUSE."""

import re
from collections.abc import Collection
from enum import Enum


class Cause(Enum):
    """The value is a regular expression for the output; the first cause whose expression matches counts."""

    USER_NAMESPACES = (
        "no user namespace available|failed to create user namespace|max_user_namespaces"
    )
    FUSE = "fuse: (failed to open|mount failed|device not found)|squashfuse.* exited"
    OVERLAY = "FATAL: .*only root user can use sandbox as overlay"
    FOLDER = "FATAL: +failed to set working directory"
    BIND = "FATAL: .*mount source [^ ]+ doesn't exist"
    DISK_FULL = "no space left on device|disk quota exceeded"
    CERTIFICATE = "certificate.verify.failed|x509: "
    HASHES = "do not match the hashes"
    NO_DEBOOTSTRAP = "debootstrap is not in PATH"
    MIRROR = "failed getting release file"
    REGISTRY = (
        r"(conveyor failed to get|initializing source)[^\n]*(dial tcp|no such host|timeout"
        r"|connection refused|unauthorized|denied|manifest unknown|EOF|status: 40[0134])"
    )
    BAD_BASE = "image format not recognized|could not parse reference"
    PACKAGES = (
        "no matching distribution found|temporary failure in name resolution"
        "|failed to establish a new connection|failed to fetch|could not resolve"
        "|temporary failure resolving|unable to locate package"
    )
    PYTHON = "the server needs Python 3.11"
    TEST = "failed to execute %test"
    SUBUID = "failed to change uid and gids|user not listed in /etc/subuid"


# Each says what happened and what to do.
TEXTS = {
    Cause.USER_NAMESPACES: "only root may create user namespaces on this machine; use another one, or "
    "ask its administrator for user.max_user_namespaces > 0 and kernel.unprivileged_userns_clone = 1",
    Cause.FUSE: "/dev/fuse, which Apptainer mounts images with, is not usable on this machine; ask its "
    "administrator to run: modprobe fuse; chmod 666 /dev/fuse",
    Cause.OVERLAY: "Apptainer permits a scratch layer (--writable) only in user namespaces here; add "
    "--container-option=--userns",
    Cause.FOLDER: "the working folder does not exist in the image; choose another one with --workdir",
    Cause.BIND: "a folder that APPTAINER_BIND or the site's configuration binds does not exist on the node",
    Cause.DISK_FULL: "the disk is full; free some space, or set APPTAINER_TMPDIR (builds) and "
    "APPTAINER_CACHEDIR (downloads) to folders on a disk with a few GB",
    Cause.CERTIFICATE: "a certificate was rejected; set SSL_CERT_FILE to the bundle of the CAs you trust",
    Cause.HASHES: "a package differs from the locked one; check what your package index serves",
    Cause.NO_DEBOOTSTRAP: "debootstrap, which builds a base without Docker Hub, is not installed; install "
    "it, or choose a base with --base PATH or REFERENCE",
    Cause.MIRROR: "the Debian mirror cannot be reached; choose another one with --mirror URL",
    Cause.REGISTRY: "the registry of the base image cannot be reached from here; choose an image that can "
    "be reached with --base PATH or REFERENCE",
    Cause.BAD_BASE: "the base is neither an image on this machine nor a reference like REGISTRY/NAME:TAG",
    Cause.PACKAGES: "packages could not be downloaded; check the network, the proxy and pip's settings",
    Cause.PYTHON: "the environment's Python is older than 3.11, which the server needs; choose a base with a "
    "newer one with --base, such as --base python:3.12-slim",
    Cause.TEST: "the image was built, but its test fails (--no-test keeps it anyway)",
    Cause.SUBUID: "/etc/subuid and /etc/subgid do not list you, which some images require; ask for "
    "entries (usermod --add-subuids), or build on another machine and copy the image",
}


RUN_CAUSES = (Cause.USER_NAMESPACES, Cause.FUSE, Cause.OVERLAY, Cause.FOLDER, Cause.BIND)


def diagnose(output: str, causes: Collection[Cause] = tuple(Cause)) -> Cause | None:
    matching = (c for c in causes if re.search(c.value, output, re.IGNORECASE))
    return next(matching, None)


def explain_run_failure(output: str) -> str | None:
    """Explains the output of a container, in which only these messages are Apptainer's own."""
    cause = diagnose(output, RUN_CAUSES)
    return None if cause is None else TEXTS[cause]
