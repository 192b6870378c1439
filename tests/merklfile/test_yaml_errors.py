"""Errors in a Merklfile.yaml: each names file, line and column, points at what is wrong, and says what to write."""

import textwrap
from typing import Any

import pytest

COPY = "tasks: {copy: \"cp {file_arg('f')} {out_file_arg('o')}\"}\n"
SHOW = "tasks: {show: \"echo {arg('x')}\"}\n"

# «…» is what the caret must underline; then the message, and the hint.
CASES = [
    # -- what YAML makes of text
    ("tasks:\n«\t»a: x", "a tab cannot indent YAML", "indent with spaces"),
    ("a: {}\n«-»--\nb: {}", "a Merklfile is one YAML document", "take out the line ---"),
    ("targets: {t: {run: «\"»echo", "this quote is never closed", "close it"),
    ("targets: {t: {run: \"echo \\«d»\"}}", "not valid YAML: found unknown escape character 'd'", r"in double quotes \ begins an escape: use single quotes, or a block: run: |"),
    ("targets: {t: {to: build/«{»x.stem}.png}}", "text with a bracket needs quotes here", 'put them around all of it: "build/{image.stem}.png"'),
    ("targets: {t: {each: {x: *«.»png}}}", "not valid YAML: expected alphabetic or numeric character, but found '.'", 'text that begins with * or & needs quotes: "*.c"'),
    ("targets:\n  t: {<<: «*»base}", "not valid YAML: found undefined alias 'base'", 'an alias needs an anchor before it, &name; text that begins with * needs quotes: "*.c"'),
    ("targets:\n  t:\n    run: echo a«:» b", "a second ': ' in one line", 'text that holds ": " needs quotes, or a block: run: |'),
    ("targets:\n  t:\n    run: «@»x", "not valid YAML: found character '@' that cannot start any token", 'quote it: "@…"'),
    ("targets: {t: {doc: \"a«\x07»\"}}", "the character U+0007 cannot stand in YAML", r'in double quotes it can be written as "\u…"'),
    ("«- a»", "a Merklfile is a mapping of names, not a list", "write tasks: and targets:"),
    ("targets: {a: {run: echo}, «a»: {run: echo}}", "'a' is given twice, first in line 1", "take out one of them"),
    ("targets: {a: {run: echo, «{b}»: 1}}", "a name is text", 'quote what begins with { or [: "{name}"'),
    ("targets: {a: {<<: [«3»], run: echo}}", "<< merges mappings", "<<: *name, of a mapping that is marked &name"),
    ("vars: «&a {<<: *a}»", "this mapping is merged into itself", "take the << out of it"),
    (SHOW + "targets: {t: {call: show, with: {x: «{y}»}}}", "{y} without quotes is a mapping to YAML", 'write "{y}"'),
    (SHOW + "targets: {t: {call: show, with: {x: «yes»}}}", "yes is a truth value to some readers of YAML, and text to others", 'write true, or "yes" for the text'),
    (SHOW + "targets: {t: {call: show, with: {x: «NO»}}}", "NO is a truth value to some readers of YAML, and text to others", 'write false, or "NO" for the text'),
    (SHOW + "targets: {t: {call: show, with: {x: «2024-01-01»}}}", "2024-01-01 is a date in YAML, which no command takes", 'write "2024-01-01" for the text'),
    (SHOW + "targets: {t: {call: show, with: {x: «0755»}}}", "0755 is a number to base 8 to some readers of YAML", 'write "0755" for the text, or the number in plain digits'),
    (SHOW + "targets: {t: {call: show, with: {x: «12:30»}}}", "12:30 is a number to base 60 to some readers of YAML", 'write "12:30" for the text, or the number in plain digits'),
    (SHOW + "targets: {t: {call: show, with: {x: «1:30.5»}}}", "1:30.5 is a number to base 60 in YAML", 'write "1:30.5" for the text'),
    (SHOW + "targets: {t: {call: show, with: {x: «!env HOME»}}}", "the tag !env has no meaning here", "take it out; text that begins with ! needs quotes"),
    ("vars: «&a {b: *a}»", "this value holds itself", "take the * out of it"),
    # -- names
    ("«task»: {}", "a Merklfile has no 'task'", "did you mean tasks?"),
    ("«variables»: {}", "a Merklfile has no 'variables'", "they are vars:"),
    ("tasks: {a: {run: echo, «tool»: [gcc]}}", "the task a has no 'tool'", "did you mean tools?"),
    ("tasks: {a: {«cmd»: echo}}", "the task a has no 'cmd'", "the command is run:"),
    ("tasks: {a: {run: echo, «outs»: [x]}}", "the task a has no 'outs'", "outputs are placeholders in the command: {out_file_arg('name')}"),
    ("targets: {t: {run: echo, «needs»: [x]}}", "the target t has no 'needs'", 'targets that end before are after:; what a task is given from another target is with: {name: "{target}"}'),
    ("targets: {t: {steps: [{run: echo, «matrix»: {}}]}}", "a step has no 'matrix'", "it is each:"),
    ("targets: {t: {run: echo, params: {x: {«choice»: [1]}}}}", "the parameter x has no 'choice'", "did you mean choices?"),
    ("targets: {«a b»: {run: echo}}", "'a b' cannot be the name of a target", "a name has no spaces and no =, and does not begin with - . or /"),
    ("targets: {a-b: {run: echo}, «a_b»: {run: echo}}", "two targets are named 'a_b'", "rename one of them, or give it name="),
    ("vars: {«my-x»: 3}", "'my-x' is no name: letters, digits and _", "write my_x"),
    ("targets: {t: {run: echo, params: {«my-x»: 3}}}", "'my-x' cannot be the name of a parameter", "write my_x"),
    ("targets: {t: {run: echo, params: {«class»: 3}}}", "'class' cannot be the name of a parameter", "write class_"),
    # -- values of options
    ("tasks: {a: {run: echo, version: «1.0»}}", "version: is text, and 1.0 is a number", 'write "1.0"'),
    ("tasks: {a: {run: echo, env: {N: «1»}}}", "the variable N is text, and 1 is a number", 'write "1"'),
    ("targets: {t: {run: echo, doc: «true»}}", "doc: is text, and true is a truth value", 'write "true"'),
    ("targets: {t: {run: echo, doc: «[a]»}}", "doc: is text, not a list", "write one text, in quotes if it has brackets"),
    ("tasks: {a: {run: echo, cache: «\"no\"»}}", "cache: is true or false, not 'no'", "write true or false, without quotes"),
    ("tasks: {a: {run: echo, timeout: «10m»}}", "timeout: is a number, not '10m'", "write it in digits, without quotes or units"),
    ("tasks: {a: {run: echo, tools: «gcc»}}", "tools: is a list, not text", "write tools: [gcc]"),
    ("tasks: {a: {run: echo, retries: «-1»}}", "retries is a number from 0 up, not -1", ""),
    ("tasks: {a: {run: echo, ok_codes: «[0, 300]»}}", "ok_codes is a list of exit codes from 0 to 255, not [0, 300]", ""),
    ("tasks: {a: {run: echo, cwd: «/x»}}", "cwd is a directory inside the project, not '/x'", ""),
    ("tasks: {a: {run: echo, stdout: «jsn»}}", "stdout='jsn' is no form of output", "use str, bytes, 'lines', 'json', or an output file: stdout=\"{out_file_arg('report', '.txt')}\""),
    ("tasks: {«a»: {tools: [gcc]}}", "the task a has no command", "run: is a script, argv: a list of words: run: \"sort {file_arg('text')}\""),
    ("tasks: {a: {run: «\" \"»}}", "run: is empty", "write run: \"sort {file_arg('text')}\""),
    # -- templates
    ("tasks: {a: \"echo «{fil_arg(»'x')}\"}", "there is no placeholder fil_arg", "did you mean file_arg or files_arg or flag_arg?"),
    ("tasks: {a: {argv: [echo, \"«{arg('x', type=foo)}»\"]}}", "type=foo is not known", "take one of int, float, str, bool, bytes"),
    ("tasks: {a: {run: echo, stdout: \"«{out_file_arg('o', 'txt')}»\"}}", "'txt' is no extension", "an extension begins with a dot; write '.txt'"),
    # -- parameters
    ("targets: {t: {run: \"echo {arg('x')}\", params: {x: {type: int, default: «\"a\"»}}}}", "the default 'a' of x is not of type int", "change the default, or the type"),
    ("targets: {t: {run: \"echo {arg('x')}\", params: {x: {choices: [a, b], default: «c»}}}}", "the default 'c' of x is not one of a, b", "change the default, or the type"),
    ("targets: {t: {run: \"echo {arg('x')}\", params: {x: {type: «integer»}}}}", "there is no type 'integer'", "did you mean int?"),
    ("targets: {t: {run: \"echo {arg('x')}\", params: {x: {type: int, choices: [1, «b»]}}}}", "the choice 'b' is not of type int", "change it, or the type"),
    ("targets: {t: {run: echo, params: «[a]»}}", "params: is a mapping of names, not a list", "write params: {size: 128}"),
    # -- calls
    ("targets: {«t»: {doc: x}}", "t says nothing to do", "give it one of call:, run:, argv:, steps:, targets:"),
    ("targets: {t: {run: echo, «steps»: []}}", "run: and steps: cannot both be what t does", "several calls are steps:, each with its own call: or run:"),
    ("targets: {t: {steps: [{run: echo}], «to»: x}}", "to: has no meaning here, where nothing is called", "write it in one of the steps"),
    (SHOW + "targets: {t: {call: show, «cache»: false, with: {x: a}}}", "cache: is an option of a task", "write it in the task show, under tasks:"),
    (SHOW + "targets: {t: {call: «shw», with: {x: a}}}", "there is no task 'shw'", "did you mean show?"),
    (SHOW + "targets: {t: {call: «t»}}", "there is no task 't'", 'a target is not called; its result is "{t}", and targets: [t] stands for it'),
    (SHOW + "targets: {t: {call: show, with: {«y»: a}}}", "the task has no parameter 'y'", "there are x"),
    (SHOW + "targets: {t: {call: «show»}}", "show is called without x", "with: {x: …}"),
    (COPY + "targets: {t: {call: copy, with: {f: a.txt}, to: {z: «build/a»}}}", "the task has no output 'z'", "there are o"),
    ("targets: {t: {run: \"echo > {out_file_arg('a')} > {out_file_arg('b')}\", to: «build/a»}}", "the task has several outputs: a, b", "to: {a: build/a, b: build/b}"),
    ("targets: {t: {run: echo, after: [«tt»]}}", "there is no target 'tt'", "did you mean t?"),
    ("targets: {t: {targets: [«tt»]}}", "there is no target 'tt'", "did you mean t?"),
    ("targets: {t: {steps: [{run: echo, «sidecar»: true}]}}", "a sidecar stands beside a file, and nothing is placed", "to: build/file"),
    ("targets: {t: {steps: «[]»}}", "steps: is empty", "steps: [{call: task}]"),
    (SHOW + "targets: {t: {params: {«size»: 3}, call: show, with: {x: 1}}}", "nothing uses size", 'with: {parameter: "{size}"} passes it on; to a parameter of the same name it goes by itself'),
    (SHOW + "targets: {t: {each: {«y»: [1]}, call: show, with: {x: 1}}}", "nothing uses y", 'with: {parameter: "{y}"} passes it on; to a parameter of the same name it goes by itself'),
    (SHOW + "targets: {t: {params: {x: 3}, each: {«x»: [1]}, call: show}}", "x means something in this target already", "take another name"),
    (COPY + "targets: {t: {each: {f: «img/*.png»}, call: copy}}", "f goes through a list, and this is one value", 'write f: files("img/*.png")'),
    (COPY + "targets: {t: {each: {f: «f»iles(\"*.png\", required=true)}, call: copy}}", "files( is never closed", "close it; inside {…} and […] of YAML a comma ends text without quotes, so put quotes around all of it"),
    (SHOW + "targets: {t: {each: «[{x: 1}, {y: 1}]», call: show}}", "the rows of each: have different names", "give every row the same names"),
    # -- references
    (SHOW + "targets: {t: {params: {size: 1}, call: show, with: {x: \"a {«siz»}\"}}}", "there is no 'siz' here", "did you mean size?"),
    (SHOW + "targets: {t: {call: show, with: {x: \"a «{»{ b }}\"}}}", "{{ … }} belongs into the template of a task", "a reference is written {name}; a brace itself is written {'{'}"),
    (SHOW + "targets: {t: {call: show, with: {x: \"a «$»{HOME}\"}}}", "${…} has no meaning here", "write {name} without the $; a variable of the shell can be used in run: only"),
    (SHOW + "targets: {t: {call: show, with: {x: \"a «{»} b\"}}}", "this brace is no reference", "a reference is {name} or {image.stem}; a brace itself is written {'{'}"),
    (SHOW + "targets: {t: {call: show, with: {x: \"a «{»b\"}}}", "this brace is never closed", "a reference is {name} or {image.stem}; a brace itself is written {'{'}"),
    (SHOW + "targets: {t: {call: show, with: {x: \"{t «|» stem}\"}}}", "'|' cannot stand here", "attributes follow a dot: {image.stem}"),
    (SHOW + "targets: {t: {call: show, with: {x: \"{«g»lob('x')}\"}}}", "there is no glob(…)", "there are file, files, params, target"),
    (SHOW + "targets: {t: {call: show, with: {x: \"target('«u»')\"}}}", "there is no target 'u'", "`merkl list` shows the targets"),
]  # fmt: skip


