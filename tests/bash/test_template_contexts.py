"""Any bytes, in every place where a value may stand: the command sees exactly them.

Each example renders every context for one value and runs them all in one shell.
"""

import os
import subprocess

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from real_shells import END, ENV, STRICT, run

from merkl.bash.compiler import compile_template
from merkl.errors import CallError

X = "{arg('x')}"
CONTEXTS = {
    "bare word": f"p {X}",
    "part of a word": f"p [{X}]",
    "twice in a word": f"p {X}+{X}",
    "double quotes": f'p "[{X}]"',
    "double quotes beside expansions": f'p "$e{X}${{e}}"',
    "single quotes": f"p '[{X}]'",
    "single quotes beside what looks like code": f"p '$(no `{X}` \"'",
    "ansi quotes": f"p $'\\x5b{X}\\n'",
    "command substitution": f'p "$(printf "%s." {X})"',
    "command substitution in quotes in another": f"p \"$(printf '%s.' \"$(printf '%s.' '{X}')\")\"",
    "backticks": f'p "`printf "%s." {X}`"',
    "backticks outside quotes": f"v=`printf '%s.' \"{X}\"`; p \"$v\"",
    "process substitution": f"c < <(printf '%s' {X})",
    "here document": f"c <<E\n[{X}]\nE",
    "here document with quotes and an expansion": f"c <<E\n\"'[{X}]' $e ${{u:-{X}}}\nE",
    "here document with tabs dropped": f"c <<-E\n\t[{X}]\n\tE",
    "here document in a substitution": f'p "$(cat <<E\n[{X}]\nE\n)"',
    "two here documents": f"c <<A; c <<B\n{X}\nA\n{X}\nB",
    "quoted here document": f"c <<'E_1'\n[{X}]\nE_1",
    "quoted here document in a subshell": f"(c <<'E_1'\n[{X}]\nE_1\n)",
    "quoted here document in a function": f"f() {{\nc <<\\E_1\n[{X}]\nE_1\n}}\nf",
    "here string": f"c <<< {X}",
    "here string in quotes": f'c <<< "[{X}]"',
    "default": f"p ${{u:-{X}}}",
    "default in quotes": f'p "${{u:-[{X}]}}"',
    "default in quotes in quotes": f'p "${{u:-a "{X}" b}}"',
    "default in a default": f'p "${{u:-${{u:-[{X}]}}}}"',
    "alternative": f'p "${{e+{X}}}" ${{e+{X}}}',
    "pattern": f"v={X}+; p \"${{v%{X}+}}\" \"${{v#{X}}}\" ${{v#{X}}}",
    "replacement": f'v=a-b; p "${{v/-/{X}}}" "${{v/-/"{X}"}}"',
    "assignment": f'v={X}; p "$v"',
    "assignment for one command": f'v={X} bash -c \'printf "%s\\0" "$v"\'',
    "array": f'a=(1 {X} [{X}]); p "${{a[@]}}"'.replace(f"[{X}]", f"z{X}"),
    "word of case": f"case {X} in {X}) p 1;; *) p 2;; esac",
    "pattern of case": f"case a{X} in b) p 0;; \"a\"{X}) p {X};; (*) p 2;; esac",
    "condition": f"[[ {X} == {X} && -z ${{u-}} ]] && p 1",
    "regular expression": f"[[ a{X}b =~ ^a{X}b$ ]] && p 1",
    "loop": f'for v in {X} 2; do p "$v"; done',
    "function": f'f() {{ p "$@" {X}; }}; f {X}',
    "subshell": f"(p {X})",
    "argument of a shell": f"bash -c 'p \"$@\"' _ {X} 2>&1".replace("p ", 'printf "%s\\0" '),
    "after a pipe": f"true | p {X}",
    "after a comment": f"# it's $( not \" code\np {X}",
    "after a continued line": f"p \\\n{X}",
    "brace expansion": f"p {{a,{X}}}",
    "expression": "p {{ '<' ~ arg('x') ~ '>' }}",
}  # fmt: skip
COMPILED = {name: compile_template(text) for name, text in CONTEXTS.items()}
E = b"E"


