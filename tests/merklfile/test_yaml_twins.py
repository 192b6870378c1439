"""A Merklfile in YAML and its twin in Python: equal calls have equal keys and labels."""

import json
import shutil
import textwrap
from pathlib import Path
from typing import Any

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples/poems"


def planned(project: Any, file: str, *words: str) -> list[tuple[str, str]]:
    """The label and key of every task that a build would look at, in order of the labels."""
    done = project.merkl("-f", file, "build", "-n", "--json", *words)
    events = map(json.loads, done.stdout.splitlines())
    return sorted((event["label"], event["key"]) for event in events if "key" in event)


def twins(project: Any, yaml: str, python: str, *words: str) -> list[tuple[str, str]]:
    """What both forms plan, which is the same."""
    project.write("Merklfile.yaml", textwrap.dedent(yaml))
    project.write("twin.py", "from merkl import *\n" + textwrap.dedent(python))

    found = planned(project, "Merklfile.yaml", *words)

    assert found
    assert found == planned(project, "twin.py", *words)
    return found


def test_the_examples_twins_have_equal_keys_and_share_their_results(project: Any) -> None:
    shutil.copytree(
        EXAMPLE, project.path, dirs_exist_ok=True, ignore=shutil.ignore_patterns(".merkl", "build")
    )

    for words in ([], ["vocabulary"], ["common", "top=3"], ["report", "top=4"], ["check"]):
        assert planned(project, "Merklfile.yaml", *words) == planned(project, "in_python.py", *words) != []

    assert set(project.build("check")) == {"measure", "words", "in_common", "report", "check"}
    assert project.build("-f", "in_python.py", "report") == []
    assert project.build("-f", "in_python.py", "check") == ["check"]


def test_the_pipeline_of_pictures_is_four_lines(inside: Any) -> None:
    for name in ("img/a.png", "img/b.png"):
        inside.write(name, name)

    found = twins(
        inside,
        """
        tasks:
          resize: {run: "magick {file_arg('image', '.png')} -resize {arg('size', type=int)} {out_file_arg('small', '.png')}", tools: [sort]}
        targets:
          thumbs: {doc: All thumbnails, params: {size: 128}, each: {image: files("img/*.png")}, call: resize, with: {size: "{size}"}, to: "build/{image.stem}.png"}
        """,
        """
        from pathlib import Path
        resize = bash_task("magick {file_arg('image', '.png')} -resize {arg('size', type=int)} {out_file_arg('small', '.png')}", tools=["sort"])
        @target
        def thumbs(size=128):
            return [resize(image, size=size) > f"build/{Path(image).stem}.png" for image in files("img/*.png")]
        """,
        "thumbs",
        "size=64",
    )  # fmt: skip

    assert [label for label, _ in found] == ["resize build/a.png", "resize build/b.png"]


