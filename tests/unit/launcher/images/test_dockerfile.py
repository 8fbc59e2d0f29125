"""Dockerfiles: what is read and expanded as Docker does it, and what is refused with its line.

The reader is compared with Docker's own parser (the package `dockerfile`), and what a build makes of a
definition with what a real shell makes of it.
"""

import contextlib
import functools
import hashlib
import http.server
import os
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import dockerfile
import pytest

from launcher.errors import UsageError
from launcher.images.definition import define, Definition
from launcher.images.dockerfile import read, stages
from launcher.images.dockerfile.ignore import copy_context, ignores, read_rules
from launcher.images.dockerfile.instructions import CannotConvert
from launcher.images.dockerfile.sources import Sources
from launcher.images.dockerfile.words import BadWord, constant, literal, parse, resolve, shell
from tests.helpers.http_server import answering_with
from tests.helpers.local import ROOT

GOLDEN = Path(__file__).parent / "golden"
FROM = "FROM python:3.11-slim\n"
LIBRARY = ROOT / "containers" / "environment_copy.sh"


def defined(text: str, folder: Path | None = None, **given: str) -> Definition:
    sources = Sources(folder, folder and folder.parent / "added")
    return define(stages(read(text), given), sources=sources)


def section(definition: Definition, name: str) -> str:
    return definition.text.split(f"%{name}\n")[-1].split("\n%")[0]