def expected(name: str, v: bytes) -> list[bytes]:
    """What the shell shall print for a context, as words."""
    heredoc = b"\"'[" + v + b"]' " + E + b" " + v + b"\n"
    table = {
        "part of a word": [b"[" + v + b"]"], "twice in a word": [v + b"+" + v],
        "double quotes": [b"[" + v + b"]"], "double quotes beside expansions": [E + v + E],
        "single quotes": [b"[" + v + b"]"],
        "single quotes beside what looks like code": [b"$(no `" + v + b'` "'],
        "ansi quotes": [b"[" + v + b"\n"],
        "command substitution": [v + b"."], "command substitution in quotes in another": [v + b".."],
        "backticks": [v + b"."], "backticks outside quotes": [v + b"."],
        "here document": [b"[" + v + b"]\n"], "here document with quotes and an expansion": [heredoc],
        "here document with tabs dropped": [b"[" + v + b"]\n"],
        "here document in a substitution": [b"[" + v + b"]"],
        "two here documents": [v + b"\n", v + b"\n"],
        "quoted here document": [b"[" + v + b"]\n"],
        "quoted here document in a subshell": [b"[" + v + b"]\n"],
        "quoted here document in a function": [b"[" + v + b"]\n"],
        "here string": [v + b"\n"], "here string in quotes": [b"[" + v + b"]\n"],
        "default in quotes": [b"[" + v + b"]"], "default in quotes in quotes": [b"a " + v + b" b"],
        "default in a default": [b"[" + v + b"]"], "alternative": [v, v],
        "pattern": [b"", b"+", b"+"], "replacement": [b"a" + v + b"b"] * 2,
        "array": [b"1", v, b"z" + v], "word of case": [b"1"], "condition": [b"1"],
        "regular expression": [b"1"], "loop": [v, b"2"], "function": [v, v], "brace expansion": [b"a", v],
        "expression": [b"<" + v + b">"],
    }  # fmt: skip
    return table.get(name, [v])


PRELUDE = b"u=; e=E; p() { printf '%s\\0' \"$@\"; }; c() { cat; printf '\\0'; }\n"
SHELL_TEXT = st.lists(
    st.sampled_from(
        [b"'", b'"', b"`", b"$", b"\\", b"(", b")", b"{", b"}", b"[", b"]", b"<", b">", b"&", b"|", b";", b"\n", b"\t",
         b" ", b"*", b"?", b"~", b"!", b"#", b"=", b"-", b"%", b"/", b",", b"$(id)", b"`id`", b"${x}", b"$((1))", b"EOF",
         b"E_1", b"E", b"\r", b"\x01", b"\x7f", b"\x81", b"\x88", b"\xff", b"\xc3", b"\xc3\xa9", b"\xe2\x80\xae", b"a", b"0"]
    ),
    max_size=12,
).map(b"".join)  # fmt: skip
VALUES = SHELL_TEXT | st.binary(max_size=20).map(lambda value: value.replace(b"\0", b"-"))
SOME = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@SOME
@given(value=VALUES)
def test_every_context_passes_any_bytes_on(value, tmp_path):
    parts, names = [PRELUDE], []
    for name, template in COMPILED.items():
        try:
            script = template.render({"x": value}, abspath=lambda path: path)
        except CallError:
            assert b"E_1" in value and "quoted here" in name
            continue
        parts.append(script.body + b"printf '" + END.replace(b"\0", b"\\0") + b"'\n")
        names.append(name)

    output = run(b"".join(parts), tmp_path)

    got = output.split(END)
    assert len(got) == len(names) + 1
    for name, text in zip(names, got, strict=False):
        assert text == b"".join(word + b"\0" for word in expected(name, value)), name


SH_CONTEXTS = {name: text for name, text in CONTEXTS.items() if name not in (
    "ansi quotes", "process substitution", "here string", "here string in quotes", "default in quotes in quotes", "replacement",
    "array", "condition", "regular expression", "brace expansion")}  # fmt: skip


@pytest.mark.needs("dash")
@SOME
@given(value=VALUES)
def test_every_context_of_sh_passes_any_bytes_on(value, tmp_path):
    parts, names = [PRELUDE], []
    for name, text in SH_CONTEXTS.items():
        template = compile_template(text, interpreter="sh")
        try:
            script = template.render({"x": value}, abspath=lambda path: path)
        except CallError:
            assert b"E_1" in value and "quoted here" in name
            continue
        parts.append(script.body + b"printf '" + END.replace(b"\0", b"\\0") + b"'\n")
        names.append(name)

    got = run(b"".join(parts), tmp_path, "dash").split(END)

    assert len(got) == len(names) + 1
    for name, text in zip(names, got, strict=False):
        assert text == b"".join(word + b"\0" for word in expected(name, value)), name


