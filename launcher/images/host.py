"""Settings of this machine that a build uses: trusted CAs, proxies and pip's settings.

They are bound into the build at /mnt or passed as variables; none of them remains in the image.
"""

import ast
import configparser
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit

from launcher.images.assets import asset
from launcher.system.debug_log import log_command

INSIDE = Path("/mnt")
BUNDLES = (
    *("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt"),
    *("/etc/ssl/ca-bundle.pem", "/etc/ssl/cert.pem"),
)
BUNDLE_VARIABLES = (
    *("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "PIP_CERT", "CURL_CA_BUNDLE"),
    *("GIT_SSL_CAINFO", "NODE_EXTRA_CA_CERTS"),
)
PROXY_VARIABLES = ("http_proxy", "https_proxy", "ftp_proxy", "all_proxy", "no_proxy")
FOLDER_SETTINGS = ("index-url", "extra-index-url", "find-links")
PIP_SETTINGS = (
    *(*FOLDER_SETTINGS, "no-index", "trusted-host", "timeout", "default-timeout"),
    *("retries", "proxy"),
)


@dataclass
class HostSettings:
    """`folder` is bound at /mnt."""

    folder: Path
    binds: list[str] = field(default_factory=list)
    variables: dict[str, str] = field(default_factory=dict)

    def bind(self, source: Path, name: str) -> Path:
        (self.folder / name).mkdir()
        self.binds.append(f"{source}:{INSIDE / name}:ro")
        return INSIDE / name

    @property
    def environment(self) -> dict[str, str]:
        """The variables under the names by which Apptainer passes them into a build."""
        return {f"APPTAINERENV_{key}": value for key, value in self.variables.items()}


def read(folder: Path, mirror: str | None = None) -> HostSettings:
    """Writes the settings to `folder`, which only this user may be able to read. `mirror` is the Debian
    mirror of images that have none."""
    settings = HostSettings(folder, [f"{folder}:{INSIDE}"])
    _write_apt(folder, mirror)
    pip = pip_settings(os.environ, pip_config())
    if bundle := find_bundle(pip):
        shutil.copyfile(bundle, folder / "ca.crt")
        settings.variables |= dict.fromkeys(BUNDLE_VARIABLES, str(INSIDE / "ca.crt"))
    proxies = [*PROXY_VARIABLES, *(name.upper() for name in PROXY_VARIABLES)]
    settings.variables |= {name: os.environ[name] for name in proxies if os.environ.get(name)}
    local = _bind_folders(settings, pip)
    config = configparser.RawConfigParser()
    config["global"] = {"disable-pip-version-check": "true", "no-cache-dir": "true", **local}
    with (folder / "pip.conf").open("w") as file:
        config.write(file)
    settings.variables["PIP_CONFIG_FILE"] = str(INSIDE / "pip.conf")
    if "index-url" in local:
        settings.variables["UV_DEFAULT_INDEX"] = local["index-url"]
    return settings


def _write_apt(folder: Path, mirror: str | None) -> None:
    shutil.copyfile(asset("containers", "apt.sh"), folder / "apt.sh")
    if mirror is not None:
        (folder / "sources.list").write_text(f"deb {mirror} {base_suite()} main\n")
        (folder / "apt.conf").write_text(
            f'Dir::Etc::SourceList "{INSIDE}/sources.list";\n'
            'Dir::Etc::SourceParts "-";\n'
            f'Acquire::https::CAInfo "{INSIDE}/ca.crt";\n'
        )


def base_suite() -> str:
    """The release of Debian of a base that is built here."""
    found = re.search(r"^ *SUITE=(\S+)$", asset("containers", "base.def").read_text(), re.MULTILINE)
    assert found is not None
    return found[1]


def find_bundle(pip: Mapping[str, str]) -> Path | None:
    named = [os.environ.get(name) for name in BUNDLE_VARIABLES[:4]]
    for candidate in [*named, pip.get("cert"), *BUNDLES]:
        if candidate and Path(candidate).is_file():
            return Path(candidate)
    return None


def pip_config() -> str:
    """The output of `pip config list`; empty if this Python has no pip."""
    argv = (sys.executable, "-m", "pip", "--disable-pip-version-check", "config", "list")
    log_command(__name__, argv)
    return subprocess.run(argv, capture_output=True, text=True, check=False).stdout


def pip_settings(environment: Mapping[str, str], config: str) -> dict[str, str]:
    """pip's settings by name: variables take precedence over [install], and that over [global]."""
    sections: dict[str, dict[str, str]] = {"global": {}, "install": {}}
    for line in config.splitlines():
        name, _, value = line.partition("=")
        section, _, key = name.partition(".")
        if section in sections:
            sections[section][key] = str(ast.literal_eval(value))
    variables = {
        name.removeprefix("PIP_").lower().replace("_", "-"): value
        for name, value in environment.items()
        if name.startswith("PIP_") and value
    }
    return sections["global"] | sections["install"] | variables


def _bind_folders(settings: HostSettings, pip: Mapping[str, str]) -> dict[str, str]:
    """pip's settings within the build, where folders of this machine are bound below /mnt."""
    local = {key: pip[key] for key in PIP_SETTINGS if key in pip}
    for key in FOLDER_SETTINGS:
        places = []
        for place in local.get(key, "").split():
            source = folder_of(place)
            if source is None:
                places.append(place)
            elif source.is_dir():
                # The pages of an index link to files next to its folder.
                shared = source if key == "find-links" or len(source.parts) < 3 else source.parent
                inside = settings.bind(shared, f"packages-{len(settings.binds)}")
                places.append((inside / source.relative_to(shared)).as_uri())
        if places:
            local[key] = " ".join(places)
        else:
            local.pop(key, None)
    return local


def folder_of(place: str) -> Path | None:
    address = urlsplit(place)
    if address.scheme == "file":
        return Path(unquote(address.path))
    return None if address.scheme else Path(place).expanduser().absolute()
