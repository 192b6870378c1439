"""What targets in a Merklfile.yaml do, seen from the command line."""

import json
import shlex
import textwrap
from typing import Any

import pytest

SHOW = "tasks:\n  show: echo {arg('x')}\n"


@pytest.fixture
def shown(inside: Any) -> Any:
    """Writes a Merklfile.yaml of a task ``show`` and these targets; returns what a request makes the task print."""

    def show(text: str, *words: str) -> list[str]:
        inside.write("Merklfile.yaml", SHOW + textwrap.dedent(text))
        done = inside.merkl("show", "--json", *words)
        tasks = [each for each in json.loads(done.stdout)["tasks"] if each["task"] == "show"]
        return [" ".join(shlex.split(each["command"])[1:]) for each in tasks]

    return show


def write(project: Any, text: str) -> None:
    project.write("Merklfile.yaml", textwrap.dedent(text))


# ---- values ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "word"),
    [
        ("128", "128"),
        ("-1.5", "-1.5"),
        ("1e-3", "0.001"),
        ("0x10", "16"),
        ("plain text", "plain text"),
        ('"yes"', "yes"),
        ("'0755'", "0755"),
        ('"{n}"', "7"),
        ('"a{n}b{word}"', "a7bw"),
        ("\"{'{'}n}\"", "{n}"),
        ("[a, 1, [b, c]]", "a 1 b c"),
        ('["{list}", z]', "p q z"),
        ('"{path.name} {path.stem} {path.suffix} {path.ext} {path.parent}"', "b.tar.gz b.tar .gz .gz a"),
        ('"{list.stem}"', "p q"),
        ('"{section.inner}"', "deep"),
        ('"{ n }"', "7"),
        ("!!str 12", "12"),
        ("null", ""),
    ],
)
def test_a_value_is_a_plain_one_a_reference_or_text_with_references(
    shown: Any, written: str, word: str
) -> None:
    text = f"""
        vars: {{n: 7, word: w, list: [p, q], path: a/b.tar.gz, section: {{inner: deep}}}}
        targets: {{t: {{call: show, with: {{x: {written}}}}}}}
    """

    assert shown(text, "t") == [word]


def test_later_vars_can_use_earlier_ones_and_files_of_parameters(shown: Any, inside: Any) -> None:
    inside.write("settings.yaml", "train: {rates: [1, 2]}\n")
    text = """
        vars:
          settings: params("settings.yaml")
          rates: "{settings.train.rates}"
        targets:
          t: {each: {x: "{rates}"}, call: show}
    """

    assert shown(text, "t") == ["1", "2"]
    assert shown(text, "--set", "train.rates=[3]", "t") == ["3"]


# ---- parameters ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parameter", "given", "word"),
    [
        ("128", [], "128"),
        ("128", ["x=0x7"], None),
        ("128", ["x=7"], "7"),
        ("1.5", ["x=2"], "2.0"),
        ("[a, b]", ["x=c,d"], "c d"),
        ("{type: [int], default: [1]}", ["x=2,3"], "2 3"),
        ("{type: int}", [], None),
        ("{type: int}", ["x=3"], "3"),
        ("{choices: [fast, best]}", ["x=best"], "best"),
        ("{choices: [fast, best]}", ["x=bst"], None),
        ("{choices: [1, 2], default: 2}", [], "2"),
        ("{default: null, type: str}", [], ""),
        ("{default: null, type: int}", ["x=none"], ""),
        ("{type: path, default: some/file}", [], "some/file"),
        ("{}", ["x=text"], "text"),
        ('"{size}"', ["x=4"], "4"),
    ],
)
def test_a_parameter_has_the_type_it_says_or_that_of_its_default(
    shown: Any, inside: Any, parameter: str, given: list[str], word: str | None
) -> None:
    text = f"vars: {{size: 3}}\ntargets: {{t: {{params: {{x: {parameter}}}, call: show}}}}\n"
    if word is not None:
        assert shown(text, "t", *given) == [word]
        return
    inside.write("Merklfile.yaml", SHOW + text)
    assert inside.merkl("build", "-n", "t", *given, code=2).stderr.startswith(
        ("t: x takes", "the target t needs x")
    )