def built(text: str, show: str, tmp_path: Path) -> tuple[str, str]:
    """What a command prints in the last RUN of a build, and in the environment of the image. The base image
    sets BASE and PATH."""
    definition = defined(text)
    base = {"PATH": "/usr/bin:/bin", "BASE": "of the base", "HOME": "/root"}
    library, root = tmp_path / "environment_copy.sh", tmp_path / "staged"
    library.write_text(LIBRARY.read_text())
    post = section(definition, "post").rsplit("sh /mnt/runtime/environment_server.sh", 1)[0]
    post = post.replace("/mnt/runtime", str(tmp_path)).replace("/.openenv-stages", str(root))
    results = []
    for script in (post, section(definition, "environment")):
        argv = ["sh", "-ec", f"{script}\n{show}"]
        done = subprocess.run(
            argv, env=base, cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        results.append(done.stdout.strip())
    return results[0], results[1]


def test_the_definition_of_an_environment_golden() -> None:
    found = stages(read((GOLDEN / "environment.Dockerfile").read_text()), {"BUILD_MODE": "alone"})
    definition = define(found)
    golden = GOLDEN / "environment.def"
    if os.environ.get("UPDATE_GOLDEN") == "1":
        golden.write_text(definition.text)
    assert definition.text == golden.read_text(), "when this is meant: UPDATE_GOLDEN=1"
    assert definition.app == "server.app:app"
    assert definition.notes == ("USER app is ignored: an image runs as the user who starts it",)


TEXTS = [
    "FROM a AS b\n",
    "FROM\ta\nENV\tA=1\n",
    "\ufeffFROM a\nRUN true\n",
    "FROM a\r\nRUN one && \\\r\n  two\r\n",
    "FROM a\nRUN a \\\n# a comment\n\n  b \\  \n c\n",
    "FROM a\nRUN echo \\\\\nRUN next\n",
    "FROM a\nRUN echo $((1<<20))\n",
    'FROM a\nRUN echo "a <<EOF"\nRUN next\n',
    "FROM a\nRUN cat<<EOF\nRUN next\n",
    'FROM a\nRUN ["a", "b c"]\nCMD [ \'x\' ]\n',
    "FROM a\nRUN --mount=type=cache,target=/x --network=host a --b\n",
    "FROM a\nCOPY --chmod=755 --from=b a b /c/\nADD a /b\n",
    "FROM a\nCOPY a\\\nb c\n",
    'from a\ncmd x\nentrypoint ["y"]\n',
    "FROM a\nENV A=1 B=\"two words\" C=a\\ b D='$x' E=\nENV OLD two  words\n",
    "FROM a\nENV A=1 \\\n  B=2\nLABEL k=v \"a b\"='c d'\nARG X\nARG Y=1 Z='a b'\n",
    "FROM a\nHEALTHCHECK --interval=5s CMD curl x\nEXPOSE 80 90\nVOLUME /a /b\nSTOPSIGNAL 9\n",
    'FROM a\nUSER me:us\nWORKDIR /a b\nSHELL ["/bin/bash", "-c"]\nMAINTAINER m\n',
    "# syntax=docker/dockerfile:1\n# escape=\\\n\n#not\nFROM a\n  RUN indented\n",
    "FROM a\n# escape=`\nRUN true\n",
    "FROM a\nRUN <<EOF\none\n# no comment\n\\\nEOF\nRUN after\n",
    "FROM a\nRUN cat <<-'A B' <<C > /x\n\tone\n\tA B\ntwo\nC\nRUN after\n",
    "FROM a\nCOPY <<one <<two /x/\n1\none\n2\ntwo\nRUN after\n",
]


@pytest.mark.parametrize("text", TEXTS)
def test_instructions_are_those_that_docker_reads(text: str) -> None:
    ours = [
        (
            each.keyword,
            each.line,
            each.array if each.keyword not in ("HEALTHCHECK",) else None,
            [f"--{name}" if value == "true" else f"--{name}={value}" for name, value in each.flags],
        )
        for each in read(text)
    ]
    theirs = [
        (
            each.cmd.upper(),
            each.start_line,
            list(each.value) if each.json else None,
            list(each.flags),
        )
        for each in dockerfile.parse_string(text.removeprefix("\ufeff"))
    ]
    assert ours == theirs


@pytest.mark.parametrize("text", TEXTS)
def test_values_are_those_that_docker_reads(text: str) -> None:
    for ours, theirs in zip(
        read(text), dockerfile.parse_string(text.removeprefix("\ufeff")), strict=True
    ):
        if ours.keyword in ("ENV", "LABEL"):
            words = [word for key, value in ours.pairs for word in (key, value)]
            assert words == [word for word in theirs.value if word != "="][
                : len(words)
            ] or words == list(theirs.value[0::3] + theirs.value[1::3])
        elif ours.keyword == "ARG":
            pairs = [key if value is None else f"{key}={value}" for key, value in ours.pairs]
            assert pairs == list(theirs.value)
        elif ours.keyword in ("COPY", "ADD", "VOLUME"):
            assert ours.words == list(theirs.value)
        elif ours.keyword in ("RUN", "USER", "WORKDIR", "CMD") and not theirs.json:
            assert (ours.value,) == theirs.value


def test_documents_are_read_to_their_ends() -> None:
    (_, run, copy, after) = read(
        "FROM a\nRUN cat <<-'A B' <<C > /x\n\t\tone\n\tA B\n$two\nC\n"
        'COPY <<"x" <<y /z/\n1\nx\n\ny\nRUN after\n'
    )
    assert [(d.name, d.expands, d.content) for d in run.documents] == [
        ("A B", False, "one\n"),
        ("C", True, "$two\n"),
    ]
    assert [(d.name, d.expands, d.content) for d in copy.documents] == [
        ("x", False, "1\n"),
        ("y", True, "\n"),
    ]
    assert after.value == "after"


VALUES = {"PWD": "/home", "SHELL": "bash", "NULL": "", "FILE": "a.b.tar.gz", "P": "x/y/z"}


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("he'll'o", "hello"),
        ("he'llo", None),
        (r"he\'llo", "he'llo"),
        (r"abc\tdef", "abctdef"),
        (r'"abc\tdef"', r"abc\tdef"),
        (r'"abc\\tdef"', r"abc\tdef"),
        (r"'abc\tdef'", r"abc\tdef"),
        ("hello\\", "hello"),
        ('"hello', None),
        ("$.", "$."),
        ("he$1x", "hex"),
        ("he$PWD.", "he/home."),
        (r"he\$PWD", "he$PWD"),
        (r"he\\$PWD", r"he\/home"),
        (r'"he\$PWD"', "he$PWD"),
        ("\"he'$PWD'\"", "he'/home'"),
        ("'$PWD'", "$PWD"),
        ("${}", None),
        ("${PWD", None),
        ("${XXX:-0}x", "0x"),
        ("${XXX:-${YYY:-$PWD}}x", "/homex"),
        ("${NULL-0}", ""),
        ("${NULL:-0}", "0"),
        ("${PWD:+1}${NULL:+2}${NULL+3}", "13"),
        ("${PWD?no}", "/home"),
        ("${XXX?no}", None),
        ("${NULL:?no}", None),
        ("${PWD:=0}", None),
        ("${XXX:YYY}", None),
        (r"${XXX:-\$PWD:}", "$PWD:"),
        ("${FILE%.*}", "a.b.tar"),
        ("${FILE%%.*}", "a"),
        ("${FILE#*.}", "b.tar.gz"),
        ("${FILE##*.}", "gz"),
        ("${FILE#b}", "a.b.tar.gz"),
        (r"${P/\//-}", "x-y/z"),
        (r"${P//\//-}", "x-y-z"),
        ("${P/?/}", "/y/z"),
        ("한국어$PWD", "한국어/home"),
    ],
)
def test_words_are_expanded_as_docker_does(word: str, value: str | None) -> None:
    if value is None:
        with pytest.raises(BadWord):
            resolve(parse(word), constant(VALUES))
    else:
        assert literal(resolve(parse(word), constant(VALUES))) == value


