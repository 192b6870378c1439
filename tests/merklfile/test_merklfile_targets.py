import textwrap

import pytest
from story import ECHO, Project, a_project

from merkl.errors import CallError, MerklfileError
from merkl.merklfile.targets import REQUIRED, Parameter, futures_in
from merkl.nodes import Future


@pytest.fixture
def project(tmp_path):
    with a_project(tmp_path) as found:
        yield found


def load(project: Project, text: str, **options):
    return project.load(ECHO + textwrap.dedent(text).lstrip("\n"), **options)


def test_a_target_says_what_it_is(project: Project):
    merklfile = load(
        project,
        '''
        @target(default=True, always=True, after=["other"], sidecar=True)
        def train(lr: float, *, epochs: "int | None" = 3, **more):
            """Train the model.

            At length.
            """
    ''',
    )
    train = merklfile.targets["train"]

    assert (train.name, train.doc) == ("train", "Train the model.")
    assert (train.declared.default, train.declared.always, train.declared.sidecar) == (True, True, True)
    assert train.declared.after == ("other",)
    assert train.parameters == (Parameter("lr", "float", REQUIRED), Parameter("epochs", "int | None", 3))
    assert merklfile.shown(train.place) == "Merklfile.py:5"
    assert repr(train) == "<target train>"


def test_a_name_can_be_given_a_task_a_future_or_many(project: Project):
    merklfile = load(
        project,
        """
        target("one", echo(1), description="Just one.")
        target("many", {"a": [echo(2)], "b": (echo(3), None, "text")})
        target("called", lambda: echo(4))
        target("task", task(lambda: 5))
        @target(name="build-all")
        def anything():
            return echo(6)
    """,
    )

    assert [len(project.call(merklfile, name).called[0].futures) for name in merklfile.targets] == [
        1,
        2,
        1,
        1,
        1,
    ]
    assert merklfile.targets["one"].doc == "Just one."
    assert merklfile.shown(merklfile.targets["many"].place) == "Merklfile.py:6"
    assert list(merklfile.targets) == ["one", "many", "called", "task", "build-all"]


def test_a_target_is_called_once_however_many_targets_need_it(project: Project):
    merklfile = load(
        project,
        """
        calls = []
        @target
        def data(size: int = 1):
            calls.append(size)
            return echo(size)
        @target
        def left():
            return echo(data())
        @target
        def right():
            return [echo(data(1)), echo(data(size=2))]
    """,
    )

    project.call(merklfile, "left", "right", "data")

    assert merklfile.files[merklfile.path].module.calls == [1, 2]


def test_arguments_that_only_look_alike_are_different_calls(project: Project):
    merklfile = load(
        project,
        """
        calls = []
        @target
        def data(x=0):
            calls.append(x)
        @target
        def t():
            for x in (1, 1.0, True, "1", [1], [1], echo(1), echo(1), echo(2)):
                data(x)
    """,
    )

    project.call(merklfile, "t")

    calls = merklfile.files[merklfile.path].module.calls
    assert [type(x) for x in calls] == [int, float, bool, str, list, Future, Future]


def test_what_a_called_target_makes_belongs_to_it_and_the_rest_to_the_caller(project: Project):
    merklfile = load(
        project,
        """
        @target
        def inner():
            echo(1) > "inner.txt"
        @target
        def outer():
            echo(2) > "before.txt"
            inner()
            echo(3) > "after.txt"
    """,
    )

    calls = project.call(merklfile, "outer")

    assert project.session.placements == [
        ("before.txt", "outer"),
        ("inner.txt", "inner"),
        ("after.txt", "outer"),
    ]
    assert [(each.name, each.requested, each.inside) for each in calls.called] == [
        ("inner", False, ()),
        ("outer", True, ("inner",)),
    ]


def test_targets_that_are_returned_without_being_called_are_called(project: Project):
    merklfile = load(
        project,
        """
        @target
        def a(): return echo("a")
        @target
        def b(n=1): return echo(n)
        target("both", [a, {"b": b}])
    """,
    )

    calls = project.call(merklfile, "both")

    assert [called.name for called in calls.called] == ["a", "b", "both"]
    assert len(calls.called[-1].futures) == 2


def test_what_a_target_yields_is_collected_in_order(project: Project):
    merklfile = load(
        project,
        """
        @target
        def steps():
            first = echo(1)
            yield first
            yield [echo(first), echo(0) > "zero"]
        @target
        def lazy():
            return (echo(x) > f"out/{x}" for x in range(2))
    """,
    )

    calls = project.call(merklfile, "steps", "lazy")

    assert [len(called.futures) for called in calls.called] == [3, 2]
    assert project.session.placements == [("zero", "steps"), ("out/0", "lazy"), ("out/1", "lazy")]


def test_a_target_that_calls_itself_is_an_error_that_shows_the_way(project: Project):
    merklfile = load(
        project,
        """
        @target
        def a(): return b()
        @target
        def b(): return c()
        @target
        def c(): return b()
    """,
    )

    with pytest.raises(MerklfileError) as caught:
        project.call(merklfile, "a")

    assert caught.value.headline == "the target b calls itself: b → c → b"
    assert "Merklfile.py:10, in c" in str(caught.value)