def test_the_list_shows_parameters_and_docs(inside: Any) -> None:
    write(
        inside,
        """
        targets:
          one: {doc: "It takes a lot.", default: true, params: {size: 3, mode: {choices: [a, b]}, args: []}, run: "echo {arg('size')} {arg('mode')} {arg('args')}"}
          two: {targets: [one]}
        """,
    )

    assert inside.merkl("list").stdout == (
        "one mode=… size=3 [-- ARGS…]  It takes a lot.  (default)\n"
        "two\n"
    )  # fmt: skip
    one, two = json.loads(inside.merkl("list", "--json").stdout)["targets"]
    assert [one["place"], two["place"]] == ["Merklfile.yaml:3", "Merklfile.yaml:4"]
    assert [each["hint"] for each in one["parameters"]] == ["Literal['a', 'b']", "", ""]


def test_what_follows_two_dashes_is_the_parameter_args(shown: Any) -> None:
    text = 'targets: {t: {params: {args: []}, call: show, with: {x: "{args}"}}}'

    assert shown(text, "t", "--", "a b", "-c") == ["a b -c"]
    assert shown(text, "t") == [""]


# ---- each ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ("each: {a: [1, 2], b: [x, y]}", ["1x", "1y", "2x", "2y"]),
        ("each: [{a: 1, b: x}, {b: y, a: 2}]", ["1x", "2y"]),
        ("zip: {a: [1, 2], b: [x, y]}", ["1x", "2y"]),
        ("each: {a: [1, 2]}, zip: {b: [x, y]}", ["1x", "1y", "2x", "2y"]),
        ('each: {a: [p, q], b: ["{a}1", "{a}2"]}', ["pp1", "pp2", "qq1", "qq2"]),
        ("each: {a: [], b: [x]}", []),
        ('each: {a: "{sizes}", b: [x]}', ["8x", "9x"]),
        ('each: {a: ["{sizes}", 1], b: \'files("{folder}/*.{c,h}")\'}', ["8", "9", "1"]),
    ],
)
def test_each_goes_through_products_and_rows(shown: Any, inside: Any, rows: str, words: list[str]) -> None:
    inside.write("src/m.c", "")
    text = f"""
        vars: {{sizes: [8, 9], folder: src}}
        targets: {{t: {{{rows}, call: show, with: {{x: "{{a}}{{b}}"}}}}}}
    """

    expected = [word if len(word) > 1 else f"{word}src/m.c" for word in words]
    if expected:
        assert shown(text, "t") == expected
    else:
        inside.write("Merklfile.yaml", SHOW + textwrap.dedent(text))
        assert json.loads(inside.merkl("show", "--json", "t").stdout)["tasks"] == []


def test_a_new_file_that_matches_is_noticed(inside: Any) -> None:
    inside.write("a.txt", "a")
    write(
        inside,
        """targets: {t: {each: {f: files("*.txt")}, run: "cp {file_arg('f')} {out_file_arg('o')}", to: "b/{f.name}"}}""",
    )
    assert inside.build("t") == ["t"]

    inside.write("b.txt", "b")

    assert inside.build("t") == ["t"]
    assert inside.read("b/b.txt") == "b"


# ---- steps and other targets -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "steps",
    [
        """
          {upper: {run: "tr a-z A-Z < {file_arg('t')} > {out_file_arg('u')}", each: {t: files("*.txt")}},
           all: {run: "cat {files_arg('fs')} > {out_file_arg('o')}", with: {fs: "{upper}"}, to: build/all}}""",
        """
            - id: upper
              run: tr a-z A-Z < {file_arg('t')} > {out_file_arg('u')}
              each: {t: files("*.txt")}
            - run: cat {files_arg('fs')} > {out_file_arg('o')}
              with: {fs: "{upper}"}
              to: build/all""",
        """
            - {call: raise, each: {t: files("*.txt")}}
            - {call: join, with: {fs: "{raise}"}, to: build/all}""",
    ],
)
def test_steps_use_what_earlier_ones_make(inside: Any, steps: str) -> None:
    inside.write("a.txt", "a")
    inside.write("b.txt", "b")
    inside.write(
        "Merklfile.yaml",
        f"""
tasks:
  raise: tr a-z A-Z < {{file_arg('t')}} > {{out_file_arg('u')}}
  join: cat {{files_arg('fs')}} > {{out_file_arg('o')}}
targets:
  whole:
    steps: {steps}
""",
    )

    inside.build("whole")

    assert inside.read("build/all") == "AB"


