"""What a template may not say: each is refused when it is defined, and the caret points at the reason."""

import pytest

from merkl.bash.compiler import compile_template
from merkl.errors import TemplateError


def pointed_at(error: TemplateError) -> str:
    """The part of the template that the message underlines."""
    line, under = str(error.details["template"]).split("\n")
    start = under.index("^")
    return line[start : start + len(under[start:])]


X = "{arg('x')}"
Y = "{{ arg('x') }}"
REFUSED = [
    # Places where no reference can stand.
    (f"echo a # {X}", X, "comment"),
    (f"echo ${Y}", Y, "after an unquoted \\$"),
    (f'echo "${Y}"', Y, "after an unquoted \\$"),
    (f"cat <<E\n${Y}\nE", Y, "after an unquoted \\$"),
    (f"echo \\{X}", X, "after a backslash"),
    (f'echo "\\{X}"', X, "after a backslash"),
    (f"echo $'\\{X}'", X, "after a backslash"),
    (f"echo $'\\x{X}'", X, "unfinished"),
    (f"echo $'\\c{X}'", X, "unfinished"),
    (f'echo $"{X}"', X, "leave out the \\$"),
    ("echo ${arg('x')}", "${arg(", "is no placeholder"),
    (f"{X}=5 cmd", X, "variable's name"),
    (f"a_{X}=5", X, "variable's name"),
    (f"echo ${{!{X}}}", X, "variable's name"),
    (f"echo ${{a{X}}}", X, "variable's name"),
    (f"{X}() {{ :; }}", X, "function's name"),
    (f"function {X} {{ :; }}", X, "function's name"),
    (f"for {X} in a; do :; done", X, "variable's name"),
    (f"cat <<{X}\na\nb", X, "delimiter"),
    (f"cat <<'a{X}'\na\nb", X, "delimiter"),
    (f"echo a >&{X}", X, "after >&"),
    (f"echo {{1..{X}}}", X, "range"),
    # Where two readings are possible.
    (f"echo \"${{a:-'{X}'}}\"", X, "together with a quote"),
    (f'echo "${{a:-it\'s {X}}}"', X, "together with a quote"),
    (f'cat <<E\n${{a:-"b" {X}}}\nE', X, "together with a quote"),
    (f"echo `echo \\`echo {X}\\``", X, "backticks inside backticks"),
    (f'echo "`echo \\"{X}\\"`"', X, "backticks with backslashes"),
    (f'echo "${{a#${{b:-{X}}}}}"', X, "in this pattern"),
    (f"echo $((echo {X}); echo)", "$", "does not end in \\)\\)"),
    (f"((echo {X}); echo)", "(", "does not end in \\)\\)"),
    (f"!(echo {X})", "!", "pattern or a command"),
    (f"echo $[1] {X}", "$", "cannot be read with certainty"),
    (f"coproc cat {X}", "c", "coproc"),
    (f"echo $\\\n(echo) {X}", "$", "continued line"),
    (f"cat <\\\n<E {X}\nE", "\\", "continued line"),
    (f'cat <<E "a\nb" {X}\nE', '"', "over several lines"),
    (f"cat <<E $(echo\n) {X}\nE", "$", "over several lines"),
    (f"echo \"$(cat <<'E'\n{X}\nE\n)\"", X, "quoted here document inside"),
    (f"[[ a =~ # ]] && echo {X}", "#", "bare #"),
    # Unbalanced.
    (f"echo '{X}", "'", "never closed"),
    (f"echo {X} it's", "'", "never closed"),
    (f'echo "{X}', '"', "never closed"),
    (f"echo `{X}", "`", "never closed"),
    (f"echo $({X}", "(", "never closed"),
    (f"echo ${{a:-{X}", "$", "never closed"),
    (f"echo $(({X}", "$", "must be an integer|never closed"),
    (f"echo {X})", ")", "closes nothing"),
    (f"({X}", "(", "never closed"),
    (f"a=({X}", "(", "never closed"),
    (f"[[ -n {X}", "[", "no \\]\\]"),
    (f"cat <<E\n{X}\n E", "E", "no line E"),
    (f"case a in {X}) echo", "c", "no esac"),
    (f"echo {X} >", ">", "nothing follows"),
    (f"echo {X} \\", "\\", "ends in a backslash"),
    # What bash evaluates twice.
    (f"eval echo {X}", X, "eval would take"),
    (f"\\eval {X}", X, "eval would take"),
    (f"a=1 command -p 'eval' \"{X}\"", X, "eval would take"),
    (f'if ! e"v"al {X}; then :; fi', X, "eval would take"),
    (f"trap 'rm {X}' EXIT", X, "trap would take"),
    (f"source {X}", X, "source would take"),
    (f". {X}", X, "would take"),
    (f"declare a={X}", X, "declare would take"),
    (f"f() {{ local a={X}; }}", X, "local would take"),
    (f"export A={X}", X, "export would take"),
    (f"read {X}", X, "read would take"),
    (f"unset {X}", X, "unset would take"),
    (f"printf -v {X} a", X, "printf -v would take"),
    (f"printf -v{X} a", X, "printf -v would take"),
    (f"test -v {X}", X, "test -v would take"),
    (f"[ ! -v {X} ]", X, "\\[ -v would take"),
    (f"[[ a && -v {X} ]]", X, "\\[\\[ -v would take"),
    (f"let a={X}", X, "let would take"),
    (f"mapfile -C {X} -c 1 a", X, "mapfile would take"),
    (f"declare -A m=([k]={X})", X, "declare would take"),
    (f"PS4={X}; set -x", X, "PS4= would take"),
    (f"bash -c {X}", X, "bash -c would take"),
    (f'/bin/sh -ec "rm {X}"', X, "sh -c would take"),
    (f"sudo -u me bash -o pipefail -c 'rm {X}' _ {X}", X, "bash -c would take"),
    (f"find . -exec sh -c 'rm {X}' ';'", X, "sh -c would take"),
    (f"su me -c {X}", X, "su -c would take"),
    (f"ssh host ls {X}", X, "ssh would take"),
    (f"time -p ssh host {X}", X, "ssh would take"),
    (f"bash <<E\nrm {X}\nE", X, "as its input"),
    (f"sudo sh -s <<'E' | cat\nrm {X}\nE", X, "as its input"),
    (f"bash <<< {X}", X, "as its input"),
    (f"echo $(({X} + 1))", X, "must be an integer"),
    (f"(({X}))", X, "must be an integer"),
    (f"for ((i=0; i<{X}; i++)); do :; done", X, "must be an integer"),
    (f"echo ${{a[{X}]}}", X, "must be an integer"),
    (f"a[{X}]=1", X, "must be an integer"),
    (f"a=([{X}]=1)", X, "must be an integer"),
    (f"echo ${{a:{X}}}", X, "must be an integer"),
    (f"echo ${{a:1:{X}}}", X, "must be an integer"),
    (f"[[ {X} -eq 1 ]]", X, "must be an integer"),
    (f"[[ 1 -lt {X} ]]", X, "must be an integer"),
    (f"declare -i n; n={X}", X, "must be an integer"),
    (f"SECONDS={X}", X, "must be an integer"),
    ("echo $((1{arg('x', type=int)}))", "{arg('x', type=int)}", "by itself"),
    ("echo $(( a[1+{arg('x', type=int)}] ))", "{arg('x', type=int)}", "whole of a subscript"),
    ("echo $(( \"{arg('x', type=int)}\" ))", "{arg('x', type=int)}", 'inside " within arithmetic'),
    ("echo $(( {{ arg('x') + 1 }} ))", "{{ arg('x') + 1 }}", "must be an integer"),
    # What a placeholder is.
    ("echo \"{files_arg('x')}\"", "{files_arg('x')}", "whole word"),
    ("echo a{flag_arg('x')}", "{flag_arg('x')}", "whole word"),
    ("echo {arg('x', type=bool)}", "{arg('x', type=bool)}", "no word"),
    ("cat <<'E'\n{secret_arg('x')}\nE", "{secret_arg('x')}", "secret"),
    (
        "echo {arg('x')} {arg('x', type=int)}",
        "{arg('x', type=int)}",
        "two meanings: arg\\('x'\\) and arg\\('x', type=int\\)",
    ),
    ("echo {arg(x)}", "{arg(x)}", "not a literal"),
    ("echo {arg()}", "{arg()}", "missing 1 required"),
    ("echo {arg('x', typ=int)}", "{arg('x', typ=int)}", "typ"),
    ("echo {arg('x', type=complex)}", "{arg('x', type=complex)}", "not known"),
    ("echo {arg('a-b')}", "{arg('a-b')}", "parameter's name"),
    ("echo {arg('class')}", "{arg('class')}", "parameter's name"),
    ("echo {file_arg('x', 'png')}", "{file_arg('x', 'png')}", "begins with a dot; write '.png'"),
    ("echo {arg('x', type=int, default='3')}", "{arg('x', type=int, default='3')}", "not of type int"),
    ("echo {arg('x', choices=['a'], default='b')}", "{arg('x', choices=['a'], default='b')}", "not one of"),
    ("echo {file_args('x')}", "{file_args(", "did you mean"),
    ("echo {arg('x')|upper}", "{arg('x')|", "filters need double braces"),
    ("echo {arg('x'):>10}", "{arg('x'):", "takes no format"),
    ("echo {arg('x'", "{a", "never closed"),
    # Expressions.
    ("echo {{ arg('x')", "{{", "written \\{\\{ '\\{\\{' \\}\\}"),
    ("echo {{ x }}", "{{ x }}", "arg\\('x'\\)"),
    ("echo {{a,b}}{c}", "{{a,b}}", "literal \\{\\{"),
    ("echo {{ arg }}", "{{ arg }}", "must be called"),
    ("echo {{ arg('x').upper() }}", "{{ arg('x').upper() }}", "cannot be called"),
    ("echo {{ arg('x').y }}", "{{ arg('x').y }}", "a dot"),
    ("echo {{ arg('x') | random }}", "{{ arg('x') | random }}", "no filter 'random'"),
    ("echo {{ arg('x') | uper }}", "{{ arg('x') | uper }}", "did you mean upper"),
    ("echo {{ arg('x') is sameas 1 }}", "{{ arg('x') is sameas 1 }}", "no test"),
    ("echo {{ range(3) }}", "{{ range(3) }}", "cannot be called"),
    ("echo {{ arg('x' ~ 'y') }}", "{{ arg('x' ~ 'y') }}", "must be literals"),
    ("echo {{ arg('x') | raw | upper }}", "{{ arg('x') | raw | upper }}", "raw must be the last"),
    ("echo {{ secret_arg('x') | upper }}", "{{ secret_arg('x') | upper }}", "secret"),
    ("echo {{- arg('x') }}", "{{- arg('x') }}", "white space control"),
    ("echo {{ arg('x') if }}", "{{ arg('x') if }}", "no expression"),
    ("echo {{ }}", "{{ }}", "one expression|no expression"),
]


