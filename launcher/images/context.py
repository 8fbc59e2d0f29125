"""The sources of an image: a definition, its locked requirements, and our own packages.

They are copied into the folder of a build, which is the same from a checkout and from a wheel.
"""

import hashlib
import shutil
import subprocess
from importlib.metadata import requires
from pathlib import Path

from launcher.images.assets import asset, module_file
from launcher.system.debug_log import log_command

CONTAINERS = "containers"
PACKAGES = {"server": ("benchmark",), "locust": ("analysis", "locustfiles")}
LEFT_OUT = shutil.ignore_patterns("__pycache__", "*.pyc")


def fill(name: str, folder: Path) -> Path:
    target = folder / CONTAINERS
    target.mkdir(parents=True)
    definition = asset(CONTAINERS, f"{name}.def")
    for file in (f"{name}.def", f"requirements-{name}.txt", f"check_{name}.py"):
        if (definition.parent / file).is_file():
            shutil.copyfile(definition.parent / file, target / file)
    for package in PACKAGES.get(name, ()):
        copy_package(package, folder)
    return target / f"{name}.def"


def fill_runtime(folder: Path) -> None:
    """Copies what is added to the image of an environment: our server, its requirements, the scripts."""
    copy_package("benchmark", folder)
    shutil.copyfile(asset(CONTAINERS, "check_server.py"), folder / "check.py")
    for script in ("environment_copy.sh", "environment_home.sh", "environment_server.sh"):
        shutil.copyfile(asset(CONTAINERS, script), folder / script)
    names = set(asset(CONTAINERS, "requirements-server.in").read_text().split())
    lines = [line for line in requires("openenv-slurm") or () if _name(line) in names]
    (folder / "requirements.txt").write_text("".join(f"{line}\n" for line in sorted(lines)))


def _name(requirement: str) -> str:
    name, _, extra = requirement.partition(";")
    return "" if "extra ==" in extra else name.rstrip("0123456789.<>=!~, ")


def copy_package(package: str, folder: Path) -> None:
    source = module_file(package, "__init__.py").parent
    shutil.copytree(source, folder / package, ignore=LEFT_OUT)


def sources_digest(folder: Path, base: str) -> str:
    """A hash of all files in a folder and of the base; an image with the same one is up to date."""
    digest = hashlib.sha256(base.encode())
    for path in sorted(folder.rglob("*")):
        digest.update(f"\0{path.relative_to(folder)}\0".encode())
        if path.is_symlink():
            digest.update(str(path.readlink()).encode())
        elif path.is_file():
            digest.update(b"%d\0" % (path.stat().st_mode & 0o111))
            digest.update(path.read_bytes())
    return digest.hexdigest()


def commit() -> str:
    """The checkout's commit, with the suffix -dirty if files differ from it; "unknown" in a wheel."""
    root = module_file("launcher", "__init__.py").parents[1]
    argv = ("git", "-C", str(root), "describe", "--always", "--abbrev=12", "--dirty", "--exclude=*")
    if not (root / ".git").exists() or shutil.which("git") is None:
        return "unknown"
    log_command(__name__, argv)
    described = subprocess.run(argv, capture_output=True, text=True, check=False)
    return described.stdout.strip() or "unknown"