@pytest.mark.parametrize(
    "word",
    [
        *("plain", '"a $WHO"', "'a $WHO'", r"a\ b", r"\$WHO", r'"a \"b\""', "`id`", '"$(id)"'),
        *("a;b|c>d", "${NONE:-x}", "${WHO:-x}", "${WHO:+a}b", "${NONE-$WHO}", "{{ x }}"),
        *('${NONE:-a"}"b}', "a'\"b'"),
    ],
)
def test_a_shell_reads_words_as_docker_does(word: str) -> None:
    """The value is the same when it is known, and when only the build knows the variables."""
    expected = literal(resolve(parse(word), constant({"WHO": "me"})))
    for parts in (resolve(parse(word), constant({"WHO": "me"})), parse(word)):
        argv = ["sh", "-c", f"printf %s {shell(parts)}"]
        done = subprocess.run(argv, env={"WHO": "me"}, capture_output=True, text=True, check=True)
        assert done.stdout == expected
        assert "{{" not in shell(parts)


@pytest.mark.parametrize(
    ("text", "show", "printed"),
    [
        ("ENV A=1 B=\"two words\" C=a\\ b D='$x'", "$A|$B|$C|$D", "1|two words|a b|$x"),
        ("ENV A=1\nENV A=2 B=$A", "$A|$B", "2|1"),
        ("ENV BASE=mine OLD=$BASE", "$BASE|$OLD", "mine|of the base"),
        ("ENV PATH=/x:$PATH", "$PATH", "/x:/usr/bin:/bin"),
        ("ENV A=$HOME/x B=${UNKNOWN:-y}", "$A|$B", "/x|y"),
        ("ENV A=${BASE:+set} B=${BASE:-no}", "$A|$B", "set|of the base"),
        ('ENV OLD two  words\nENV A="${OLD%% *}"', "$OLD|$A", "two  words|two"),
        ("ARG V=1\nARG W=${V}.2\nENV X=$W", "$X", "1.2"),
        ("ENV V=1\nARG W=$V.2\nENV X=$W", "$X", "1.2"),
        ("ENV V=1\nARG V=2\nENV X=$V", "$V|$X", "1|1"),
        ("ARG V=1\nENV V=2\nENV X=$V", "$V|$X", "2|2"),
        ("ARG A=1 B='two words'\nENV X=$A-$B", "$X", "1-two words"),
        ("ARG TARGETARCH\nENV X=$TARGETARCH", "${X:+set}", "set"),
        ("ENV U=http://h/?a=1&b=2;c", "$U", "http://h/?a=1&b=2;c"),
        ("ENV A=\\$x B=\"\\${x}\" C='{{ x }}'", "$A$B$C", "$x${x}{{ x }}"),
    ],
)
def test_a_build_and_its_image_have_the_variables_that_docker_gives_them(
    text: str, show: str, printed: str, tmp_path: Path
) -> None:
    assert built(FROM + text, f'printf %s "{show}"', tmp_path) == (printed, printed)