def unmarked(text: str) -> tuple[str, int, int, int]:
    """The text without its marks, and the line and column of what they mark, with its width."""
    before, _, rest = text.partition("«")
    marked, _, after = rest.partition("»")
    return before + marked + after, before.count("\n") + 1, len(before) - before.rfind("\n"), len(marked)


@pytest.mark.parametrize(("text", "message", "hint"), CASES)
def test_an_error_points_at_what_is_wrong(inside: Any, text: str, message: str, hint: str) -> None:
    text, line, column, width = unmarked(text)
    inside.write("Merklfile.yaml", text + "\n")
    inside.write("a.txt", "")

    said = inside.merkl("list", code=2).stderr.split("\n")

    assert said[0] == f"Merklfile.yaml:{line}:{column}: {message}"
    assert said[1] == "  source:"
    source = text.split("\n")[line - 1]
    assert said[3].strip() == "^" + "~" * (width - 1)
    if len(source) <= 100 and "\x07" not in source:
        assert said[2] == f"    {source.lstrip(' ')}"
        assert len(said[3]) - width == 4 + column - 1 - (len(source) - len(source.lstrip(" ")))
    hints = [each.removeprefix("  hint: ") for each in said if each.startswith("  hint: ")]
    assert hints == ([hint] if hint else [])