@pytest.mark.parametrize(("template", "caret", "problem"), REFUSED, ids=range(len(REFUSED)))
def test_a_template_that_cannot_be_right_is_refused_with_a_caret(template, caret, problem):
    with pytest.raises(TemplateError, match=problem) as caught:
        compile_template(template, where="Merklfile.py:3", name="task")

    assert pointed_at(caught.value) == caret
    assert caught.value.details["at"] == "Merklfile.py:3"


NOT_SH = ["echo $'a'", "cat <<< a", "cat <(echo)", "[[ a ]]", "((1))", "a=(1)", "echo ${a[0]}", "echo ${a:1}", "echo ${a/b/c}",
          "function f { :; }", "echo @(a|b)", 'echo $"a"']  # fmt: skip


@pytest.mark.parametrize("text", NOT_SH)
def test_what_only_bash_understands_is_refused_for_sh(text):
    with pytest.raises(TemplateError, match="the interpreter is sh"):
        compile_template(f"{text} {X}", interpreter="sh")


PYTHON = [
    (f"print('{X}')", X, "in a string"),
    (f'print(f"{X}")', X, "in a string"),
    (f"'''\n{X}'''", X, "in a string"),
    (f"a = 1 # {X}", X, "in a comment"),
    (f"a{X} = 1", X, "touches"),
    (f"a = b{X}", X, "touches"),
    (f"a = 'b'{X}", X, "touches"),
    (f'a = f"{{d[\'a\']}}" + f"{{d["a"]}}" + {X}', "f", "f-string"),
    (f"a = 'b + {X}", "'", "never closed"),
    ("a = {flag_arg('x')}", "{flag_arg('x')}", "type=bool"),
]