@SOME
@given(values=st.lists(VALUES, max_size=5))
def test_lists_of_any_bytes_are_words_of_their_own(values, tmp_path):
    texts = (
        f"p + {X}",
        f'a=({X}); p + "${{a[@]}}"',
        f'p +; for v in {X}; do p "$v"; done',
        f"q=1 p {{+,}} {X}".replace("{+,}", "+"),
    )
    body = PRELUDE + b"".join(
        compile_template(text).render({"x": values}, abspath=lambda path: path).body for text in texts
    )

    assert run(body, tmp_path) == b"".join(word + b"\0" for word in [b"+", *values] * len(texts))


@SOME
@given(value=st.integers(min_value=-(2**63), max_value=2**63 - 1), small=st.integers(-3, 2))
def test_integers_in_arithmetic_are_numbers(value, small, tmp_path):
    x = "{arg('x', type=int)}"
    n = "{arg('n', type=int)}"
    texts = (
        f"p $(({x}))", f'p "$((0+{x}))"', f"p $(( {n}*{n} - {n} ))", f"a=(p q r); p ${{a[{n}]}}", f'v=abcdef; p "${{v:{n}:1}}"',
        f"(( {n} >= -3 )) && p yes", f"for ((i={n}; i < {n}+1; i++)); do p $i; done", f"[[ {x} -eq {x} ]] && p yes",
        f"declare -A m; m[{n}]=v; p \"${{!m[@]}}\"", "p $[1]".replace("$[1]", f"\"$(( {n} ? {n} : 9 ))\""),
    )  # fmt: skip
    body = PRELUDE + b"".join(
        compile_template(text).render({"x": value, "n": small}, abspath=lambda path: path).body
        for text in texts
    )

    wanted = [
        value, value, small * small - small, "pqr"[small], "abcdef"[small:][:1], "yes", small, "yes", small, small or 9,
    ]  # fmt: skip
    assert run(body, tmp_path) == b"".join(f"{word}\0".encode() for word in wanted)


PIECES = st.sampled_from(
    ["{arg('x')}"] * 5
    + ["'", '"', "`", "$(", ")", "(", "${v:-", "}", "{", "\\", "$", "#", " ", " ", "\n", ";", "|", "&", "<<E\n", "\nE\n", "<<'E'\n", "<(",
       "[[ ", " ]]", "$((", "))", "((", "case a in ", "esac", "a", "v=", "=", "[", "]", "$'", "echo ", "eval ", "+", "-", "<<<", ">", "@(", "!",
       "{ ", "; }", "for i in ", "; do ", "; done", ":", "%", "/", "\t", "trap ", "bash -c "]
)  # fmt: skip
FULL = bool(os.environ.get("MERKL_FULL"))
N_FUZZ = 5000 if FULL else 250
CANARY = b"'\"`\n;touch pwned;$(touch pwned)\nE\n`touch pwned`)}]]))a[$(touch pwned)]&touch pwned&\\"


@settings(max_examples=N_FUZZ, deadline=None, suppress_health_check=list(HealthCheck))
@given(pieces=st.lists(PIECES, min_size=2, max_size=12))
def test_no_template_that_compiles_runs_what_a_value_says(pieces, tmp_path_factory):
    from merkl.errors import TemplateError

    text = "".join(pieces)
    if "{arg" not in text:
        text += " {arg('x')}"
    try:
        script = compile_template(text).render({"x": CANARY}, abspath=lambda path: path)
    except (TemplateError, CallError):
        return
    directory = tmp_path_factory.mktemp("canary")
    (directory / "script").write_bytes(STRICT["bash"].replace(b"-e", b"-") + b"set +e\nv=\n" + script.body)
    subprocess.run(
        ["bash", "--noprofile", "--norc", "script"], env=ENV, cwd=directory, capture_output=True, timeout=30, check=False,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip

    assert not (directory / "pwned").exists(), text
