"""What a command gets: each template is run by a real shell with values that are meant to hurt."""

import os

import pytest
from real_shells import render, run, words

from merkl.bash.compiler import compile_template
from merkl.errors import CallError

TOUCH = "$(touch pwned)`touch pwned`;touch pwned|touch pwned&touch pwned>pwned"
HOSTILE = f"{TOUCH}'\"\\ \t\n*?[a]~{{a,b}}!#$x${{y}}"
NOT_UTF8 = b"caf\xe9 \xff\xfe'\x01\x7f\x81"
P = "printf '%s\\0' "

TABLE = [
    # A whole bare word.
    (P + "{arg('x')}", HOSTILE, [HOSTILE]),
    (P + "{arg('x')}", NOT_UTF8, [NOT_UTF8]),
    (P + "{arg('x')}", "", [""]),
    (P + "a {arg('x')} b", None, ["a", "b"]),
    (P + "a {arg('x')} b", [], ["a", "b"]),
    (P + "a {arg('x')} b", ["", HOSTILE, "-n"], ["a", "", HOSTILE, "-n", "b"]),
    (P + "{arg('x')}", 12, ["12"]),
    (P + "{arg('x')}", -0.1, ["-0.1"]),
    (P + "{arg('x')}", 1e300, ["1e+300"]),
    (P + "{arg('x')}", "-n", ["-n"]),
    (P + "{file_arg('x')}", "-rf", ["./-rf"]),
    (P + "{file_arg('x')}", b"-\xff", [b"./-\xff"]),
    (P + "{files_arg('x')}", ["-a", "b c", "é"], ["./-a", "b c", "é"]),
    (P + "{dir_arg('x')}", "-d ", ["./-d "]),
    (P + "--in={file_arg('x')}", "#a.png", ["--in=#a.png"]),
    (P + "a {flag_arg('x', '--fast')}", True, ["a", "--fast"]),
    (P + "a {flag_arg('x', '--fast')}", False, ["a"]),
    (P + "{file_arg('x')}", "a" * 255, ["a" * 255]),
    (P + "{file_arg('x')}", "/".join(["d" * 99] * 40), ["/".join(["d" * 99] * 40)]),
    (P + "{file_arg('x')}", "\u202egnp.\u2066 😀", ["\u202egnp.\u2066 😀"]),
    (P + "{arg('x')}", "{{ 7 * 7 }}{arg('x')}", ["{{ 7 * 7 }}{arg('x')}"]),
    # Part of an unquoted word.
    (P + "a{arg('x')}b", HOSTILE, [f"a{HOSTILE}b"]),
    (P + "{arg('x')}{arg('x')}", "* ", ["* * "]),
    (P + "a#{arg('x')}", "b c", ["a#b c"]),
    (P + "{a,{arg('x')}}", "b,c d", ["a", "b,c d"]),
    (P + "~{arg('x')}", "root", ["~root"]),
    (P + "$#{arg('x')}", "*", ["0*"]),
    (P + 'k="{arg(\'x\')}"{arg(\'x\')}', "a  b", ["k=a  ba  b"]),
    # Double quotes.
    (P + "\"{arg('x')}\"", HOSTILE, [HOSTILE]),
    (P + "\"a $# {arg('x')}\"", HOSTILE, [f"a 0 {HOSTILE}"]),
    (P + "\"it's {arg('x')} isn't\"", "'", ["it's ' isn't"]),
    (P + "\"\\\\{arg('x')}\"", "$HOME", ["\\$HOME"]),
    (P + "\"$(printf %s \"{arg('x')}\")\"", HOSTILE, [HOSTILE]),
    (P + "\"$(printf %s {arg('x')})\"", "a  *", ["a  *"]),
    (P + "\"$(printf %s \"$(printf %s '<{arg('x')}>')\")\"", HOSTILE, [f"<{HOSTILE}>"]),
    (P + "\"`printf %s \"{arg('x')}\"`\"", HOSTILE, [HOSTILE]),
    (P + "`printf %s {arg('x')}`", "a*b", ["a*b"]),
    # Single quotes.
    (P + "'{arg('x')}'", HOSTILE, [HOSTILE]),
    (P + "'a{arg('x')}b\"$c'", "'", ["a'b\"$c"]),
    (P + "$'\\t{arg('x')}\\'\\n'", HOSTILE, [f"\t{HOSTILE}'\n"]),
    # Here documents, here strings.
    (P + "\"$(cat <<E\n<{arg('x')}>\nE\n)\"", HOSTILE, [f"<{HOSTILE}>"]),
    ("(cat <<'E'\n<{arg('x')}>\nE\n)", HOSTILE, [f"<{HOSTILE}>\n"]),
    (P + "\"$(cat <<-E\n\t\t<{arg('x')}>\n\tE\n)\"", f"\t{HOSTILE}\n\tE\n", [f"<\t{HOSTILE}\n\tE\n>"]),
    ("cat <<E\n{arg('x')}\nE", "E\nE\n$x\\", ["E\nE\n$x\\\n"]),
    ("cat <<A - <<B\nno\nA\n{arg('x')}\nB", "A\n`id`", ["A\n`id`\n"]),
    ("cat <<E\n\"{arg('x')}\" $(printf %s {arg('x')})\nE", "a'  b", ["\"a'  b\" a'  b\n"]),
    ("cat <<E\n${u:-{arg('x')}}\nE", "a'\"}", ["a'\"}\n"]),
    ("cat <<< {arg('x')}", "a  b*", ["a  b*\n"]),
    ("cat <<'E'\n$x `y` {arg('x')} \\\nE", "$z\\", ["$x `y` $z\\ \\\n"]),
    # Parameter expansion.
    (P + "${u:-{arg('x')}}", HOSTILE, [HOSTILE]),
    (P + "\"${u:-{arg('x')}}\"", HOSTILE, [HOSTILE]),
    (P + "\"${u:-a \"{arg('x')}\" b}\"", "*  }", ["a *  } b"]),
    (P + "\"${u-${v:-{arg('x')}}}\"", HOSTILE, [HOSTILE]),
    ("v=ban*na; " + P + "\"${v%{arg('x')}}\"", "*na", ["ban"]),
    ("v=ban*na; " + P + "${v/{arg('x')}/{arg('x')}+}", "*", ["ban*+na"]),
    ("v=aba; " + P + "\"${v//b/{arg('x')}}\"", "&\\&", ["a&\\&a"]),
    ("v=abcdef; " + P + "${v:{{ arg('x') | int }}}", 4, ["ef"]),
    ("v=abcdef; " + P + "${v:{{ arg('x') | int }}}", -2, ["ef"]),
    ("a=(p q r); " + P + "${a[{{ arg('x') | int }}]}", -1, ["r"]),
    # Arithmetic.
    (P + "$((3-{{ arg('x') | int }}))", -4, ["7"]),
    ("((5*{{ arg('x') | int }}>9)) && " + P + "yes", 2, ["yes"]),
    ("for ((i=0; i<{{ arg('x') | int }}; i++)); do " + P + "$i; done", 2, ["0", "1"]),
    ("a[{{ arg('x') | int }}]=v; " + P + '"${!a[@]}"', 7, ["7"]),
    # Commands of every shape.
    ("x={arg('x')}; " + P + '"$x"', HOSTILE, [HOSTILE]),
    ("x=a; x+={arg('x')}; " + P + '"$x"', "b c", ["ab c"]),
    ("a=(1 {arg('x')} z{arg('y')}); " + P + '"${a[@]}"', ["b c", ""], ["1", "b c", "", "zy"]),
    ("case {arg('x')} in 'a b') " + P + "1;; *) " + P + "2;; esac", "a b", ["1"]),
    ("case 'a*' in {arg('x')}) " + P + "1;; (esac|*) " + P + "2;; esac", "a*", ["1"]),
    ("case ab in {arg('x')}) " + P + "1;; *) " + P + "2;; esac", "a*", ["2"]),
    (P + "$(case x in y) echo no;; (x) printf %s {arg('x')};; esac)", "o;)k", ["o;)k"]),
    ("[[ {arg('x')} == 'a b' && ab == {arg('x')} ]] || " + P + "no", "a b", ["no"]),
    ("[[ a.c =~ ^{arg('x')}$ ]] && " + P + "yes; [[ abc =~ ^{arg('x')}$ ]] || " + P + "no", "a.c", ["yes", "no"]),
    ("for f in {arg('x')}; do " + P + '"<$f>"; done', ["a b", "*"], ["<a b>", "<*>"]),
    ("f() { " + P + '"$#" "$@"; }; f {arg(\'x\')}', ["a b", ""], ["2", "a b", ""]),
    ("function f { " + P + "{arg('x')}; }\nf", HOSTILE, [HOSTILE]),
    ("if true; then " + P + "{arg('x')}; fi", HOSTILE, [HOSTILE]),
    ("{ " + P + "{arg('x')}; } | cat", HOSTILE, [HOSTILE]),
    ("(" + P + "{arg('x')}) | cat", HOSTILE, [HOSTILE]),
    ("while read -r -d '' w; do " + P + "\"<$w>\"; done < <(" + P + "{arg('x')})", HOSTILE, [f"<{HOSTILE}>"]),
    ("cat > {arg('x')} <<< hi; " + P + "\"$(< {arg('x')})\"", " *'", ["hi"]),
    (P + "a 2>&1 {arg('x')} # it's a comment with $( and \"", HOSTILE, ["a", HOSTILE]),
    (P + "a \\\n  {arg('x')} \\\n  b", HOSTILE, ["a", HOSTILE, "b"]),
    ("bash -c '" + "printf \"%s\\0\" \"$1\"" + "' _ {arg('x')}", HOSTILE, [HOSTILE]),
    ("shopt -s extglob\ncase 'a b' in @(c|{arg('x')})) " + P + "1;; esac", "a b", ["1"]),
    ("! false && " + P + "{arg('x')} && ! ! true", HOSTILE, [HOSTILE]),
    ("{arg('x')} '%s\\0' hi", "printf", ["hi"]),
    (P + "{{ '{{' }} {arg('x')} '{%' ${#HOME}", "}}", ["{{", "}}", "{%", "0"]),
    ("echo a b | awk '{printf(\"%s\", $2)} END {printf \"%c\", 0}'; " + P + "{arg('x')}", "{print $1}", ["b", "{print $1}"]),
    # Expressions.
    (P + "{{ file_arg('x') | stem }}.txt {{ file_arg('x') | name }}", "d/-a b.tar.gz", ["-a b.tar.txt", "-a b.tar.gz"]),
    (P + "{{ file_arg('x') | parent }}/{{ file_arg('x') | ext }}", b"\xff/b.c", [b"\xff/.c"]),
    (P + "{{ files_arg('x') | join(':') }}", ["a b", "-c"], ["a b:./-c"]),
    (P + "a {{ '--fast' if arg('x') == 'y' }} {{ arg('x') | upper }}", "n", ["a", "N"]),
    (P + "{{ files_arg('x') | map('upper') }}", ["a b", "c"], ["A B", "C"]),
    (P + "{{ file_arg('x') | abspath }}", "a b", ["/project/a b"]),
    (P + "{{ arg('x') | json }}", ["a\"", 1], ['["a\\"", 1]']),
]  # fmt: skip