def test_a_step_that_is_repeated_with_the_target_sees_its_own_row(inside: Any) -> None:
    for name in ("x/1.txt", "x/2.txt", "y/1.txt"):
        inside.write(name, name)
    write(
        inside,
        """
        targets:
          packs:
            each: {dir: [x, y]}
            steps:
              copies: {each: {f: 'files("{dir}/*.txt")'}, run: "cat {file_arg('f')} > {out_file_arg('o')}"}
              pack: {run: "cat {files_arg('fs')} > {out_file_arg('p')}", with: {fs: "{copies}"}, to: "build/{dir}"}
        """,
    )

    inside.build("packs")

    assert [inside.read("build/x"), inside.read("build/y")] == ["x/1.txtx/2.txt", "y/1.txt"]


def test_another_targets_outputs_are_named_by_it_and_by_the_output(inside: Any) -> None:
    inside.write("t.txt", "one two\n")
    write(
        inside,
        """
        tasks:
          split: |
            cut -d' ' -f1 {file_arg('t')} > {out_file_arg('first')}; cut -d' ' -f2 {file_arg('t')} > {out_file_arg('rest')}
          join: cat {files_arg('fs')} > {out_file_arg('o')}
        targets:
          parts: {call: split, with: {t: t.txt}, to: {rest: build/rest}}
          app.js: {call: join, with: {fs: ["{parts.rest}", "{parts.first}", target('parts').first]}, to: build/joined}
          nested: {steps: {deep: {call: join, with: {fs: "{target('app.js')}"}}}}
          last: {call: join, with: {fs: "{nested.deep}"}, to: build/last}
        """,
    )

    inside.build("last")

    assert inside.read("build/last") == "two\none\none\n"
    assert inside.read("build/rest") == "two\n"


def test_a_target_called_with_arguments_is_the_one_with_these(inside: Any) -> None:
    write(
        inside,
        """
        targets:
          inner: {params: {x: 1, y: [2]}, run: "echo {arg('x')} {arg('y')} > {out_file_arg('o')}", to: "build/{x}"}
          outer: {params: {n: 5}, run: "cat {file_arg('f')}", with: {f: "{target('inner', x=n, y=[1, n])}"}}
        """,
    )

    inside.build("outer", "n=6")

    assert inside.read("build/6") == "6 1 6\n"


def test_targets_of_a_target_are_built_with_it(inside: Any) -> None:
    write(
        inside,
        """
        targets:
          one: {params: {n: 1}, run: "echo {arg('n')} > {out_file_arg('o')}", to: "build/{n}"}
          two: {run: "echo 2 > {out_file_arg('o')}", to: build/two}
          all: {default: true, targets: [one, two, "target('one', n=3)"]}
        """,
    )

    assert sorted(inside.build()) == ["one", "one", "two"]
    assert [inside.read(f"build/{name}") for name in ("1", "3", "two")] == ["1\n", "3\n", "2\n"]


def test_the_options_of_a_target_do_what_they_do_in_python(inside: Any) -> None:
    write(
        inside,
        """
        targets:
          first: {run: "sleep 0.2; date +%s%N > first", cache: false}
          then: {run: "date +%s%N > {out_file_arg('t')}", to: build/then, after: first, sidecar: true}
          group: {after: [then]}
          again: {run: "echo x >> again", always: true}
        """,
    )

    assert inside.build("group", "-j2") == ["first", "then"]
    assert int(inside.read("first")) < int(inside.read("build/then"))
    assert 'task: "then"' in inside.read("build/then.merkl")
    assert [inside.build("again"), inside.build("again")] == [["again"], ["again"]]