CALLS = [
    # What is found when a target is called: the message, and the details below it.
    (
        'targets: {t: {run: "echo {arg(\'x\', type=int)}", with: {x: "3"}}}',
        "Merklfile.yaml:1:60: x is of type int, not '3'",
        "take the quotes away",
    ),
    (
        "targets: {t: {run: \"echo {arg('x', type=str)}\", with: {x: 3}}}",
        "Merklfile.yaml:1:59: x is of type str, not 3",
        'write "3"',
    ),
    (
        'vars: {s: {a: 1, b: 2}}\ntargets: {t: {run: "echo {arg(\'x\')}", with: {x: "{s}"}}}',
        "Merklfile.yaml:2:51: x is one value, and this has several by name: a, b",
        "name one: {….name}",
    ),
    (
        "targets: {t: {run: \"echo {arg('x')}\", with: {x: true}}}",
        "Merklfile.yaml:1:49: x is true, which is no word of a command",
        "write \"true\" for the text, or in the task {flag_arg('x')} for an option",
    ),
    (
        'targets: {t: {each: {f: [a.txt]}, run: "cat {file_arg(\'f\')}", with: {f: "{f.stm}"}}}',
        "Merklfile.yaml:1:75: 'a.txt' has no attribute 'stm'",
        "did you mean stem?",
    ),
    (
        'targets: {t: {each: {x: [1]}, run: "echo {arg(\'x\')}", to: "{x}"}}',
        "Merklfile.yaml:1:61: a place is a path, and this is 1",
        "to: build/file",
    ),
    (
        'targets: {t: {params: {x: [1]}, run: "echo {arg(\'x\')}", to: "b/{x}"}}',
        "Merklfile.yaml:1:65: this is [1], and cannot be a part of a text",
        "let the reference stand alone",
    ),
    (
        'targets: {t: {params: {x: 1}, each: {y: "{x}"}, run: "echo {arg(\'y\')}"}}',
        "Merklfile.yaml:1:43: y goes through a list, and this is 1",
        "a list of one is […]",
    ),
    (
        "targets: {t: {zip: {a: [1, 2], b: [3]}, run: \"echo {arg('a')} {arg('b')}\"}}",
        "Merklfile.yaml:1:15: the lists of zip: are not of one length: a has 2, b has 1",
        "each: combines all with all",
    ),
    (
        'vars: {s: {a: {b: 1}}}\ntargets: {t: {run: "echo {arg(\'x\')}", with: {x: "{s.a.c}"}}}',
        "Merklfile.yaml:2:51: there is no 'c' in it",
        "there are b",
    ),
]


