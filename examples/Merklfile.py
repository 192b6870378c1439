"""What is in Python's own standard library?  A report with two charts, made from its source code.

merkl build                 the report, build/report.html; once more, and nothing runs
merkl build words top=30    another target, with a parameter
merkl why                   after an edit here or in drawing.py: what would run, and the line that changed
"""

import ast
import sysconfig
from collections import Counter
from html import escape
from pathlib import Path
from typing import Any

import drawing

from merkl import Future, bash_task, file, target, task

STDLIB = Path(sysconfig.get_path("stdlib"))
PACKAGES = ["asyncio", "collections", "concurrent", "email", "encodings", "http", "importlib", "json", "logging",
            "unittest", "urllib", "xml"]  # fmt: skip

# ---- Commands.  A placeholder becomes a parameter of the task; the text around it is bash. ----

measure = bash_task("wc -lwc {files_arg('sources', '.py')} > {out_file_arg('sizes', '.txt')}")

# Two outputs: a call returns a dict of two Futures.
vocabulary = bash_task("""
    cat {files_arg('sources', '.py')} | tr -cs '[:alpha:]' '\\n' | sort > "$TMPDIR/all"
    uniq "$TMPDIR/all" > {out_file_arg('words', '.txt')}
    uniq -c "$TMPDIR/all" | sort -k1,1nr -k2 > {out_file_arg('counts', '.txt')}
""")

# Not `sort | head`: head leaves first, sort dies of a broken pipe, and in a task that is a failure.
in_common = bash_task("""
    sort -m {files_arg('vocabularies', '.txt')} | uniq -c | sort -k1,1nr -k2 > "$TMPDIR/sorted"
    head -n {arg('top', type=int)} "$TMPDIR/sorted" > {out_file_arg('common', '.txt')}
""")

# Without an output, and never cached: it runs each time it is asked for.
inspect = bash_task(
    """
    read -r first < {file_arg('page', '.html')}
    if [[ $first != '<!doctype html>' ]]; then echo "it begins with $first"; exit 1; fi
    """,
    cache=False,
)

# ---- Functions.  What enters a key is all the code that a call can reach, wherever it is written. ----


@task
def parse(package: str, sources: list[str]) -> tuple[list[list[Any]], dict[str, int]]:
    """The longest functions of a package, and how often it imports what.  A tuple: so two Futures."""
    functions, imports = list[list[Any]](), Counter[str]()
    for path in map(Path, sources):
        for node in ast.walk(ast.parse(path.read_bytes())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno:
                functions.append([node.end_lineno - node.lineno + 1, f"{package}/{path.name}: {node.name}"])
            elif isinstance(node, ast.Import):
                imports.update(alias.name.partition(".")[0] for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                imports[node.module.partition(".")[0]] += 1
    return sorted(functions, reverse=True)[:10], dict(sorted(imports.items()))


@task
def bars(sizes: dict[str, str]) -> str:
    """How many lines each package has.  A file that a command made arrives as its path."""
    return drawing.bar_chart({name: lines_in(path) for name, path in sizes.items()}, "lines")


def lines_in(path: str) -> int:
    """The first number in the last line of what `wc` wrote: the total."""
    return int(Path(path).read_text().splitlines()[-1].split()[0])


@task
def wheel(imports: dict[str, dict[str, int]]) -> str:
    """Who imports whom.  A value that a function returned arrives as it was."""
    return drawing.wheel_chart(imports)


@task
def page(sizes: str, imports: str, functions: list[list[list[Any]]], common: str) -> str:
    """The report."""
    longest = sorted((found for package in functions for found in package), reverse=True)[:12]
    rows = "".join(f"<tr><td>{size}</td><td>{escape(name)}</td></tr>\n" for size, name in longest)
    words = ", ".join(line.split()[1] for line in Path(common).read_text().splitlines())
    style = "body{font:16px system-ui;max-width:45em;margin:2em auto}td{padding-right:1em}svg{width:100%}"
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"/><title>The standard library</title><style>{style}</style></head>
<body><h1>Python's standard library</h1>
<h2>How long it is</h2>\n{sizes}<h2>Who imports whom</h2>\n{imports}
<h2>The longest functions</h2>\n<table>{rows}</table>
<h2>Words that most packages have in common</h2>\n<p>{words}</p>
</body></html>\n"""


# ---- Targets.  Calling a task runs nothing: it returns Futures, and `>` says where one shall appear. ----


def sources(package: str) -> list[str]:
    """The modules of a package: inputs, although they lie outside this project."""
    return [file(path) for path in sorted((STDLIB / package).rglob("*.py"))]


@target
def words(top: int = 20) -> object:
    """The words that most packages have in common, and what each has of its own."""
    made = {package: vocabulary(sources(package)) for package in PACKAGES}
    for package in PACKAGES:
        made[package]["counts"] > f"build/words/{package}.txt"
    return in_common([each["words"] for each in made.values()], top=top) > "build/words.txt"


@target(default=True)
def report(top: int = 20) -> Future[str]:
    """The report: sizes, imports, long functions and common words."""
    sizes = {package: measure(sources(package)) > f"build/sizes/{package}.txt" for package in PACKAGES}
    parsed = {package: parse(package, sources(package)) for package in PACKAGES}
    size_chart = bars(sizes) > "build/sizes.svg"
    import_chart = wheel({package: imports for package, (_, imports) in parsed.items()}) > "build/imports.svg"
    longest = [functions for functions, _ in parsed.values()]
    return page(size_chart, import_chart, longest, words(top)) > "build/report.html"


@target
def check() -> object:
    """See whether the report is one."""
    return inspect(report())