@pytest.mark.parametrize(
    ("text", "show", "printed"),
    [
        ("ARG GIVEN=no\n", '"$GIVEN"', ""),
        ("FROM a AS one\nARG V=1\nENV E=$V\nFROM one\n", '"$V$E"', "1"),
    ],
)
def test_arguments_end_with_their_stage(text: str, show: str, printed: str, tmp_path: Path) -> None:
    text = text if "\nFROM" in text else text + FROM
    assert built(text, f"printf %s {show}", tmp_path)[0] == printed


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        (
            "RUN <<EOF\necho one\nprintf %s 'two  $HOME {{ x }} \\n'\nEOF",
            "one\ntwo  $HOME {{ x }} \\n",
        ),
        ("RUN cat <<A - <<'B' | tail -1\nnot\nA\n$B %files\nB\nRUN true", "$B %files"),
        ("RUN <<-X\n\techo chomped\n\tX", "chomped"),
        ("RUN cat <<X\nzero\n\nUSER one\n\n\n\ntwo\nX", "zero\n\nUSER one\n\n\n\ntwo"),
        ("RUN <<EOF\n#!/bin/cat\nscript\nEOF", "#!/bin/cat\nscript"),
        ('RUN ["echo", "a  b", "$HOME"]', "a  b $HOME"),
        ('SHELL ["/bin/sh", "-uc"]\nRUN echo ${NONE-unset}', "unset"),
        ("ENV A=1\nRUN echo $A \\\n  # no\n  $A", "1 1"),
        ("USER root\nRUN echo $HOME", "/root"),
        ("USER nobody\nRUN echo $HOME", "/nonexistent"),
        ("USER 0:0\nRUN echo $HOME", "/root"),
        ("USER unknown\nRUN echo $HOME", "/"),
    ],
)
def test_run_prints_what_it_prints_in_docker(text: str, printed: str, tmp_path: Path) -> None:
    assert built(FROM + text + "\n", "", tmp_path)[0] == printed


def test_a_mount_is_gone_after_its_run(tmp_path: Path) -> None:
    kept, new = tmp_path / "kept", tmp_path / "new" / "cache"
    kept.mkdir()
    (kept / "file").write_text("mine")
    text = (
        f"RUN --mount=type=cache,target={kept} --mount=type=tmpfs,target={new} "
        f"ls {kept} {new} && touch {kept}/other {new}/other\n"
    )
    built(FROM + text, "", tmp_path)
    assert [path.name for path in kept.iterdir()] == ["file"]
    assert not new.exists()


def test_a_bind_mount_of_the_context_is_a_link_to_it(tmp_path: Path) -> None:
    context = tmp_path / "context"
    context.mkdir()
    (context / "uv.lock").touch()
    text = "WORKDIR /app\nRUN --mount=type=bind,source=uv.lock,target=uv.lock cat uv.lock\n"
    post = section(defined(FROM + text, context), "post")
    assert "ln -s '/mnt/context/uv.lock' '/app/uv.lock'" in post


def test_a_stage_that_starts_from_another_repeats_its_instructions() -> None:
    text = defined(
        "FROM a AS one\nRUN first\nONBUILD RUN asked\nFROM one AS two\nRUN second\n"
        "FROM b\nCOPY --from=two /x /y\n"
    ).text
    assert "Stage: one" not in text
    assert "From: a\nStage: two" in text
    assert text.index("first") < text.index("asked") < text.index("second") < text.index("stage-2")