def test_a_target_may_call_itself_with_other_arguments(project: Project):
    merklfile = load(
        project,
        """
        @target(after=["first"])
        def level(n: int):
            return [echo(n), level(n - 1)] if n else echo("bottom")
        @target
        def first():
            return echo("first")
    """,
    )

    calls = project.call(merklfile, "level", "n=2")

    assert [called.name for called in calls.called] == ["first", "level", "level", "level"]
    assert len(calls.called[-1].futures) == 3


def test_two_targets_of_one_name_are_an_error_that_names_both_places(project: Project):
    with pytest.raises(MerklfileError) as caught:
        load(
            project,
            """
            @target
            def build_it(): ...

            target("build-it", echo(1))
        """,
        )

    assert str(caught.value) == textwrap.dedent("""\
        two targets are named 'build-it'
          one: Merklfile.py:5
          other: Merklfile.py:8
          at:
            Merklfile.py:8, in <module>
              target("build-it", echo(1))
          hint: rename one of them, or give it name=""")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("target('x', [1, 2])", "there is no Future in the value of the target 'x': [1, 2]"),
        ("target('x')", "target('x') has no value"),
        ("target(task, 1)", "target(…) takes a name first, and then a value"),
        ("target(5)", "@target makes a target of a function, and this is 5"),
        ("target(int)", "@target makes a target of a function, and this is <class 'int'>"),
        ("target(lambda: 1)", "'<lambda>' cannot be the name of a target"),
        ("target('a b', echo(1))", "'a b' cannot be the name of a target"),
        ("target('-x', echo(1))", "'-x' cannot be the name of a target"),
        ("target('./x', echo(1))", "'./x' cannot be the name of a target"),
        ("target('a=b', echo(1))", "'a=b' cannot be the name of a target"),
        ("target('x', echo(1), after=[3])", "after= takes targets, their names and Futures, not 3"),
        ("@target\nasync def f(): ...", "a target cannot be an async function"),
    ],
)
def test_a_wrong_declaration_is_refused_where_it_is_written(project: Project, text, message):
    with pytest.raises(MerklfileError) as caught:
        load(project, text)

    assert caught.value.headline.startswith(message)
    assert "Merklfile.py:5, in <module>" in str(caught.value)


def test_a_target_called_with_wrong_arguments_says_which_it_takes(project: Project):
    merklfile = load(
        project,
        """
        @target
        def inner(size: int): ...
        @target
        def outer(): return inner(colour=1)
    """,
    )

    with pytest.raises(CallError) as caught:
        project.call(merklfile, "outer")

    assert caught.value.headline == "the target inner has no parameter 'colour'"
    assert caught.value.details["signature"] == "inner(size: int)"
    assert "Merklfile.py:8, in outer" in str(caught.value.details["at"])


def test_what_must_come_before_is_reached_too_and_called_first(project: Project):
    merklfile = load(
        project,
        """
        @target(after=["test", "lint"])
        def deploy(): return echo("deploy")
        @target
        def lint(): return echo("lint")
        @target(after=[lint])
        def test(): return echo("test")
        @target(after=echo("wait"))
        def waits(): return deploy()
    """,
    )

    calls = project.call(merklfile, "waits")

    assert [(c.name, c.after, len(c.after_futures), c.requested) for c in calls.called] == [
        ("lint", (), 0, False),
        ("test", ("lint",), 0, False),
        ("deploy", ("test", "lint"), 0, False),
        ("waits", (), 1, True),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("@target(after=['b'])\ndef a(): ...\n@target(after=['a'])\ndef b(): ...",
         "targets wait for each other: a → b → a"),
        ("@target\ndef a(): return b()\n@target(after=['a'])\ndef b(): ...",
         "targets wait for each other: a → b → a"),
        ("@target(after=['tset'])\ndef a(): ...\n@target\ndef test(): ...", "no target named 'tset'"),
        ("@target(after=['b'])\ndef a(): ...\n@target\ndef b(x): ...", "the target b needs x, and is called without"),
    ],
)  # fmt: skip
def test_an_order_that_cannot_be_kept_is_refused(project: Project, text, message):
    merklfile = load(project, text)

    with pytest.raises(MerklfileError) as caught:
        project.call(merklfile, "a")

    assert caught.value.headline == message


def test_futures_are_found_wherever_they_are(project: Project):
    merklfile = load(
        project,
        """
        import dataclasses

        @dataclasses.dataclass
        class Pair:
            a: object
            b: object

        one, two, three, four = map(echo, range(4))
        ring = [four]
        ring.append(ring)
        value = {"x": [one, "text", None], "y": Pair(two, (three, one)), "z": {three, two}, "r": ring}
    """,
    )
    module = merklfile.files[merklfile.path].module

    assert futures_in(module.value) == [module.one, module.two, module.three, module.four]
    assert futures_in(None) == []


def test_a_target_works_in_a_script_that_no_merkl_has_loaded():
    from merkl.merklfile.declare import target

    @target
    def build(n: int = 1) -> int:
        return n + 1

    assert build.name == "build"
    assert build.parameters == (Parameter("n", "int", 1),)