OPTIONS = [
    pytest.param('run: "echo {arg(\'n\', type=int)}"', "\"echo {arg('n', type=int)}\"", id="nothing"),
    pytest.param("run: \"echo {arg('n')}\", version: \"2\"", "\"echo {arg('n')}\", version='2'", id="version"),
    pytest.param("argv: [echo, \"{arg('n')}\"]", "argv=['echo', \"{arg('n')}\"]", id="argv"),
    pytest.param("run: \"echo {arg('n')}\", stdout: json", "\"echo {arg('n')}\", stdout='json'", id="stdout"),
    pytest.param(
        "run: \"echo {arg('n')}\", stdout: \"{out_file_arg('o', '.txt')}\"",
        "\"echo {arg('n')}\", stdout=\"{out_file_arg('o', '.txt')}\"",
        id="stdout-file",
    ),
    pytest.param(
        "run: \"echo {arg('n')}\", tools: [sort, sort --version]",
        "\"echo {arg('n')}\", tools=['sort', 'sort --version']",
        id="tools",
    ),
    pytest.param(
        "run: \"echo {arg('n')}\", deps: [file(\"a.txt\"), 3, 1e-3, text, files(\"*.txt\")]",
        "\"echo {arg('n')}\", deps=[file('a.txt'), 3, 1e-3, 'text', *files('*.txt')]",
        id="deps",
    ),
    pytest.param(
        "run: \"echo {arg('n')}\", deps: [\"{made}\"]", "\"echo {arg('n')}\", deps=[made()]", id="deps-of-a-target"
    ),
    pytest.param(
        "run: \"echo {arg('n')}\", env: {LANG: de, N: '1'}",
        "\"echo {arg('n')}\", env={'LANG': 'de', 'N': '1'}",
        id="env",
    ),
    pytest.param("run: \"echo {arg('n')}\", env: [HOME, NONE]", "\"echo {arg('n')}\", env=['HOME', 'NONE']", id="env-now"),
    pytest.param("run: \"echo {arg('n')}\", ok_codes: [0, 3]", "\"echo {arg('n')}\", ok_codes=[0, 3]", id="ok_codes"),
    pytest.param("run: \"echo {arg('n')}\", ok_codes: 3", "\"echo {arg('n')}\", ok_codes=3", id="ok_code"),
    pytest.param(
        "run: \"print({arg('n')})\", interpreter: python3",
        "\"print({arg('n')})\", interpreter='python3'",
        id="interpreter",
    ),
    pytest.param("run: \"echo {arg('n')}\", strict: false", "\"echo {arg('n')}\", strict=False", id="strict"),
    pytest.param("run: \"echo {arg('n')}\", prelude: x=1", "\"echo {arg('n')}\", prelude='x=1'", id="prelude"),
    pytest.param("run: \"echo {arg('n')}\", cwd: sub", "\"echo {arg('n')}\", cwd='sub'", id="cwd"),
    pytest.param("run: \"echo {arg('n')}\", scratch: true", "\"echo {arg('n')}\", scratch=True", id="scratch"),
    pytest.param("run: \"echo {arg('n')}\", portable: true", "\"echo {arg('n')}\", portable=True", id="portable"),
    pytest.param("run: \"echo {arg('n')} '{{'\", literal: true", "\"echo {arg('n')} '{{'\", literal=True", id="literal"),
    pytest.param(
        "run: \"echo {arg('n')}\", cache: false, timeout: 2.5, retries: 2, interactive: false",
        "\"echo {arg('n')}\", cache=False, timeout=2.5, retries=2, interactive=False",
        id="not-in-the-key",
    ),
    pytest.param(
        "run: \"tee {depfile_arg()} <<< {env_arg('HOME')}{secret_arg('TOKEN')} > {out_file_arg('o')}; : {arg('n')}\"",
        "\"tee {depfile_arg()} <<< {env_arg('HOME')}{secret_arg('TOKEN')} > {out_file_arg('o')}; : {arg('n')}\"",
        id="depfile-and-environment",
    ),
    pytest.param("run: \"echo {{ arg('n') | join(',') }}\"", "\"echo {{ arg('n') | join(',') }}\"", id="expression"),
]  # fmt: skip


@pytest.mark.parametrize(("yaml", "python"), OPTIONS)
def test_every_option_is_that_of_a_bash_task(inside: Any, yaml: str, python: str) -> None:
    inside.write("a.txt", "a")
    (inside.path / "sub").mkdir()

    twins(
        inside,
        f"""
        tasks:
          made: "echo made > {{out_file_arg('m')}}"
          show: {{{yaml}}}
        targets:
          made: {{call: made}}
          shown: {{call: show, with: {{n: 3}}}}
        """,
        f"""
        make = bash_task("echo made > {{out_file_arg('m')}}", name="made")
        @target
        def made():
            return make()
        show = bash_task({python})
        @target
        def shown():
            return show(n=3)
        """,
        "shown",
    )


def test_a_command_of_its_own_is_a_task_of_the_targets_name(inside: Any) -> None:
    found = twins(
        inside,
        """
        targets:
          hello: {run: "echo {arg('who')} > {out_file_arg('hi')}", params: {who: you}, to: build/hello.txt}
        """,
        """
        hi = bash_task("echo {arg('who')} > {out_file_arg('hi')}", name="hello")
        @target
        def hello(who="you"):
            return hi(who) > "build/hello.txt"
        """,
        "hello",
        "who=me",
    )

    assert found[0][0] == "hello build/hello.txt"


def test_a_c_program_is_seven_lines(inside: Any) -> None:
    for name in ("src/main.c", "src/lib/part.c"):
        inside.write(name, "")

    found = twins(
        inside,
        """
        tasks:
          compile: "gcc -MD -MF {depfile_arg()} -c {file_arg('source', '.c')} -o {out_file_arg('object', '.o')}"
          link: "gcc {files_arg('objects', '.o')} -o {out_file_arg('program')}"
        targets:
          objects: {each: {source: files("src/**/*.c")}, call: compile}
          app: {doc: The program, default: true, call: link, with: {objects: "{objects}"}, to: build/app}
        """,
        """
        compile = bash_task("gcc -MD -MF {depfile_arg()} -c {file_arg('source', '.c')} -o {out_file_arg('object', '.o')}")
        link = bash_task("gcc {files_arg('objects', '.o')} -o {out_file_arg('program')}")
        @target(default=True)
        def app():
            return link([compile(source) for source in files("src/**/*.c")]) > "build/app"
        """,
    )

    assert len(found) == 3
