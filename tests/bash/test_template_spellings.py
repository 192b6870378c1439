"""One meaning in three spellings: the same identity, and the same script for the same values."""

import operator
import pickle
import subprocess
import sys

import pytest

from merkl.bash.compiler import compile_template
from merkl.bash.placeholders import (
    arg,
    argfile,
    depfile_arg,
    dir_arg,
    env_arg,
    file_arg,
    files_arg,
    flag_arg,
    out_dir_arg,
    out_file_arg,
    parse_call,
    secret_arg,
    spell,
    split_tokens,
)
from merkl.digest import Digest, encode
from merkl.errors import TemplateError

CALLS = {
    "file_arg('image', '.png')": file_arg("image", ".png"),
    "file_arg('image', ('.png', '.jpg'))": file_arg("image", (".png", ".jpg")),
    "file_arg('image', default=None)": file_arg("image", default=None),
    "files_arg('images')": files_arg("images"),
    "dir_arg('src')": dir_arg("src"),
    "arg('size')": arg("size"),
    "arg('size', type=int, default=-3, choices=[-3, 4])": arg("size", type=int, default=-3, choices=[-3, 4]),
    "arg('mode', default='it\\'s')": arg("mode", default="it's"),
    "flag_arg('fast', '-f')": flag_arg("fast", "-f"),
    "flag_arg('very_fast')": flag_arg("very_fast"),
    "out_file_arg('small', '.png')": out_file_arg("small", ".png"),
    "out_dir_arg('pages')": out_dir_arg("pages"),
    "depfile_arg()": depfile_arg(),
    "env_arg('CC', 'cc')": env_arg("CC", "cc"),
    "env_arg('CC', None)": env_arg("CC", None),
    "secret_arg('TOKEN')": secret_arg("TOKEN"),
    "argfile('inputs', null=True)": argfile("inputs", null=True),
}


@pytest.mark.parametrize("call", CALLS)
def test_three_spellings_have_one_identity(call):
    token = CALLS[call]

    plain = compile_template(f"run < x {{{call}}} | awk '{{print $1}}'")
    formatted = compile_template(f"run < x {token} | awk '{{print $1}}'")
    double = compile_template(f"run < x {{{{ {call} }}}} | awk '{{print $1}}'")

    assert plain.identity == formatted.identity == double.identity
    assert plain.signature == formatted.signature == double.signature
    assert plain.placeholders == formatted.placeholders == double.placeholders
    assert (
        formatted.text == f"run < x {{{spell(next(iter(plain.placeholders.values())))}}} | awk '{{print $1}}'"
    )


@pytest.mark.parametrize("call", CALLS)
def test_a_call_that_is_written_is_read_back(call):
    placeholder = parse_call(call)

    assert parse_call(spell(placeholder)) == placeholder


def test_three_spellings_make_one_script():
    values = {"image": "a.png", "size": 3}
    texts = (
        "magick {file_arg('image')} -resize \"{arg('size')}x\"",
        f'magick {file_arg("image")} -resize "{arg("size")}x"',
        "magick {{ file_arg('image') }} -resize \"{{arg('size')}}x\"",
    )

    scripts = {compile_template(text).render(values, abspath=lambda path: path).body for text in texts}

    assert len(scripts) == 1


DIFFERENT = [
    "run {arg('x')}", "run  {arg('x')}", "run '{arg('x')}'", "run {arg('x', type=int)}", "run {arg('y')}", "run {file_arg('x')}",
    "run {file_arg('x', '.a')}", "run {file_arg('x', '.b')}", "run {{ arg('x') | upper }}", "run {{ arg('x') | lower }}", "run x",
    "run {{ arg('x') ~ 'a' }}", "run {{ arg('x') ~ 'b' }}", "run {{ 'a' if arg('x') == 1 }}", "run {{ 'a' if arg('x') == true }}",
    "run {{ 'a' if arg('x') == '1' }}", "run {{ 'a' if arg('x') == 1.0 }}", "run {flag_arg('x', '-a')}", "run {flag_arg('x', '-b')}",
]  # fmt: skip


def test_different_meanings_have_different_identities():
    identities = {encode(compile_template(text).identity) for text in DIFFERENT}
    identities.add(encode(compile_template(["run", "{arg('x')}"]).identity))
    identities.add(encode(compile_template(["run {arg('x')}"]).identity))
    identities.add(encode(compile_template("run {arg('x')}", interpreter="sh").identity))

    assert len(identities) == len(DIFFERENT) + 3


def test_what_cannot_change_a_result_is_not_in_the_identity():
    one = compile_template(
        "run {arg('x', default=1, choices=[1, 2])} {{  arg('y')|upper  }}", where="a", name="b"
    )
    other = compile_template("run {arg('x')} {{ arg('y') | upper }}")

    assert one.identity == other.identity


