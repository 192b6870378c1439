"""Which ready task starts first: as the code has it, or the one on the longest way to the end; and ``--target``."""

import pytest

from merkl.engine.order import critical_path
from merkl.nodes import Future, Node

GRAPH = """
def step(name, seconds):
    return bash_task(
        f"echo {name} >> ../trace; sleep {seconds}; cat {{files_arg('inputs')}} > {{out_file_arg('o', '.txt')}}",
        name=name, cache=False,
    )

short = step("short", 0)
chain = [step(f"chain{n}", 0.4) for n in range(2)]

@target(default=True)
def all():
    made = [short([file("given.txt")])]
    link = file("given.txt")
    for each in chain:
        link = each([link])
    return [*made, link]
"""


def began(project) -> list[str]:
    """The names of what ran, in the order of starting, since this was last asked."""
    path = project.path.parent / "trace"
    names = path.read_text().split()
    path.unlink()
    return names


def test_tasks_start_in_the_order_of_the_code_unless_told_otherwise(inside):
    inside.write("given.txt", "x")

    inside.merklfile(GRAPH.replace("0.4", "0"))

    for _ in range(2):
        inside.build("-j1")
        assert began(inside) == ["short", "chain0", "chain1"]


def test_the_longest_way_to_the_end_goes_first_once_times_are_known(inside):
    inside.write("given.txt", "x")
    inside.merklfile(GRAPH)
    inside.build("-j1")
    began(inside)

    inside.build("-j1", "--order", "critical-path")
    assert began(inside) == ["chain0", "chain1", "short"]

    inside.write("merkl.yaml", "order: critical-path\n")
    inside.build("-j1")
    assert began(inside)[0] == "chain0"

    inside.build("-j1", "--order", "code")
    assert began(inside)[0] == "short"


def test_futures_start_in_the_order_in_which_they_are_yielded_by_a_target(inside):
    inside.merklfile("""
        say = bash_task("echo {arg('n')} >> ../trace", cache=False)

        @target(default=True)
        def all():
            for n in (3, 1, 2):
                yield say(n)
    """)

    inside.build("-j1")

    assert began(inside) == ["3", "1", "2"]


def test_a_setting_that_is_no_order_is_refused(inside):
    inside.merklfile("")
    inside.write("merkl.yaml", "order: random\n")
    assert "merkl.yaml: order is code or critical-path, not 'random'" in inside.merkl("build", code=2).stderr


# ---- ranks ----


@pytest.fixture
def graph(inside) -> dict[str, Node]:
    """Two nodes that need a third, and one by itself, by name."""
    from merkl.config import load_config
    from merkl.engine.request import open_project
    from merkl.nodes import using
    from merkl.python.task import task

    def made(function, *needed: Future) -> Future:
        return task(function)(*needed)

    def alone() -> int:
        return 1

    def root() -> int:
        return 2

    def near(value: int) -> int:
        return value

    def far(value: int) -> int:
        return value + 1

    project = open_project(load_config(str(inside.path), environ={}))
    try:
        with using(project):
            first = made(root)
            return {f.node.name: f.node for f in (made(alone), first, made(near, first), made(far, first))}
    finally:
        project.close()


def ranked(graph: dict[str, Node], seconds: dict[str, float | None], after=None) -> list[str]:
    """The names by rank."""
    nodes = [graph[name] for name in ("alone", "root", "near", "far")]
    times = {graph[name]: took for name, took in seconds.items()}
    ranks = critical_path(nodes, times, after or {})
    assert all(rank < 0 for rank in ranks.values())
    return sorted(graph, key=lambda name: ranks[graph[name].key])


def test_a_way_is_as_long_as_its_longest_branch(graph):
    assert ranked(graph, {"alone": 5, "root": 1, "near": 1, "far": 3}) == ["alone", "root", "far", "near"]
    assert ranked(graph, {"alone": 5, "root": 1, "near": 1, "far": 4.5}) == ["root", "alone", "far", "near"]


def test_what_will_not_run_takes_no_time(graph):
    assert ranked(graph, {"alone": 2, "near": 1}) == ["alone", "root", "near", "far"]


def test_what_never_ran_is_supposed_to_take_as_long_as_others(graph):
    assert ranked(graph, {"alone": 2, "root": None, "near": None, "far": 8.0}) == [
        "root",
        "far",
        "near",
        "alone",
    ]
    assert ranked(graph, dict.fromkeys(graph)) == ["root", "alone", "near", "far"]


def test_what_must_only_come_before_counts_as_on_the_way(graph):
    after = {graph["far"].key: [graph["alone"]]}
    assert ranked(graph, {"alone": 1, "root": 3, "near": 1, "far": 5}, after)[0] == "root"
    assert ranked(graph, {"alone": 4, "root": 3, "near": 1, "far": 5}, after)[:3] == ["alone", "root", "far"]


# ---- target ----

COUNT = """
@task(cache=False)
def count(n): return n

@target(default=True)
def all(): return [count(n) for n in range(2)]
"""


def slots(project, *arguments: str) -> int:
    """How many tasks run at once, as the build says at its beginning."""
    from merkl.config import load_config

    names = {"-j": "jobs", "--target": "target"}
    flags = {names[option]: value for option, value in zip(arguments[::2], arguments[1::2], strict=True)}
    return load_config(str(project.path), environ={}, **flags).jobs


def test_a_target_that_is_a_number_is_so_many_slots(inside):
    inside.merklfile(COUNT)
    assert slots(inside, "--target", "3") == slots(inside, "-j", "3") == 3
    assert slots(inside, "--target", "3", "-j", "3") == 3

    inside.write("merkl.yaml", "target: 5\n")
    assert slots(inside) == 5
    assert slots(inside, "-j", "2") == 2
    assert slots(inside, "--target", "2") == 2

    assert inside.build("--target", "2") == ["count", "count"]


def test_two_that_differ_are_an_error(inside):
    inside.merklfile(COUNT)
    said = inside.merkl("build", "-j2", "--target", "3", code=2).stderr
    assert "these say the same thing, and differ: -j is 2 and --target is 3" in said

    inside.write("merkl.yaml", "target: 5\njobs: 4\n")
    said = inside.merkl("build", code=2).stderr
    assert "merkl.yaml: jobs is 4 and merkl.yaml: target is 5" in said
    inside.merkl("build", "-j2")


@pytest.mark.parametrize("target", ["0", "-1", "2.5", "cluster", ""])
def test_a_name_is_an_executor_that_is_not_here(inside, target):
    inside.merklfile(COUNT)

    said = inside.merkl("build", "--target", target, code=2).stderr

    if target == "0":
        assert "--target is a number of tasks from 1 up, not '0'" in said
    else:
        assert f"--target: there is no executor {target!r}" in said
        assert "merkl.yaml under executors:" in said
