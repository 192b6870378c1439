"""Names that hurt: rows 55 to 57 of the faults.  Row 58 is in ``test_names_of_projects``.

Beside these: any bytes in every context of a template (``test_template_contexts``), option-like names at the top of a
project, NUL bytes and scratch directories (``test_bash_names``), names in a depfile (``test_bash_depfiles``), in a
sidecar (``test_sidecar``) and in a glob (``test_listing``).
"""

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from merkl.workspace import folding
from merkl.workspace.paths import reserved, temporary

FULL = bool(os.environ.get("MERKL_FULL"))

HURT = [
    b" ", b"a b", b"\t", b"'", b'"', b"it's \"so\"", b"$(touch pwned)", b"`touch pwned`", b"${HOME}", b"a;touch pwned", b"a&b",
    b"a|b", b">x", b"<x", b"*", b"?", b"[a-z]", b"~", b"~root", b"!", b"!!", b"-n", b"--help", b"-", b"#", b"#x", b"a.", b"a ",
    b"...", b"\n", b"a\nb", b"a\n", b"\r", b"\\", b"a\\", b"\\n", b"=", b"a=b", b"%s%n", b"{", b"{x}", b"{{ 7 * 7 }}", b"{% x %}", b"{# #}",
    b"{arg('a')}", b"{{ arg('a') }}", b"\x01\x1b[31m\x7f", b"\xff\xfe", b"\xc3(", b"\xed\xa0\x80", b"C:\\x", b"COM1", b"x" * 255, b"\xff" * 255,
    "😀".encode(), "\u202egnp.exe".encode(), "é".encode(), "e\u0301".encode(), "ﬀ".encode(), "\ufeffx".encode(), "é".encode() * 127,
]  # fmt: skip


def usable(name: bytes) -> bool:
    """Whether merkl may write an output of this name."""
    if name in (b".", b"..") or reserved(name) or temporary(name):
        return False
    return name.lower() not in (b"merklfile.py", b"merkl.yaml") and not name.lower().endswith(b".merkl")


LETTERS = st.one_of(st.sampled_from(b" '\"$`\\;*~!-#{}()\n\t=\xff"), st.integers(1, 255)).filter(
    lambda n: n != ord("/")
)
RAW = st.lists(LETTERS, min_size=1, max_size=255).map(bytes)
TEXTS = st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=60)
NAMES = st.one_of(st.sampled_from(HURT), RAW, TEXTS.map(str.encode)).filter(usable)

EVERY_PLACEHOLDER = """
    import json, os, pathlib

    show = bash_task(
        "printf '%s\\\\0' {file_arg('f')} \\"{file_arg('f')}\\" '{file_arg('f')}' +{file_arg('f')}+ {files_arg('fs')} {dir_arg('d')}"
        " {arg('a')} \\"{arg('a')}\\" '{arg('a')}' {arg('l')} {env_arg('V')} {secret_arg('S')} {flag_arg('x')} > {out_file_arg('o')};"
        " cat {argfile('n', null=True)} >> {out_file_arg('o')}"
    )
    tree = bash_task("cp -- {file_arg('f')} {out_dir_arg('p')}/")
    made = bash_task("shopt -s dotglob; printf '%s\\\\0' {file_arg('f')} {dir_arg('d')}/*; cat {file_arg('f')}", stdout=bytes)
    posix = bash_task("printf '%s\\\\n' {file_arg('f')} \\"{arg('a')}\\"", interpreter="sh", stdout=bytes)
    snake = bash_task(
        "import os, sys; sys.stdout.buffer.write(b'\\\\n'.join(map(os.fsencode, [{file_arg('f')}, *{files_arg('fs')}, *{arg('l')}])))",
        interpreter="python3", stdout=bytes,
    )

    @target(default=True)
    def all():
        names = [os.fsencode(name) for name in json.loads(pathlib.Path("names.json").read_text())]
        inputs = [b"in/" + name for name in names]
        for name, path in zip(names, inputs):
            shown = show(
                path, inputs[:3], b"dirs/" + name, a=name, l=names[:3], V=os.fsdecode(name), n=inputs[:3], x=False, o=b"out/" + name,
            )
            made(shown, tree(path, p=b"tree/" + name)) > b"made/" + name
            posix(path, a=name) > b"posix/" + name
        snake(inputs[0], inputs, l=names) > "snake"
"""
MADE = ("out", "tree", "made", "posix", "snake")