@pytest.mark.parametrize(("text", "message", "hint"), CALLS)
def test_an_error_of_a_call_points_at_the_value(inside: Any, text: str, message: str, hint: str) -> None:
    inside.write("Merklfile.yaml", text)
    inside.write("a.txt", "")

    said = inside.merkl("build", "-n", "t", code=2).stderr.split("\n")

    assert [said[0], said[1], said[4]] == [message, "  source:", f"  hint: {hint}"]
    assert len(said) == 6


def lines(text: str) -> str:
    return textwrap.dedent(text).lstrip("\n")


def test_an_error_of_merkl_itself_shows_where_in_the_file_it_came_from(inside: Any) -> None:
    inside.write(
        "Merklfile.yaml",
        lines("""
            targets:
              inner:
                run: cat {file_arg('f', '.txt')} > {out_file_arg('o')}
                with:
                  f: missing.txt
              outer:
                run: cat {file_arg('f')}
                with: {f: "{inner}"}
        """),
    )

    assert inside.merkl("build", "outer", code=2).stderr == lines("""
        the input missing.txt does not exist
          at:
            Merklfile.yaml:8:17, in outer
              with: {f: "{inner}"}
                          ^~~~~
            Merklfile.yaml:3:5, in inner
              run: cat {file_arg('f', '.txt')} > {out_file_arg('o')}
              ^~~
    """)