def test_stages_are_found_by_number_and_expand_arguments_of_from() -> None:
    text = defined(
        "ARG V=1\nFROM a:${V} AS one\nFROM b:${W:-2}\nCOPY --from=ext/x:1 /p /q\n"
        "COPY --from=0 /x /y\nCMD uvicorn m:a",
        V="3",
    ).text
    assert "From: a:3\nStage: one" in text
    assert "Bootstrap: docker\nFrom: ext/x:1\nStage: image-ext-x-1" in text
    assert "%files from one\n/x /.openenv-stages/1/x" in text


@pytest.mark.parametrize(
    ("pattern", "matched"),
    [
        ("*", [".c", "a.py", "b c.py", "sub"]),
        ("?.py", ["a.py"]),
        ("[^a]*.py", ["b c.py"]),
        ("b c.*", ["b c.py"]),
        ("none*", []),
    ],
)
def test_patterns_match_in_other_stages_as_in_docker(
    pattern: str, matched: list[str], tmp_path: Path
) -> None:
    folder, gathered = tmp_path / "from", tmp_path / "gathered"
    (folder / "sub").mkdir(parents=True)
    for name in (".c", "a.py", "b c.py"):
        (folder / name).touch()
    copy = f'COPY --from=one ["{folder}/{pattern}", "/to/"]\n'
    text = defined(f"FROM a AS one\nFROM b\n{copy}").text
    assert "%files from one\n/.openenv-gathered/stage-1-0 /.openenv-stages/0\n" in text
    assert "'/to/' '/.openenv-stages/0/'* '/.openenv-stages/0/'.[!.]*\n" in text
    line = next(line for line in text.splitlines() if line.startswith("openenv_gather"))
    script = f". {LIBRARY}\n{line.replace('/.openenv-gathered', str(gathered))}"
    subprocess.run(["sh", "-ec", script], check=True)
    assert sorted(path.name for path in (gathered / "stage-1-0").iterdir()) == matched


@pytest.mark.parametrize(
    ("text", "app", "folder"),
    [
        ("CMD uvicorn --host 0.0.0.0 x.y:app", "x.y:app", "/"),
        ("CMD uvicorn x.y:app --host 0.0.0.0 --reload", "x.y:app", "/"),
        ('CMD ["python", "-m", "uvicorn", "--reload", "x:app"]', "x:app", "/"),
        ('WORKDIR /app\nCMD ["sh", "-c", "cd env && exec uvicorn x:app"]', "x:app", "/app/env"),
        ('CMD ["bash", "-lc", "A=1 uvicorn --factory x:make & wait"]', "x:make", "/"),
        ('ENTRYPOINT ["uvicorn"]\nCMD ["x:app", "--port", "80"]', "x:app", "/"),
        ('ENTRYPOINT uvicorn x:app\nCMD ["y:app"]', "x:app", "/"),
        ('CMD ["uv", "run", "uvicorn", "x:app", "--app-dir", "/src"]', "x:app", "/src"),
        ("CMD uvicorn $APP", None, "/"),
        ("CMD python main.py", None, "/"),
        ("CMD gunicorn -k uvicorn.workers.UvicornWorker x:app", None, "/"),
    ],
)
def test_app_is_the_one_that_the_command_starts(text: str, app: str | None, folder: str) -> None:
    definition = defined(f"{FROM}{text}\n")
    assert (definition.app, definition.started.folder) == (app, folder)


def test_a_given_app_replaces_the_one_of_the_command() -> None:
    assert define(stages(read("FROM a\nCMD uvicorn x:y"), {}), "m:app").app == "m:app"