@pytest.mark.parametrize(("template", "caret", "problem"), PYTHON, ids=range(len(PYTHON)))
def test_a_placeholder_in_python_is_an_expression(template, caret, problem):
    with pytest.raises(TemplateError, match=problem) as caught:
        compile_template(template, interpreter="python3")

    assert pointed_at(caught.value) == caret


def test_a_secret_is_no_word_of_a_list():
    with pytest.raises(TemplateError, match="secret"):
        compile_template(["curl", "-u", "{secret_arg('TOKEN')}"])


@pytest.mark.parametrize("interpreter", ["zsh", "perl", "/usr/bin/env bash", "argv"])
def test_other_interpreters_take_a_list_of_words(interpreter):
    with pytest.raises(TemplateError, match="list of words"):
        compile_template("print {arg('x')}", interpreter=interpreter)


def test_a_template_with_a_nul_byte_is_refused():
    with pytest.raises(TemplateError, match="NUL"):
        compile_template("printf '%s\0' {arg('x')}")


RAW = [
    "eval {{ arg('x') | raw }}", "bash -c {{ arg('x') | raw }}", "source {{ file_arg('x') | raw }}",
    "ssh host {{ arg('x') | raw }}", "trap \"{{ arg('x') | upper | raw }}\" EXIT", "export A={{ arg('x') | raw }}",
]  # fmt: skip