def test_a_step_can_have_a_sidecar_alone(inside: Any) -> None:
    write(
        inside,
        """
        targets:
          t:
            steps:
              - {run: "echo > {out_file_arg('t')}", to: a, sidecar: true}
              - {run: "echo > {out_file_arg('t')}", to: b}
        """,
    )

    inside.build("t")

    assert (inside.path / "a.merkl").exists() and not (inside.path / "b.merkl").exists()


def test_a_name_of_each_or_params_goes_to_the_parameter_of_that_name_but_never_to_an_output(
    inside: Any,
) -> None:
    inside.write("a.txt", "a")
    write(
        inside,
        """
        targets:
          t:
            params: {out: build/x}
            each: {f: files("*.txt")}
            run: cp {file_arg('f')} {out_file_arg('out')}
            to: "{out}"
        """,
    )

    inside.build("t")

    assert inside.read("build/x") == "a"


def test_an_output_can_be_placed_by_its_argument_too(inside: Any) -> None:
    write(
        inside,
        """targets: {t: {run: "echo {arg('n', type=int, default=1)} > {out_file_arg('o')}", with: {o: build/by_name}}}""",
    )

    inside.build("t")

    assert inside.read("build/by_name") == "1\n"


def test_a_task_without_outputs_is_run_for_what_it_does(inside: Any) -> None:
    write(inside, """targets: {test: {run: "echo run >> log", cache: false}}""")

    assert [inside.build("test"), inside.build("test")] == [["test"], ["test"]]
    assert inside.read("log") == "run\nrun\n"


# ---- YAML itself -----------------------------------------------------------------------------------------------------


def test_anchors_and_merges_share_options(shown: Any) -> None:
    text = """
        x-common: &common {with: {x: shared}, doc: Common}
        targets:
          one: {<<: *common, call: show}
          two: {call: show, with: {x: own}, <<: [*common, {doc: never}]}
    """

    assert shown(text, "one") == ["shared"]
    assert shown(text, "two") == ["own"]


def test_an_empty_file_and_empty_sections_declare_nothing(inside: Any) -> None:
    for text in ("", "# nothing yet\n", "tasks:\ntargets:\n", "---\n{}\n...\n"):
        inside.write("Merklfile.yaml", text)
        assert (
            inside.merkl("list").stdout == "the Merklfile declares no targets: describe one under targets:\n"
        )


def test_line_ends_of_windows_and_a_byte_order_mark_change_nothing(inside: Any) -> None:
    text = (
        'targets:\n  t:\n    run: |\n      echo one\n      echo two > {out_file_arg("o")}\n    to: build/o\n'
    )
    inside.write("Merklfile.yaml", text)
    inside.build("t")

    inside.write("Merklfile.yaml", b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())

    assert inside.build("t") == []


# ---- the commands ----------------------------------------------------------------------------------------------------


def test_why_show_dag_and_log_know_the_yaml_file(inside: Any) -> None:
    inside.write("a.txt", "a\n")
    text = """targets: {t: {run: "cat {file_arg('f')}; cp {file_arg('f')} {out_file_arg('o')}", with: {f: a.txt}, to: build/o}}"""
    write(inside, text)
    inside.build("t")

    assert "Merklfile.yaml:1" in inside.merkl("show", "build/o").stdout
    assert inside.merkl("log", "build/o").stdout == "a\n"
    assert inside.merkl("dag", "t").stdout == "t build/o  [cached]\n"
    write(inside, text.replace("cat ", "tac "))
    why = inside.merkl("why", "t").stdout
    assert "the template of t changed" in why
    assert "tac {file_arg('f')}" in why


def test_init_writes_one_that_builds(inside: Any) -> None:
    inside.merkl("init", "--yaml")

    assert set(inside.build("n=3")) == {"sort_words", "most_used"}
    assert len(inside.read("build/words.txt").splitlines()) == 3
    assert inside.build("n=3") == []
    assert "Merklfile.yaml is there already" in inside.merkl("init", "--yaml", code=2).stderr
    assert "Merklfile.yaml is there already" in inside.merkl("init", code=2).stderr


def test_init_names_the_file_that_it_writes(inside: Any) -> None:
    inside.merkl("init", "-f", "first.yaml")

    assert set(inside.build("-f", "first.yaml")) == {"sort_words", "most_used"}