@pytest.mark.parametrize(("template", "value", "expected"), TABLE, ids=range(len(TABLE)))
def test_a_command_gets_exactly_the_values(template, value, expected, tmp_path):
    names = compile_template(template).placeholders
    script = render(template, {name: value if name == "x" else name for name in names})

    output = run(script.body, tmp_path, HOME="")

    got = words(output if output.endswith(b"\0") else output + b"\0")
    assert got == [os.fsencode(word) for word in expected]
    assert not (tmp_path / "pwned").exists()


def test_the_table_is_long_enough():
    assert len(TABLE) >= 60


SH = [
    (P + "{arg('x')}", HOSTILE, [HOSTILE]),
    (P + "{arg('x')}", NOT_UTF8, [NOT_UTF8]),
    (P + "a {arg('x')} b", None, ["a", "b"]),
    (P + "a {arg('x')} b", ["c d", "", HOSTILE], ["a", "c d", "", HOSTILE, "b"]),
    (P + "p{arg('x')}q", HOSTILE, [f"p{HOSTILE}q"]),
    (P + "\"{arg('x')}\" '{arg('x')}'", HOSTILE, [HOSTILE, HOSTILE]),
    (P + "\"${u:-{arg('x')}}\" ${u:-{arg('x')}}", "a  '}*", ["a  '}*", "a  '}*"]),
    ("v=ban*na; " + P + "\"${v%{arg('x')}}\"", "*na", ["ban"]),
    ("cat <<E\n{arg('x')}\nE\nprintf '\\0'", HOSTILE, [f"{HOSTILE}\n"]),
    ("cat <<'E'\n{arg('x')}\nE\nprintf '\\0'", HOSTILE, [f"{HOSTILE}\n"]),
    (P + "$((3-{{ arg('x') | int }}))", -4, ["7"]),
    (P + '"$(printf %s "{arg(\'x\')}")" "`printf %s "{arg(\'x\')}"`"', HOSTILE, [HOSTILE, HOSTILE]),
    ("case 'a*' in {arg('x')}) " + P + "1;; *) " + P + "2;; esac", "a*", ["1"]),
    ("for f in {arg('x')}; do " + P + '"$f"; done', ["a b", "*"], ["a b", "*"]),
]


