"""The root file system that all nodes share. It is built once and then only read."""

import hashlib
import os
import platform
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

from sandbox import paths
from sandbox.errors import BuildFailed
from sandbox.machine.host import apt_proxies, ca_bundle, mirror
from sandbox.machine.sources import Source
from sandbox.system import files, kernel

SUITE = "trixie"
NEWER = "sid"  # the only suite with Apptainer
PACKAGES = [
    *("slurmctld", "slurmd", "slurm-client", "munge", "tini"),
    *("python3", "python3-venv", "ca-certificates", "curl", "git", "make", "less", "nano"),
    *("procps", "iproute2", "iputils-ping", "netbase"),
    # Apptainer needs these to build and run images.
    *("debootstrap", "fakeroot", "uidmap", "fuse3", "squashfuse", "fuse2fs", "fuse-overlayfs"),
    "squashfs-tools",
]
FROM_NEWER = ["apptainer"]
SCRIPT = paths.HERE / "root.sh"

Report = Callable[[str], None]


def key() -> str:
    recipe = [SUITE, NEWER, *PACKAGES, *FROM_NEWER, paths.USER, str(paths.USER_ID)]
    recipe += [platform.machine(), SCRIPT.read_text(), *apt_files(Source("", (), ())).values()]
    text = "\n".join(recipe)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def install_debootstrap() -> None:
    for arguments in (("update", "-qq"), ("install", "-y", "-qq", "debootstrap")):
        subprocess.run(("apt-get", *arguments), check=False, capture_output=True)
    if not shutil.which("debootstrap"):
        raise BuildFailed(
            "debootstrap is not installed and apt-get could not install it; run "
            "`apt-get install debootstrap`"
        )


def folder() -> Path:
    return paths.cache() / "sandbox" / key()


def provide(report: Report) -> Path:
    home = folder()
    root = home / "root"
    if root.exists():
        return root
    home.mkdir(parents=True, exist_ok=True)
    with files.locked(home):
        if not root.exists():
            draft = home / "draft"
            files.remove(draft)
            report("building the root file system of the nodes, once (a minute or two)")
            build(draft, home / "build.log")
            draft.rename(root)
    return root


def build(draft: Path, log: Path) -> None:
    """Builds in namespaces of its own, so that no mount and no process is left over."""
    if not shutil.which("debootstrap"):
        install_debootstrap()
    source = mirror()

    def first() -> None:
        kernel.die_with_parent()
        kernel.private_mounts()
        kernel.mount("proc", "/proc", "proc")
        with log.open("wb") as output:
            os.dup2(output.fileno(), 1)
            os.dup2(output.fileno(), 2)
        bootstrap(draft, source)
        install(draft, source)

    def outer() -> None:
        kernel.die_with_parent()
        kernel.unshare(kernel.NEWPID | kernel.NEWIPC)
        os._exit(kernel.wait(kernel.fork(first)))

    pid = kernel.fork(outer)
    try:
        code = kernel.wait(pid)
    except BaseException:
        os.kill(pid, signal.SIGKILL)
        raise
    if code:
        end = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
        raise BuildFailed(f"the root file system could not be built; the end of {log}:\n{end}")


def bootstrap(draft: Path, source: Source) -> None:
    checks = ["--no-check-gpg"] if source.trusted else ["--keyring", str(source.keyring)]
    argv = ["debootstrap", "--variant=minbase", *checks, SUITE, str(draft), source.uri]
    environment = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    subprocess.run(argv, env=environment | {"LC_ALL": "C"} | apt_proxies(), check=True)


def install(draft: Path, source: Source) -> None:
    for name, text in apt_files(source).items():
        (draft / "etc/apt" / name).write_text(text)
    (draft / "etc/apt/sources.list").unlink(missing_ok=True)
    if not source.trusted:
        shutil.copyfile(source.keyring, draft / "etc/apt/sandbox.gpg")
    bundle = draft / "etc/ssl/certs/ca-certificates.crt"
    bundle.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(ca_bundle(), bundle)
    for name in ("resolv.conf", "hosts"):
        shutil.copyfile(Path("/etc") / name, draft / "etc" / name)
    kernel.mount("proc", draft / "proc", "proc")
    kernel.mount("/dev", draft / "dev", flags=kernel.MS_BIND | kernel.MS_REC)
    shutil.copyfile(SCRIPT, draft / "root.sh")
    argv = ["chroot", str(draft), "/bin/sh", "/root.sh", paths.USER, str(paths.USER_ID)]
    variables = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root"} | apt_proxies()
    subprocess.run([*argv, *PACKAGES, "--", *FROM_NEWER], env=variables, check=True)
    (draft / "root.sh").unlink()


def apt_files(source: Source) -> dict[str, str]:
    trust = "Trusted: yes" if source.trusted else "Signed-By: /etc/apt/sandbox.gpg"
    return {
        "sources.list.d/debian.sources": "Types: deb\n"
        f"URIs: {source.uri}\nSuites: {SUITE} {NEWER}\nComponents: main\n{trust}\n",
        # The newer release provides only packages that the older one lacks.
        "preferences.d/newer": f"Package: *\nPin: release n={NEWER}\nPin-Priority: 100\n",
        # The release files of a mirror may be out of date.
        "apt.conf.d/99sandbox": 'Acquire::Check-Valid-Until "false";\nAcquire::Check-Date "false";\n',
    }
