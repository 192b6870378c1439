"""Ways in which a result could be stale that are easy to overlook: each was a bug once."""

from typing import Any

import pytest


def test_a_value_whose_class_was_edited_is_another_value(inside: Any) -> None:
    """It pickles to the same bytes, and what its reader does with it is in the class."""
    text = "class C:\n    def __init__(self, x):\n        self.x = x\n    def m(self):\n        return {!r}\n"
    inside.write("h.py", text.format("one"))
    inside.merklfile("""
        import h

        @task
        def make():
            return [h.C(1)]

        @task
        def use(values) -> str:
            return values[0].m()

        @target(default=True)
        def all():
            use(make()) > "out.txt"
    """)
    assert inside.build() == ["make", "use"]
    assert inside.build() == []

    inside.write("h.py", text.format("two"))

    assert inside.build() == ["make", "use"]
    assert inside.read("out.txt") == "two"


@pytest.mark.parametrize("jobs", ["-j1", "-j2"])
def test_a_worker_has_the_modules_that_were_imported_for_what_they_do(inside: Any, jobs: str) -> None:
    inside.write("registry.py", "FOUND = {}\n")
    inside.write("plugin.py", "import registry\nregistry.FOUND['a'] = len\n")
    inside.merklfile("""
        import plugin
        import registry

        @task
        def count(text: str):
            return registry.FOUND["a"](text)

        @target(default=True)
        def all():
            count("four") > "out.txt"
    """)

    assert inside.build(jobs) == ["count"]
    assert inside.read("out.txt") == "4\n"


def test_a_depfile_may_name_system_headers(inside: Any) -> None:
    inside.write("a.txt", "a\n")
    inside.write("h.txt", "h\n")
    inside.merklfile("""
        cc = bash_task(
            "cp {file_arg('text', '.txt')} {out_file_arg('out', '.o')};"
            " printf '%s: h.txt /etc/hostname\\\\n' x.o > {depfile_arg()}"
        )

        @target(default=True)
        def all():
            cc("a.txt") > "out/a.o"
    """)

    assert inside.build() == ["cc"]
    assert inside.build() == []
    inside.write("h.txt", "edited\n")
    assert inside.build() == ["cc"]


def test_a_merklfile_that_exits_is_no_success(inside: Any) -> None:
    inside.merklfile("import sys\nsys.exit(0)\n")

    done = inside.merkl("build", code=2)

    assert "SystemExit: 0" in done.stderr
    assert "Merklfile.py:3" in done.stderr