@pytest.mark.parametrize("text", RAW)
def test_raw_says_that_a_value_is_meant_to_be_code(text):
    assert compile_template(text).placeholders.keys() == {"x"}


ALLOWED = [
    "echo {arg('x')} | grep -c {arg('x')}", "printf '%s -v' {arg('x')}", "printf ab{arg('x')}", "test {arg('x')} = -v",
    "awk '{print $1}' {file_arg('x')}", "echo ${HOME} {print} {a,b} ${#HOME} $# $$ $! $? $- $1 ${12} ${!v} ${v@Q} ${!v*} {arg('x')}",
    "echo '{%' '{#' \"${#a[@]}\" {arg('x')}", "[[ a -nt {arg('x')} ]]", "bash script.sh -c {arg('x')}", "bash {file_arg('x')}",
    "bash script.sh <<< {arg('x')}", "echo eval {arg('x')}", "env {arg('k')}={arg('v')} program", "curl -d {arg('k')}={arg('v')} u",
    "x=1 y={arg('x')} program", "eval \"$(program {arg('x')})\"", "ls -l > out 2>&1 < {file_arg('x')} 3<&- >| {arg('y')}",
    "while read -r line; do echo \"$line\" {arg('x')}; done < {file_arg('f')}", "case $x in a|b) ;; esac; echo {arg('x')}",
    "if true; then echo; elif false; then :; else { echo {arg('x')}; }; fi", "echo a#b $#c ${x#y} {arg('x')}",
    "echo $((1 << 2)) $(( (1+2)*3 )) $((16#ff)) $((x ? 1 : 2)) {arg('x')}", "((x++)); (( y = x << 2 )) || :; echo {arg('x')}",
    "cat <<E; echo {arg('x')}\n$(echo ')' \"E\")\nE", "cat <<'E' | cat\n' \" ` $( ${\nE\necho {arg('x')}",
    "cat <<-'E'\n\tx\n\tE\necho {arg('x')}", "cat <<\\E\n'\nE\necho {arg('x')}", "cat <<E\nline\\\nE\nE\necho {arg('x')}",
    "echo \"${x:-'}\" {arg('x')}", "echo \"${x%'.gz'}\" {arg('x')}", "[[ $x =~ ^(a|b)+[^c]$ ]]; echo {arg('x')}",
    "[[ ( -f a || a < b ) && ! -d c ]]; echo {arg('x')}", "f() (echo {arg('x')})", "time { echo {arg('x')}; }", "echo `echo \\`date\\`` {arg('x')}",
    "select i in a {arg('x')}; do break; done", "for x\nin a {arg('x')}\ndo :; done", "for x do echo {arg('x')}; done",
    "a=(\n  1 # one's\n  {arg('x')}\n)", "a+=([2]=x [3]={arg('x')})", "echo a{arg('x')}{{ arg('x') }}", "{arg('x')} {arg('y')}",
    "{ echo {arg('x')}; } 2>/dev/null | (cat) && ! false || : &", "exec 3< {file_arg('x')} {fd}>&-; echo {arg('y')} >&2",
    "diff <(sort {file_arg('x')}) <(sort {file_arg('y')}) > >(cat)", "echo \"$(case x in (a) echo;; b) :;; esac)\" {arg('x')}",
    "echo $(# it's\necho {arg('x')})", "echo {arg('x')} # it's (\"`", "shopt -s extglob; ls !(*.o|{arg('x')})", "function f() { echo {arg('x')}; }",
]  # fmt: skip


@pytest.mark.parametrize("text", ALLOWED, ids=range(len(ALLOWED)))
def test_what_is_no_danger_is_not_refused(text):
    assert "arg" in compile_template(text).text


def test_a_long_line_is_cut_around_the_caret():
    with pytest.raises(TemplateError) as caught:
        compile_template(f"echo {'a' * 500} # {X} {'b' * 500}")

    line, _ = str(caught.value.details["template"]).split("\n")
    assert len(line) < 110
    assert pointed_at(caught.value) == X


def test_the_caret_keeps_its_column_after_tabs_and_on_a_later_line():
    with pytest.raises(TemplateError) as caught:
        compile_template(f"echo a\n\t\techo \\{X}\necho b")

    assert str(caught.value.details["template"]) == f"\t\techo \\{X}\n\t\t      ^~~~~~~~~~"


DEEP = ["echo " + "$(" * 3000 + X + ")" * 3000, "echo {{ " + "(" * 3000 + "arg('x')" + ")" * 3000 + " }}",
        "echo {{ arg('x')" + " | upper" * 3000 + " }}"]  # fmt: skip


@pytest.mark.parametrize("text", DEEP, ids=range(3))
def test_what_is_nested_too_deep_is_refused(text):
    with pytest.raises(TemplateError, match="nested too deep"):
        compile_template(text)