@pytest.mark.needs("dash")
@pytest.mark.parametrize("interpreter", ["sh", "dash"])
@pytest.mark.parametrize(("template", "value", "expected"), SH, ids=range(len(SH)))
def test_sh_gets_exactly_the_values(template, value, expected, interpreter, tmp_path):
    script = render(template, {"x": value}, interpreter)

    assert words(run(script.body, tmp_path, interpreter)) == [os.fsencode(word) for word in expected]
    assert not (tmp_path / "pwned").exists()


PYTHON = [
    ("value = {arg('x')}", HOSTILE, HOSTILE),
    ("value = {arg('x')}", b"\xff'\"", b"\xff'\""),
    ("value = {arg('x')}", [1, "a", None], [1, "a", None]),
    ("value = {arg('x')}", None, None),
    ("value = {arg('x', type=int)}**2 # it's {not} a placeholder", -3, 9),
    ("value = len({arg('x')}) + 1", "abc", 4),
    ("value = {arg('x')}.upper()", "a'b", "A'B"),
    ("value = {arg('x', type=bool)}", True, True),
    ("value = {arg('x')}", float("inf"), float("inf")),
    ("value = {file_arg('x')}", b"-\xff", "./-\udcff"),
    ("value = 'a' '''b\n''' rf'{1}', {{ arg('x') | upper }}", "é\u202e", ("ab\n1", "É\u202e")),
    ('value = {"k": {arg(\'x\')}}["k"]', "v", "v"),
]