@pytest.mark.parametrize(
    ("text", "note"),
    [
        ("USER app", "USER app is ignored: an image runs as the user who starts it"),
        ("VOLUME /data", "VOLUME /data cannot be written in the image"),
        ('ENTRYPOINT ["/entry.sh"]\nCMD uvicorn x:a', 'ENTRYPOINT ["/entry.sh"] is not run'),
        ("CMD uvicorn --loop asyncio --ws-max-size 9 x:a", "--loop asyncio, --ws-max-size 9"),
        ("CMD gunicorn x:a", "starts gunicorn, which our server replaces; the app is x:a"),
        (
            'RUN echo "uvicorn x:a" > /start.sh\nCMD ["/start.sh"]',
            "the script /start.sh, which is not",
        ),
    ],
)
def test_what_an_image_does_not_keep_is_told(text: str, note: str) -> None:
    assert any(note in each for each in defined(FROM + text).notes), defined(FROM + text).notes


@pytest.mark.parametrize(
    "text", ["USER root", "CMD uvicorn x:a --host 0.0.0.0 --port 8000 --workers 4", "EXPOSE 8000"]
)
def test_nothing_is_told_when_nothing_is_lost(text: str) -> None:
    assert defined(FROM + text).notes == ()


def test_the_app_is_found_in_a_script_of_the_context(tmp_path: Path) -> None:
    context = tmp_path / "context"
    (context / "server").mkdir(parents=True)
    (context / "server" / "start.sh").write_text(
        "#!/bin/sh\nweb &\nexec uvicorn \\\n  env.app:app\n"
    )
    started = defined(FROM + 'CMD ["/app/server/start.sh"]', context).started
    assert (started.app, started.script) == ("env.app:app", "/app/server/start.sh")


@pytest.mark.parametrize(
    ("text", "fragment"),
    [
        ("RUN --mount=type=secret,id=x cat /run/secrets/x", "RUN --mount=type=secret"),
        ("RUN --mount=type=ssh git clone x", "RUN --mount=type=ssh"),
        ("RUN --network=none true", "RUN --network=none"),
        ("RUN --security=insecure true", "RUN --security=insecure"),
        ("RUN <<EOF\ntrue", "the here-document EOF has no end"),
        ("COPY --parents a b /c/", "COPY --parents"),
        ("COPY --exclude=x a /c/", "COPY --exclude"),
        ("COPY a", "without a destination"),
        ("COPY $BASE /x", "only the base image knows BASE"),
        ("COPY [x /y", r"the pattern \[x: a \[ is not closed"),
        ("ADD git@github.com:a/b.git /z", "a repository"),
        ("ENV A", "ENV A has no value"),
        ("ENV A=1 B", "ENV B has no ="),
        ("ENV a.b=1", r"ENV a\.b"),
        ("ENV A=${BASE%x}", "only the base image knows BASE"),
        ("ENV A='x", "a single quote is not closed"),
        ("ENV A=$B B=$A", "swaps variables"),
        ("ARG A=${X?must}", "only the base image knows X"),
        ("ENV A=${HOME?must}", "HOME: must"),
        ("WORKDIR $BASE", "only the base image knows BASE"),
        ("SHELL /bin/bash", "SHELL"),
        ("RUN [1]", "the JSON form consists of strings"),
        ("FROM scratch", "scratch"),
        ("FROM $UNSET", "--build-arg"),
        ("FROM --platform=linux/vax a", "this machine is linux/"),
        ("FROM a b", "FROM IMAGE AS NAME"),
        ("INCLUDE x", "the instruction INCLUDE"),
        ("RUN", "RUN without a value"),
    ],
)
def test_what_cannot_be_converted_is_refused_with_its_line(
    text: str, fragment: str, tmp_path: Path
) -> None:
    with pytest.raises(CannotConvert, match=f"line 2 of the Dockerfile .*({fragment})") as raised:
        defined(f"FROM a\n{text}\n", tmp_path)
    assert "\n" not in str(raised.value)


def test_a_directive_for_another_escape_is_refused() -> None:
    with pytest.raises(CannotConvert, match=r"line 2 .* the escape directive"):
        read("# syntax=x\n# escape=`\nFROM a\n")


def test_a_dockerfile_without_from_is_refused() -> None:
    with pytest.raises(UsageError, match="no FROM"):
        read("RUN true")
    with pytest.raises(CannotConvert, match=r"line 1 .* RUN before the first FROM"):
        stages(read("RUN true\nFROM a"), {})