def test_the_identity_is_pinned():
    """Changing what a template means to a key abandons cached results: bump ``COMPILER`` and these together."""
    text = "magick {file_arg('image', '.png')} \"{{ arg('size', type=int) + 1 }}\" {out_file_arg('small', '.png')}"

    assert compile_template(text).identity == (
        "bash template", 1, "bash",
        ("file_arg('image', '.png')", "arg('size', type=int)", "out_file_arg('small', '.png')"),
        ('magick \0 "\0" \0', (
            (("placeholder", "image"), "word"),
            (("Add", ("placeholder", "size"), ("Const", 1)), "double"),
            (("placeholder", "small"), "word"),
        )),
    )  # fmt: skip
    assert Digest.of(encode(compile_template(text).identity)).short == PINNED


PINNED = "5b5747a0c3fb"


# ---- f-strings -----------------------------------------------------------------------------------------------------

MISUSES = [
    lambda t: bool(t), lambda t: t == "a", lambda t: t != "a", lambda t: t.upper(), lambda t: f"{t!r}", lambda t: f"{t!s}", lambda t: f"{t:>3}",
    lambda t: operator.mod("%s", t), lambda t: "a" + t, lambda t: t + "a", lambda t: t | t, lambda t: len(t), lambda t: list(t), lambda t: t[0],
    lambda t: "a" in t, lambda t: t < 1, lambda t: t % 1, lambda t: str(t), lambda t: t(), lambda t: ("a" if t else "b"),
]  # fmt: skip


@pytest.mark.parametrize("misuse", MISUSES, ids=range(len(MISUSES)))
def test_a_placeholder_in_an_f_string_has_no_value(misuse):
    with pytest.raises(TemplateError, match=r"arg\('x'\) does not take") as caught:
        misuse(arg("x"))

    assert caught.value.hint


def test_format_works_like_an_f_string():
    assert compile_template("run {}".format(arg("x"))).identity == compile_template("run {arg('x')}").identity


def test_data_in_an_f_string_never_becomes_a_placeholder():
    token = f"{arg('x')}"
    fake = token.replace(token[1:33], "0" * 32)
    with pytest.raises(TemplateError, match="NUL"):
        compile_template(f"run {fake}")
    with pytest.raises(TemplateError, match="NUL"):
        compile_template(f"run {fake} {arg('y')}")
    with pytest.raises(TemplateError, match="is text here"):
        compile_template(f"run {{arg('x')}} {arg('y')}")

    template = compile_template(f"run '{{{{ arg' {arg('y')}", literal=True)

    assert list(template.placeholders) == ["y"]
    assert split_tokens("no token") is None


def test_a_wrong_placeholder_in_an_f_string_is_refused_where_it_is_written():
    with pytest.raises(TemplateError, match="begins with a dot"):
        file_arg("x", "png")
    with pytest.raises(TemplateError, match="not of type int"):
        arg("x", type=int, default="3")


# ---- braces --------------------------------------------------------------------------------------------------------


def test_what_is_no_placeholder_passes_untouched():
    text = "awk '{print $1} {f(x)}' ${HOME} {a,b} '{%' '{#' \"${#a[@]}\" {arg('x')}"

    template = compile_template(text)

    assert template.text == text
    assert template.compiled.texts[0] == text.removesuffix("{arg('x')}")


def test_double_braces_can_be_text():
    escaped = compile_template("docker inspect -f '{{ '{{' }}.State}}' {arg('x')}")
    literal = compile_template("docker inspect -f '{{.State}}' {arg('x')}", literal=True)

    assert escaped.identity == literal.identity
    assert "'{{.State}}'" in literal.compiled.texts[0]


def test_a_plain_template_needs_no_jinja():
    program = (
        "import sys\nfrom merkl.bash.compiler import compile_template\n"
        "compile_template(\"run {file_arg('x', '.a')} {arg('n', type=int)}\")\nassert 'jinja2' not in sys.modules\n"
        "compile_template(\"run {{ arg('n') | upper }}\")\nassert 'jinja2' in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_the_text_of_an_absolute_path_is_no_part_of_the_identity():
    template = compile_template("run {{ file_arg('x') | abspath }}")
    before = encode(template.identity)

    script = template.render({"x": "a"}, abspath=lambda path: b"/secret/place/" + path)

    assert b"/secret/place/a" in script.body
    assert encode(template.identity) == before


def test_a_compiled_template_survives_pickling():
    template = compile_template("run {arg('x')} {{ arg('y', type=int) + 1 }} {file_arg('f')}")

    again = pickle.loads(pickle.dumps(template))

    assert again == template
    values = {"x": "a", "y": 1, "f": "g"}
    assert again.render(values, abspath=bytes) == template.render(values, abspath=bytes)


def test_an_output_of_stdout_is_declared_beside_the_text():
    template = compile_template("run {arg('x')}", extra=f"{out_file_arg('log', '.txt')}")

    assert list(template.placeholders) == ["x", "log"]
    assert template.identity != compile_template("run {arg('x')}").identity