@pytest.mark.parametrize(("template", "value", "expected"), PYTHON, ids=range(len(PYTHON)))
def test_python_gets_a_literal(template, value, expected, tmp_path):
    script = render(template, {"x": value}, "python3")

    assert run(script.body + b"print(ascii(value), end='')", tmp_path, "python3").decode() == ascii(expected)


def test_a_list_of_words_needs_no_shell():
    template = compile_template(["magick", "{file_arg('i')}", "-s", "{arg('n', type=int)}px", "{files_arg('f')}",
                                 "{flag_arg('v')}", "$HOME `id` {print $1}"])  # fmt: skip

    script = render(template, {"i": "-a b", "n": 3, "f": ["c d", "e"], "v": False})

    assert script.argv == (b"magick", b"./-a b", b"-s", b"3px", b"c d", b"e", b"$HOME `id` {print $1}")
    assert template.is_argv


LATE = [
    (P + "a{arg('x')}", None, "exactly one word"),
    (P + "\"{arg('x')}\"", ["a"], "exactly one word"),
    (P + "{arg('x')}", "a\0b", "NUL"),
    (P + "{arg('x')}", True, "no word"),
    (P + "{arg('x')}", "\ud800", "no text that has bytes"),
    (P + "{arg('x')}", object(), "no word"),
    (P + "{arg('x')}", 10**5000, "too many digits"),
    (P + "$(({arg('x', type=int)}))", 1 << 63, "64 bits"),
    (P + "{{ 1 / arg('x') }}", 0, "division by zero"),
    (P + "{{ arg('x') == 1 }}", 1, "true or false"),
    ("cat <<'E'\n{arg('x')}\nE", "a\nE\nb", "would end the here document"),
    ("cat <<'EOF'\n{arg('x')}OF\nEOF", "E", "would end the here document"),
    ("cat <<-'E'\n{arg('x')}\nE", "a\n\t\tE", "would end the here document"),
    ("cat <<-'E'\n\t{arg('x')}\nE", "\ta", "begins with a tab"),
    ("cat <<-'E'\n{arg('x')}\nE", "a\n\tb", "begins with a tab"),
    ("{arg('x')} {arg('y')}", "eval", "takes its words for code"),
    ("cat > {arg('x')}", None, "exactly one word"),
    (P + "{arg('x', type=int)}", "3", "of type int, not '3'"),
    (P + "{{ arg('x', type=int) | upper }}", "3", "of type int, not '3'"),
    (P + "{arg('x', choices=['a'])}", "b", "one of 'a', not 'b'"),
    (P + "{flag_arg('x')}", "no", "True or False, not 'no'"),
]