def test_two_results_for_one_place_name_both_lines(inside: Any) -> None:
    inside.write(
        "Merklfile.yaml",
        lines("""
            targets:
              one: {run: "echo 1 > {out_file_arg('o')}", to: build/x}
              two: {run: "echo 2 > {out_file_arg('o')}", to: build/x}
        """),
    )

    said = inside.merkl("build", "one", "two", code=2).stderr

    assert "Merklfile.yaml:2" in said and "Merklfile.yaml:3" in said


def test_a_target_that_needs_itself_is_told_of(inside: Any) -> None:
    inside.write("Merklfile.yaml", 'targets: {t: {run: "cat {file_arg(\'f\')}", with: {f: "{t}"}}}\n')

    assert inside.merkl("build", "t", code=2).stderr == lines("""
        the target t calls itself: t → t
          at:
            Merklfile.yaml:1:55, in t
              targets: {t: {run: "cat {file_arg('f')}", with: {f: "{t}"}}}
                                                                    ^
          hint: a target can call only what it needs first
    """)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"a: \xff\n", "Merklfile.yaml:1: not valid utf-8\n  hint: save it as UTF-8\n"),
        (b"a: \0\n", "Merklfile.yaml holds a NUL byte, which YAML cannot\n"),
        (b"a: " + b"[" * 5000, "Merklfile.yaml:1:1: this is nested too deep"),
        (b"vars: {a: " + b"[" * 300 + b"]" * 300 + b"}\n", ""),
    ],
)
def test_bytes_that_are_no_text_and_text_that_is_too_deep_are_errors(
    inside: Any, data: bytes, message: str
) -> None:
    inside.write("Merklfile.yaml", data)

    done = inside.merkl("list", code=2 if message else None)

    assert done.stderr.startswith(message)
    assert "Traceback" not in done.stderr


def test_an_error_in_one_part_of_the_file_declares_nothing_of_it(inside: Any) -> None:
    inside.write("Merklfile.yaml", "targets: {good: {run: echo}, bad: {call: none}}\n")
    inside.write(
        "twin.py", "from merkl import *\ntry:\n    include('Merklfile.yaml')\nexcept Exception:\n    pass\n"
    )

    assert inside.merkl("-f", "twin.py", "list").stdout.startswith("the Merklfile declares no targets")


def test_the_hint_for_no_default_is_in_the_words_of_yaml(inside: Any) -> None:
    inside.write("Merklfile.yaml", "targets: {t: {run: echo}}\n")

    said = inside.merkl("build", code=2).stderr

    assert said.endswith("hint: `merkl list` shows the targets; default: true makes one the default\n")