def below(project: Any, *parts: bytes) -> bytes:
    return os.path.join(os.fsencode(project.path), *parts)


def content(project: Any, *parts: bytes) -> bytes:
    with open(below(project, *parts), "rb") as file:
        return file.read()


def lay_out(project: Any, names: list[bytes]) -> None:
    """Inputs of these names, files and directories, and a Merklfile that uses each in every placeholder."""
    for folder in (b"in", b"dirs"):
        os.makedirs(below(project, folder))
    for name in names:
        with open(below(project, b"in", name), "wb") as file:
            file.write(name)
        os.makedirs(below(project, b"dirs", name))
    project.write("names.json", json.dumps([os.fsdecode(name) for name in names]))
    project.merklfile(EVERY_PLACEHOLDER)


def check_words(project: Any, names: list[bytes], secret: bytes) -> None:
    """The commands saw just the names."""
    inputs = [b"in/" + name for name in names]
    for name, path in zip(names, inputs, strict=True):
        words = [
            path,
            path,
            path,
            b"+" + path + b"+",
            *inputs[:3],
            b"dirs/" + name,
            name,
            name,
            name,
            *names[:3],
            name,
            secret,
        ]
        shown = content(project, b"out", name)
        assert shown == b"".join(word + b"\0" for word in [*words, *inputs[:3]])
        assert content(project, b"tree", name, name) == name
        view, first, rest = content(project, b"made", name).split(b"\0", 2)
        assert (os.path.basename(view), os.path.basename(first), rest) == (name, name, shown)
        assert content(project, b"posix", name) == path + b"\n" + name + b"\n"
    assert content(project, b"snake") == b"\n".join([inputs[0], *inputs, *names])
    assert not os.path.exists(below(project, b"pwned"))


@pytest.fixture
def anew(inside: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Any]:
    """Gives ``inside`` another empty directory."""
    count = iter(range(1_000_000))

    def move() -> Any:
        inside.path = tmp_path / f"p{next(count)}"
        inside.path.mkdir()
        monkeypatch.chdir(inside.path)
        return inside

    return move