@pytest.fixture
def context(tmp_path: Path) -> Path:
    folder = tmp_path / "context"
    for name in (".env", "a.py", "b.py", "sub/.c", "sub/d"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    return folder


@pytest.mark.parametrize(
    ("words", "copied"),
    [
        ("*", ["/.env", "/a.py", "/b.py", "/sub"]),
        ("?.py", ["/a.py", "/b.py"]),
        ("[^a].py", ["/b.py"]),
        ("*/*", ["/sub/.c", "/sub/d"]),
        ("a.py none*", ["/a.py"]),
        ("/a.py ../b.py", ["/a.py", "/b.py"]),
        (".", [""]),
    ],
)
def test_patterns_match_the_context_as_in_docker(
    words: str, copied: list[str], context: Path
) -> None:
    post = section(defined(f"{FROM}COPY {words} /to/\n", context), "post")
    places = " ".join(f"'/mnt/context{name}'" for name in copied)
    assert f"openenv_copy '' '/to/' {places}\n" in post


def test_a_source_that_is_not_in_the_context_is_refused(context: Path) -> None:
    with pytest.raises(CannotConvert, match=r"line 2 .*COPY gone/x: the build context"):
        defined(f"{FROM}COPY gone/x /to/\n", context)


def test_add_unpacks_archives_whatever_their_names(context: Path) -> None:
    with tarfile.open(context / "data", "w:gz") as archive:
        archive.add(context / "sub", "inner")
    post = section(defined(f"{FROM}ADD data a.py /to/\n", context), "post")
    assert "openenv_copy '' '/to/' '/mnt/runtime/added/0' '/mnt/context/a.py'" in post
    assert (context.parent / "added/0/inner/d").read_text() == "sub/d"


@contextlib.contextmanager
def serving(folder: Path) -> Iterator[str]:
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None: ...

    handler = functools.partial(Quiet, directory=str(folder))
    with answering_with(handler) as url:
        yield url


def test_add_downloads_urls_and_checks_them(context: Path) -> None:
    digest = hashlib.sha256(b"a.py").hexdigest()
    with serving(context) as url:
        text = f"{FROM}ADD --checksum=sha256:{digest} {url}/a.py /to\n"
        post = section(defined(text, context), "post")
        assert "openenv_copy '' '/to' '/mnt/runtime/added/0/a.py'" in post
        assert (context.parent / "added/0/a.py").read_text() == "a.py"
        with pytest.raises(CannotConvert, match=r"line 2 .*the file has sha256:"):
            defined(text.replace(digest, "0" * 64), context)
        with pytest.raises(CannotConvert, match=r"line 2 .*cannot be downloaded: .*404"):
            defined(f"{FROM}ADD {url}/none /to\n", context)


def test_copy_writes_documents_with_their_variables(tmp_path: Path) -> None:
    text = f"ENV A=1\nCOPY <<one <<'two' {tmp_path}/to/\na \"$A\" 'x'\none\n\\n {{{{ $A }}}}\ntwo\n"
    built(FROM + text, "", tmp_path)
    assert (tmp_path / "to/one").read_text() == "a \"1\" 'x'\n"
    assert (tmp_path / "to/two").read_text() == "\\n {{ $A }}\n"


@pytest.mark.parametrize(
    ("rules", "kept"),
    [
        ("", [".git/x", "a", "b.log", "sub/b.log", "sub/deep/c"]),
        ("# comment\n.git\n*.log\n", ["a", "sub/b.log", "sub/deep/c"]),
        ("**/*.log\n/sub/deep/\n", [".git/x", "a"]),
        ("*\n!sub\n", ["sub/b.log", "sub/deep/c"]),
        ("*\n!sub/**\n", ["sub/b.log", "sub/deep/c"]),
        ("*\n!sub/deep\n", ["sub/deep/c"]),
        ("*\n! **/c\n", ["sub/deep/c"]),
        ("!a\n*\n", []),
        ("**\n!a\n", ["a"]),
        ("[a-b]*\nsub/**/c\n", [".git/x", "sub/b.log"]),
        ("./a\n../a\n sub/ \n", [".git/x", "b.log"]),
        ("\ufeff.git\r\na\r\n", ["b.log", "sub/b.log", "sub/deep/c"]),
    ],
)
def test_the_context_lacks_what_dockerignore_excludes(
    rules: str, kept: list[str], tmp_path: Path
) -> None:
    source = tmp_path / "source"
    for name in (".git/x", "a", "b.log", "sub/b.log", "sub/deep/c"):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).touch()
    (tmp_path / "Dockerfile.dockerignore").write_text(rules)
    copy_context(source, tmp_path / "copy", tmp_path / "Dockerfile")
    copied = [p for p in (tmp_path / "copy").rglob("*") if p.is_file()]
    assert sorted(str(path.relative_to(tmp_path / "copy")) for path in copied) == kept