@pytest.mark.parametrize(("template", "value", "problem"), LATE, ids=range(len(LATE)))
def test_a_value_that_does_not_fit_where_it_stands_is_refused(template, value, problem):
    with pytest.raises(CallError, match=problem):
        render(template, {"x": value, "y": "rm"})


def test_a_secret_is_in_no_script_and_in_no_environment(tmp_path):
    template = compile_template(
        P + '{secret_arg(\'TOKEN\')} "${MERKL_SECRET_TOKEN-gone}" "$(env | grep -c sesame)" || :'
    )
    script = render(template, {})

    output = run(script.body.replace(b"set -e", b""), tmp_path, MERKL_SECRET_TOKEN="open 'sesame'")

    assert words(output) == [b"open 'sesame'", b"gone", b"0"]
    assert b"open" not in script.body
    assert "${TOKEN}" in script.shown


def test_the_template_is_the_same_text_for_all_values():
    template = compile_template(P + "{arg('x')} \"{arg('x')}\" '{{ arg('x') | upper }}'")

    bodies = {render(template, {"x": value}).body.split(P.encode())[1] for value in ("a", HOSTILE, NOT_UTF8)}

    assert len(bodies) == 1


def test_the_shown_command_has_the_values_in_it_and_no_control_characters():
    script = render(
        P + "{file_arg('x')} \"{file_arg('x')}\" '{file_arg('x')}' {files_arg('f')}",
        {"x": "it's \x1b[1m$", "f": ["a b", "c"]},
    )

    assert script.shown == P + "$'it\\'s \\x1b[1m$' \"it's \\x1b[1m\\$\" 'it'\\''s \\x1b[1m$' 'a b' c"


def test_a_variable_of_the_template_is_not_overwritten(tmp_path):
    script = render("_m1=mine; " + P + "\"$_m1\" {arg('x')}", {"x": "v"})

    assert words(run(script.body, tmp_path)) == [b"mine", b"v"]