@settings(
    max_examples=200 if FULL else 8,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(st.lists(NAMES, min_size=1, max_size=3, unique=True))
@example([b"-rf", b"$(touch pwned)", b"\n"])
def test_row_55_a_command_sees_any_name_in_every_placeholder(
    anew: Callable[[], Any], names: list[bytes]
) -> None:
    project = anew()
    lay_out(project, names)
    environment = {**os.environ, "S": os.fsdecode(names[0])}

    assert len(project.build(env=environment)) == 4 * len(names) + 1
    check_words(project, names, names[0])
    assert project.build(env=environment) == []


def test_row_55_names_that_hurt_come_through_a_build_as_they_are(
    inside: Any, proven: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("S", "secret $(touch pwned)")
    lay_out(inside, HURT)

    assert len(inside.build()) == 4 * len(HURT) + 1
    check_words(inside, HURT, b"secret $(touch pwned)")
    for name in (b"-n", b"a=b", b"\xff\xfe", b"a\n", b"x" * 255, b"~"):
        os.unlink(below(inside, b"out", name))
        assert inside.build(os.fsdecode(b"out/" + name)) == []
        assert os.path.exists(below(inside, b"out", name))
    assert inside.build() == []
    proven(made=MADE)


DEEP = """
    import os
    from pathlib import Path

    copy = bash_task("cat {file_arg('f')} > {out_file_arg('o')}; printf %s {file_arg('f')} >> {out_file_arg('o')}")
    grow = bash_task("cp -r {dir_arg('d')}/. {out_dir_arg('p')}/", stdout=str)

    @target(default=True)
    def all():
        deep = os.fsencode(Path("deep").read_text())
        copy(b"in/" + deep, o=b"out/" + deep)
        grow("in", p="tree")
"""


def make_deep(top: bytes, relative: bytes) -> None:
    """Write a file so far down that its path may be too long to be named at once."""
    *folders, name = relative.split(b"/")
    directory = os.open(top, os.O_RDONLY)
    for folder in folders:
        os.mkdir(folder, dir_fd=directory)
        inner = os.open(folder, os.O_RDONLY, dir_fd=directory)
        os.close(directory)
        directory = inner
    with open(os.open(name, os.O_WRONLY | os.O_CREAT, dir_fd=directory), "wb") as file:
        file.write(b"deep")
    os.close(directory)


@pytest.mark.parametrize("length", [4000, 4094])
def test_row_55_a_path_of_4000_bytes_works_or_is_refused_by_name(
    inside: Any, proven: Callable[..., None], length: int
) -> None:
    """``length`` is that of the whole input path, of which the kernel takes 4,095 bytes."""
    rest = length - len(below(inside, b"in")) - 1
    parts, left = [], rest
    while left > 200:
        parts.append(b"d" * 99)
        left -= 100
    parts.append(b"f" * left)
    deep = b"/".join(parts)
    os.mkdir(below(inside, b"in"))
    make_deep(below(inside, b"in"), deep)
    inside.write("deep", os.fsdecode(deep))
    inside.merklfile(DEEP)
    if length < 4050:
        assert sorted(inside.build()) == ["copy", "grow"]
        assert content(inside, b"out", deep) == b"deepin/" + deep
        assert content(inside, b"tree", deep) == b"deep"
        assert inside.build() == []
        proven(made=("out", "tree"))
    else:  # The output's path would be too long by two bytes.
        said = inside.merkl("build", code=1).stderr
        assert "ile name too long" in said, said
        assert "Traceback" not in said
        inside.merkl("fsck")
    subprocess.run(["rm", "-rf", b"in", b"out", b"tree"], cwd=inside.path, check=True)


ROUND = r"""
    import os

    copy = bash_task("cat {file_arg('f')} > {out_file_arg('o')}; printf %s {arg('a')} >> {out_file_arg('o')}")
    pack = bash_task("cp -r {dir_arg('d')}/. {out_dir_arg('p')}/; ln -s $'\\xfe' {out_dir_arg('p')}/$'l\\xff'")

    @target(default=True)
    def all():
        copy(b"in/\xff\xfe", a=b"\x80\xff", o=b"out/\xff\x80 out")
        pack(b"in") >> b"tree/\xc0\xaf"
"""


def test_row_56_names_that_are_no_utf_8_go_in_and_come_out_and_are_restored_from_sidecars(
    inside: Any, proven: Callable[..., None]
) -> None:
    os.mkdir(below(inside, b"in"))
    for name in (b"\xff\xfe", b"\xfe", b"sub\xff"):
        with open(below(inside, b"in", name), "wb") as file:
            file.write(b"<" + name + b">")
    inside.merklfile(ROUND)
    assert sorted(inside.build()) == ["copy", "pack"]
    out, tree = b"out/\xff\x80 out", b"tree/\xc0\xaf"
    assert content(inside, out) == b"<\xff\xfe>\x80\xff"
    assert content(inside, tree, b"l\xff") == content(inside, tree, b"\xfe") == b"<\xfe>"
    assert os.readlink(below(inside, tree, b"l\xff")) == b"\xfe"
    sidecar = content(inside, tree + b".merkl")

    with open(below(inside, out), "ab") as file:
        file.write(b"mine")
    subprocess.run(["rm", "-rf", below(inside, tree)], check=True)
    said = inside.merkl("build")
    assert content(inside, out) == b"<\xff\xfe>\x80\xff"
    assert content(inside, tree + b".merkl") == sidecar
    command = said.stdout.split("bring it back with: merkl ")[1].splitlines()[0]
    python = shlex.quote(sys.executable)
    subprocess.run(
        ["bash", "-c", f"{python} -m merkl {command}"], cwd=inside.path, check=True, capture_output=True
    )
    assert content(inside, out) == b"<\xff\xfe>\x80\xffmine"
    inside.merklfile(ROUND + "        Future.from_file(os.fsdecode(b'tree/\\xc0\\xaf')) > 'again'\n")
    assert inside.build() == []
    assert content(inside, b"again", b"\xff\xfe") == b"<\xff\xfe>"
    proven(made=("out", "again"))  # The sidecar of ``tree`` is read while the Merklfile loads.


TWINS = """
    make = bash_task("printf %s {arg('text')} > {out_file_arg('o')}")
    both = bash_task("printf 1 > {out_dir_arg('p')}/A; printf 2 > {out_dir_arg('p')}/a; printf 3 > {out_dir_arg('p')}/é; printf 4 > {out_dir_arg('p')}/e\u0301")
    read = bash_task("cat {file_arg('f')} > {out_file_arg('o')}")
"""
PAIRS = [("A", "a"), ("é", "e\u0301"), ("Straße", "STRASSE"), ("d/X/file", "D/x/file")]


@pytest.mark.parametrize(("one", "other"), PAIRS)
def test_row_57_names_that_other_systems_take_for_one_are_two_here(
    inside: Any, proven: Callable[..., None], one: str, other: str
) -> None:
    inside.merklfile(
        TWINS
        + f"""
    @target(default=True)
    def all():
        make("one", o="build/{one}")
        make("other", o="build/{other}")
        both(p="build/both")
    """
    )
    assert sorted(inside.build()) == ["both", "make", "make"]
    assert (inside.read(f"build/{one}"), inside.read(f"build/{other}")) == ("one", "other")
    assert [inside.read(f"build/both/{name}") for name in ("A", "a", "é", "e\u0301")] == ["1", "2", "3", "4"]
    assert inside.build() == []
    assert not list(inside.path.rglob("*merkl-tmp*"))
    if (one, other) == PAIRS[1]:
        proven()


@pytest.mark.parametrize(("one", "other"), PAIRS)
def test_row_57_where_two_names_are_one_nothing_is_overwritten(
    inside: Any, monkeypatch: pytest.MonkeyPatch, one: str, other: str
) -> None:
    inside.write(f"build/{one}", "of the user")
    monkeypatch.setattr(folding, "same_name", lambda directory, mine, theirs: True)
    inside.merklfile(
        TWINS
        + f"""
    @target
    def outputs():
        make("one", o="build/{one}")
        make("other", o="build/{other}")

    @target
    def input():
        read("build/{one}", o="build/{other}")

    @target
    def tree():
        both(p="build/both")

    @target
    def apart():
        make("x", o="build/x")
        make("y", o="build/y")
    """
    )
    said = inside.merkl("build", "outputs", code=2).stderr
    assert f"two outputs would be placed at build/{one} and build/{other}, which are one file" in said
    assert "hint: give one of them another path" in said and said.count("Merklfile.py") >= 2
    said = inside.merkl("build", "input", code=2).stderr
    assert f"read reads build/{one}, and build/{other} is the same file on this file system" in said
    said = inside.merkl("build", "tree", code=2).stderr
    assert "cannot place the directory build/both: A and a in it are one file" in said
    assert inside.read(f"build/{one}") == "of the user"
    assert not (inside.path / "build/both").exists()
    assert sorted(inside.build("apart")) == ["make", "make"]


def test_row_57_the_file_system_is_asked_whether_two_names_are_one(tmp_path: Path) -> None:
    assert not folding.one_path(str(tmp_path), "x/A", "x/a")
    directory = os.open(tmp_path, os.O_RDONLY)
    try:
        assert folding.same_name(directory, b"A", b"A")
        assert not folding.same_name(directory, b"A", b"a")
        assert not folding.same_name(directory, "é".encode(), "e\u0301".encode())
    finally:
        os.close(directory)
    assert os.listdir(tmp_path) == []
