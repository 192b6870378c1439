"""Which words do these poems use?  The same project in YAML is Merklfile.yaml, which says more.

merkl -f in_python.py build
"""

from pathlib import Path

from merkl import FileRef, Future, bash_task, files, target

poems = files("texts/*.txt")
titles = [Path(poem).stem for poem in poems]

measure = bash_task("wc -w < {file_arg('text', '.txt')}")

words = bash_task(
    r"""tr -cs '[:alpha:]' '\n' < {file_arg('text', '.txt')} | tr '[:upper:]' '[:lower:]' | sort > "$TMPDIR/all"
uniq "$TMPDIR/all" > {out_file_arg('vocabulary', '.txt')}
uniq -c "$TMPDIR/all" | sort -k1,1nr -k2 > {out_file_arg('counts', '.txt')}
""",
    tools=["uniq"],
)

in_common = bash_task(
    """sort -m {files_arg('vocabularies', '.txt')} | uniq -c | sort -k1,1nr -k2 > "$TMPDIR/sorted"
head -n {arg('top', type=int)} "$TMPDIR/sorted" > {out_file_arg('common', '.txt')}
"""
)

report_task = bash_task(
    """cat {files_arg('sizes')} > "$TMPDIR/sizes"
paste -d ' ' {argfile('titles')} "$TMPDIR/sizes" > {out_file_arg('report', '.txt')}
sed 's/^ *//' {file_arg('common', '.txt')} >> {out_file_arg('report', '.txt')}
""",
    name="report",
)

check_task = bash_task(
    """for title in {arg('titles')}; do grep -q "^$title " {file_arg('report')}; done""",
    name="check",
    cache=False,
)


@target
def vocabulary() -> list[dict[str, Future[FileRef]]]:
    """The words of each poem."""
    made = [words(poem) for poem in poems]
    for poem, each in zip(poems, made):
        each["counts"] > f"build/{Path(poem).stem}.txt"
    return made


@target
def common(top: int = 10) -> object:
    """The words that most poems use."""
    return in_common([each["vocabulary"] for each in vocabulary()], top=top) > "build/common.txt"


@target(default=True)
def report(top: int = 10) -> object:
    """How many words each poem has, and the words that they have in common."""
    sizes = [measure(poem) for poem in poems]
    return report_task(titles=titles, sizes=sizes, common=common(top)) > "build/report.txt"


@target
def check() -> object:
    """See whether the report names every poem."""
    return check_task(titles=titles, report=report())