def test_the_context_keeps_links_and_modes(tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "real").mkdir(parents=True, mode=0o750)
    (source / "link").symlink_to("real")
    (source / "dangling").symlink_to("nowhere")
    (source / "run.sh").touch(0o755)
    os.mkfifo(source / "pipe")
    copy_context(source, tmp_path / "copy", tmp_path / "Dockerfile")
    copy = tmp_path / "copy"
    assert [(copy / name).readlink() for name in ("link", "dangling")] == [
        Path("real"),
        Path("nowhere"),
    ]
    assert (copy / "run.sh").stat().st_mode & 0o777 == 0o755
    assert (copy / "real").stat().st_mode & 0o777 == 0o750
    assert not (copy / "pipe").exists()


def test_dockerignore_excludes_by_its_last_matching_rule() -> None:
    ignored = ignores("# comment\n.git\n**/__pycache__\n*.log\n/build/\n!keep.log\ndocs/**\n")
    for path in (".git", ".git/config", "a/b/__pycache__", "x.log", "build/x", "docs/a/b"):
        assert ignored(path), path
    for path in ("a.py", "sub/x.log", "keep.log", "gitx", "docs"):
        assert not ignored(path), path


def test_a_rule_that_is_no_pattern_is_named() -> None:
    with pytest.raises(UsageError, match=r"line 2 of \.dockerignore is not a pattern: a\[b"):
        read_rules("x\na[b\n")


@pytest.mark.parametrize(
    ("arguments", "copied"),
    [
        (["dir", "one"], {"dir/one": "1"}),
        (["new", "one"], {"new": "1"}),
        (["new/", "one"], {"new/one": "1"}),
        (["a/b/new", "one"], {"a/b/new": "1"}),
        (["new", "tree"], {"new/inner": "2"}),
        (["dir", "tree"], {"dir/inner": "2"}),
        (["new/", "one", "tree", "none-*"], {"new/one": "1", "new/inner": "2"}),
    ],
)
def test_copy_follows_dockers_rules(
    arguments: list[str], copied: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "dir").mkdir()
    (tmp_path / "tree").mkdir()
    (tmp_path / "one").write_text("1")
    (tmp_path / "tree" / "inner").write_text("2")
    script = f'. {LIBRARY}; openenv_copy "" "$@"'
    subprocess.run(["sh", "-ec", script, "sh", *arguments], cwd=tmp_path, check=True)
    for path, content in copied.items():
        assert (tmp_path / path).read_text() == content


def test_copy_sets_modes_and_refuses_missing_sources(tmp_path: Path) -> None:
    (tmp_path / "one").write_text("1")
    script = f'. {LIBRARY}; openenv_copy "$@"'
    subprocess.run(["sh", "-ec", script, "sh", "750", "x/", "one"], cwd=tmp_path, check=True)
    assert (tmp_path / "x" / "one").stat().st_mode & 0o777 == 0o750
    done = subprocess.run(
        ["sh", "-ec", script, "sh", "", "x/", "none"],
        cwd=tmp_path,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 1
    assert b"none does not exist in the build context" in done.stderr
