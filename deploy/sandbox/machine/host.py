"""Settings of this machine that the nodes use: certificates, proxies and those of pip."""

import configparser
import os
import platform
import re
import subprocess
from pathlib import Path
from urllib.parse import unquote, urlsplit

from sandbox.errors import UsageError
from sandbox.machine.sources import find_mirror, read_sources, Source

BUNDLE = Path("/etc/ssl/certs/ca-certificates.crt")
CERTIFICATES = (
    "SSL_CERT_FILE",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "PIP_CERT",
    "GIT_SSL_CAINFO",
)
PROXIES = ("http_proxy", "https_proxy", "ftp_proxy", "all_proxy", "no_proxy")
NOT_FOR_NODES = {"PIP_CONFIG_FILE", "PIP_CACHE_DIR", "PIP_TARGET", "PIP_PREFIX", "PIP_USER"}


def check() -> None:
    if os.geteuid() != 0:
        raise UsageError("the sandbox creates namespaces and mounts: run it as root")
    if platform.freedesktop_os_release().get("ID") != "debian":
        raise UsageError("the sandbox requires Debian, whose mirror provides its nodes")


def mirror() -> Source:
    codename = platform.freedesktop_os_release().get("VERSION_CODENAME", "")
    return find_mirror(read_sources(), codename)


def ca_bundle() -> Path:
    bundles = [Path(os.environ[name]) for name in CERTIFICATES if os.environ.get(name)]
    return next((path for path in [*bundles, BUNDLE] if path.is_file()), Path(os.devnull))


def apt_proxies() -> dict[str, str]:
    variables = {name: value for name, value in os.environ.items() if name.lower() in PROXIES}
    for scheme in ("http", "https"):
        argv = ["apt-config", "shell", "proxy", f"Acquire::{scheme}::Proxy"]
        answer = subprocess.run(argv, capture_output=True, text=True, check=False).stdout
        if answer.startswith("proxy="):
            variables[f"{scheme}_proxy"] = answer.strip().removeprefix("proxy=").strip("'")
    return variables


def variables() -> dict[str, str]:
    names = (*PROXIES, *(name.lower() for name in CERTIFICATES))
    return {
        name: value
        for name, value in os.environ.items()
        if name.lower() in names or (name.startswith("PIP_") and name not in NOT_FOR_NODES)
    }


def certificates() -> set[Path]:
    named = {Path(value) for name, value in os.environ.items() if name in CERTIFICATES}
    return {path for path in {*named, BUNDLE} if path.is_file()}


def pip_settings() -> configparser.RawConfigParser:
    home = Path.home()
    xdg = Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config")
    files = [Path("/etc/pip.conf"), home / ".pip/pip.conf", xdg / "pip/pip.conf"]
    if named := os.environ.get("PIP_CONFIG_FILE"):
        files.append(Path(named))
    merged = configparser.RawConfigParser()
    merged.read(files)
    return merged


def pip_folders(settings: configparser.RawConfigParser) -> list[Path]:
    values = [value for section in settings.sections() for _, value in settings.items(section)]
    values += [value for name, value in os.environ.items() if name.startswith("PIP_")]
    words = [word for value in values for word in value.split()]
    local = [Path(unquote(urlsplit(word).path)) for word in words if re.match("/|file:", word)]
    # an index has its packages next to its pages
    folders = {path.parent if path.name == "simple" else path for path in local if path.is_dir()}
    return sorted(folders - {Path("/")})
