"""Resources: never more of one runs than there is, nobody is overtaken for ever, and nothing impossible is begun."""

import os

import pytest

from merkl import task
from merkl.errors import ConfigError, TaskError
from merkl.resources import (
    amount_of,
    exactly,
    gpus_here,
    limits_of_groups,
    memory_here,
    needs_of,
    retries_of,
    seconds_of,
    totals_in,
)

# What runs says so, and how much it takes: "+gpu" is a start.
TRACE = """
def traced(name, needs, seconds=0.05):
    line = f"{name} {' '.join(f'{k}={v}' for k, v in needs.items())}"
    script = f'''
        echo "$EPOCHREALTIME + {line}" >> trace
        sleep {seconds}
        echo "$EPOCHREALTIME - {line}" >> trace
        : {{arg("n", default=0)}}
    '''
    return bash_task(script, name=name, resources=needs, cache=False)
"""


def trace(project) -> list[tuple[str, str, dict[str, int]]]:
    """What began (``+``) and ended (``-``), in order, with what it takes."""
    lines = sorted(line.split() for line in project.read("trace").splitlines())
    return [
        (sign, name, {key: int(value) for key, _, value in (each.partition("=") for each in needs)})
        for _, sign, name, *needs in lines
    ]


def most_taken(project) -> dict[str, int]:
    """The most of each resource that was in use at one time."""
    used: dict[str, int] = {}
    most: dict[str, int] = {}
    for sign, _, needs in trace(project):
        for name, amount in {"cpu": 1, **needs}.items():
            used[name] = used.get(name, 0) + (amount if sign == "+" else -amount)
            most[name] = max(most.get(name, 0), used[name])
    return most


def started(project, *arguments: str) -> list[str]:
    """Build, and return the names of the tasks in the order in which they started."""
    return [event["task"] for event in project.events(*arguments) if event["event"] == "running"]


# ---- what may be said ----


@pytest.mark.parametrize(
    ("given", "needs"),
    [
        ({}, (("cpu", 1),)),
        ({"cpu": 1}, (("cpu", 1),)),
        ({"gpu": 0}, (("cpu", 1),)),
        ({"mem": "4 GB", "cpu": 2}, (("cpu", 2), ("mem", 4_000_000_000))),
        ({"licence": 2, "mem": "1GiB"}, (("cpu", 1), ("licence", 2), ("mem", 1 << 30))),
    ],
)
def test_a_task_takes_one_cpu_unless_it_says_more(given, needs):
    assert needs_of(given) == needs


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("gpu", "resources is a mapping, not 'gpu'"),
        ({"cpu": 0}, "a task takes at least 1 cpu, not 0"),
        ({"gpu": 0.5}, "gpu is a whole number from 0 up, not 0.5"),
        ({"gpu": True}, "gpu is a whole number from 0 up, not True"),
        ({"gpu": -1}, "gpu is a whole number from 0 up, not -1"),
        ({"gpu": "1"}, "gpu is a whole number from 0 up, not '1'"),
        ({"mem": "much"}, "mem is a size such as \"4 GB\", not 'much'"),
        ({"a b": 1}, "'a b' is no name of a resource"),
        ({3: 1}, "3 is no name of a resource"),
    ],
)
def test_what_is_no_amount_is_refused(given, message):
    with pytest.raises(TaskError) as caught:
        needs_of(given)
    assert message in caught.value.headline


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        (seconds_of, "5", "timeout is a number of seconds above 0, not '5'"),
        (seconds_of, -1, "timeout is a number of seconds above 0, not -1"),
        (seconds_of, float("nan"), "timeout is a number of seconds above 0, not nan"),
        (seconds_of, True, "timeout is a number of seconds above 0, not True"),
        (retries_of, True, "retries is a number from 0 up, not True"),
        (retries_of, 1.5, "retries is a number from 0 up, not 1.5"),
    ],
)
def test_a_limit_that_is_none_is_refused_where_it_is_written(option, value, message):
    given = ("timeout", value) if option is seconds_of else (value,)
    with pytest.raises(TaskError) as caught:
        option(*given)
    assert caught.value.headline == message


def test_a_time_longer_than_any_is_no_limit():
    assert seconds_of("timeout", 10**400) == float("inf")
    assert seconds_of("timeout", None) is None


def test_a_python_task_has_the_same_limits_as_a_command():
    for options in ({"timeout": "5"}, {"timeout": -1}, {"retries": True}):
        with pytest.raises(TaskError):
            task(**options)


def test_a_size_is_exact_however_large():
    assert amount_of("mem", "9007199254740993") == 9007199254740993
    assert amount_of("mem", "1.5 KiB") == 1536
    assert amount_of("mem", "9" * 400 + " GB") == int("9" * 400) * 10**9
    assert amount_of("mem", "9" * 5000) is None


@pytest.mark.parametrize(
    "amount", [1, 999, 1024, 1_023_456_789, 999_999_999, 17_179_869_184, 10**30, 3 << 40]
)
def test_what_a_hint_says_to_write_is_enough(amount):
    assert amount_of("mem", exactly("mem", amount)) == amount


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ([1], "resources is a mapping, not [1]"),
        ({"gpu": "many"}, "resources: gpu is a whole number from 0 up, not 'many'"),
        ({"mem": -1}, "resources: mem is a size such as 16 GB, not -1"),
        ({"cpu": 0}, "with 0 cpu no task could run"),
        ({"gpu": 10**9}, "resources: gpu is 4096 at most, not 1000000000"),
        ({True: 1}, "resources: True is a whole number from 0 up, not 1"),
    ],
)
def test_what_merkl_yaml_says_there_is_is_checked(section, message):
    with pytest.raises(ConfigError) as caught:
        totals_in({"resources": section})
    assert message in caught.value.headline


def test_the_memory_of_the_machine_is_more_than_a_task_of_this_test_has():
    assert 50_000_000 < memory_here() <= os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert amount_of("mem", "0.5 kB") == 500


@pytest.mark.parametrize(
    ("groups", "limits"),
    [
        ("0::/a/b\n", [9000, 300]),
        ("0::/a\n", [9000]),
        ("0::/elsewhere/../a\n", []),
        ("5:cpu,cpuacct:/a\n4:memory:/v1\n0::/\n", [1 << 62, 70]),
        ("4:hugetlb,memory:/not/here\n", [1 << 62]),
        ("", []),
    ],
)
def test_a_control_group_and_those_above_it_limit_the_memory(tmp_path, groups, limits):
    for name, text in {
        "a/memory.max": "9000\n",
        "a/b/memory.max": "300\n",
        "memory/memory.limit_in_bytes": f"{1 << 62}\n",
        "memory/v1/memory.limit_in_bytes": "70\n",
        "memory.max": "max\n",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / "groups").write_text(groups)

    assert list(limits_of_groups(str(tmp_path / "groups"), str(tmp_path))) == limits
    assert list(limits_of_groups(str(tmp_path / "none"), str(tmp_path))) == []


@pytest.mark.parametrize(
    ("visible", "gpus"),
    [
        ("0,1", ("0", "1")),
        ("GPU-12ab, 3", ("GPU-12ab", "3")),
        ("", ()),
        ("-1", ()),
        ("2,-1,0", ("2",)),
        ("1,1,0", ("1", "0")),
    ],
)
def test_gpus_are_those_that_cuda_would_see(visible, gpus):
    assert gpus_here({"CUDA_VISIBLE_DEVICES": visible}) == gpus


def test_otherwise_gpus_are_those_that_nvidia_smi_lists(tmp_path, monkeypatch):
    program = tmp_path / "nvidia-smi"
    program.write_text(
        '#!/bin/sh\necho "GPU 0: A (UUID: GPU-1)"\necho "  MIG 1g"\necho "GPU 1: B (UUID: GPU-2)"\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert gpus_here({}) == ("0", "1")

    program.write_text("#!/bin/sh\nexit 9\n")  # The driver is not loaded.
    assert gpus_here({}) == ()


# ---- what fits ----


def test_no_more_of_a_resource_is_in_use_than_there_is(inside):
    inside.write("merkl.yaml", "resources: {licence: 2, mem: 10 GB}\n")
    inside.merklfile(
        TRACE
        + """
licensed = traced("licensed", {"licence": 1})
both = traced("both", {"licence": 2})
wide = traced("wide", {"cpu": 3})
large = traced("large", {"mem": 6_000_000_000})
plain = traced("plain", {})

@target(default=True)
def all():
    for n in range(3):
        yield [licensed(n), both(n), wide(n), large(n), plain(n)]
"""
    )

    assert len(inside.build("-j4")) == 15

    most = most_taken(inside)
    assert most["licence"] == 2
    assert most["mem"] == 6_000_000_000
    assert 3 <= most["cpu"] <= 4


def test_what_waits_for_one_resource_lets_others_go_on(inside):
    inside.write("merkl.yaml", "resources: {gpu: 1}\n")
    inside.merklfile(
        TRACE
        + """
train = bash_task(  # It ends when five others have started.
    "until [[ $(grep -c '+ plain' trace) == 5 ]]; do sleep 0.01; done; : {arg('n')}",
    name="train", resources={"gpu": 1}, cache=False, timeout=20,
)
plain = traced("plain", {}, 0.01)

@target(default=True)
def all():
    return [train(1), train(2)] + [plain(n) for n in range(5)]
"""
    )

    inside.write("trace", "")

    assert started(inside, "-j2") == ["train", *["plain"] * 5, "train"]


def test_a_large_task_is_not_overtaken_by_small_ones_for_ever(inside):
    """Without a place kept for it, it would start after all that are small: one of them always runs."""
    inside.merklfile(
        TRACE
        + """
small = traced("small", {}, 0.05)
large = traced("large", {"cpu": 3}, 0.05)

@target(default=True)
def all():
    return [small(0), large(), *[small(n) for n in range(1, 20)]]
"""
    )

    assert started(inside, "-j3")[:2] == ["small", "large"]


def test_what_lacks_two_things_in_turn_keeps_both(inside):
    inside.write("merkl.yaml", "resources: {a: 1, b: 1}\n")
    inside.merklfile(
        TRACE
        + """
a, b, ab = traced("a", {"a": 1}, 0.03), traced("b", {"b": 1}, 0.05), traced("ab", {"a": 1, "b": 1}, 0.01)

@target(default=True)
def all():
    return [a(0), b(0), ab(), *[t(n) for n in range(1, 12) for t in (a, b)]]
"""
    )

    assert started(inside, "-j4")[:3] == ["a", "b", "ab"]


@pytest.mark.parametrize(
    ("settings", "needs", "jobs", "message", "hint"),
    [
        ("", {"cpu": 3}, "-j2", "big needs 3 cpu, and there is 2 cpu in all", "-j 3"),
        (
            "resources: {cpu: 2}",
            {"cpu": 3},
            "-j8",
            "and there is 2 cpu in all",
            "resources: {cpu: 3} in merkl.yaml",
        ),
        (
            "",
            {"licence": 1},
            "-j2",
            "needs 1 licence, and there is no licence in all",
            "resources: {licence: 1}",
        ),
        ("", {"mem": "900 TB"}, "-j2", "needs 900 TB of mem, and there is ", "resources: {mem: 900 TB}"),
        (
            "resources: {gpu: 2}",
            {"gpu": 2},
            "-j2",
            "needs 2 gpu, and there is 1 gpu in all",
            "CUDA_VISIBLE_DEVICES says which there are",
        ),
    ],
)
def test_a_task_that_can_never_fit_is_an_error_before_anything_starts(
    inside, settings, needs, jobs, message, hint
):
    inside.write("merkl.yaml", settings)
    inside.merklfile(f"""
        small = bash_task("touch ran; : {{out_file_arg('o', '.txt')}}")
        big = bash_task("cat {{file_arg('f')}}", resources={needs!r})

        @target(default=True)
        def all():
            return big(small())
    """)
    env = {**os.environ, "CUDA_VISIBLE_DEVICES": "7"}

    failed = inside.merkl("build", "-k", jobs, code=2, env=env)

    assert message in failed.stderr and hint in failed.stderr and "Merklfile.py:" in failed.stderr
    assert not (inside.path / "ran").exists()


def test_a_cached_result_needs_no_resources_and_its_key_does_not_know_them(inside):
    inside.merklfile("""
        @task(resources={"licence": 1}, nice=3)
        def train(): return 1

        echo = bash_task("echo x", stdout=str, resources={"licence": 1}, nice=3)

        @target(default=True)
        def all(): return [train(), echo()]
    """)
    inside.write("merkl.yaml", "resources: {licence: 1}\n")
    assert inside.build() == ["train", "echo"]
    inside.write("merkl.yaml", "")
    assert inside.build() == []

    text = inside.read("Merklfile.py")
    inside.write("Merklfile.py", text.replace('resources={"licence": 1}, nice=3', ""))
    assert inside.build() == []


def test_more_tasks_than_slots_never_run_whatever_cpu_there_is(inside):
    inside.write("merkl.yaml", "resources: {cpu: 100}\n")
    inside.merklfile(
        TRACE
        + "\nplain = traced('plain', {'cpu': 2})\n@target(default=True)\ndef all(): return [plain(n) for n in range(6)]\n"
    )

    inside.build("-j2")

    assert most_taken(inside)["cpu"] in (2, 4)


# ---- gpus ----

GPUS = """
import os
seen = bash_task("echo $CUDA_VISIBLE_DEVICES; sleep 0.1; : {arg('n')}", stdout=str, resources={"gpu": 1}, cache=False)
two = bash_task("echo $CUDA_VISIBLE_DEVICES", stdout=str, resources={"gpu": 2}, cache=False)
without = bash_task("echo -${CUDA_VISIBLE_DEVICES-}-", stdout=str, cache=False)

@task(resources={"gpu": 1}, cache=False)
def inside(n):
    import time
    time.sleep(0.1)
    return f"{os.environ['CUDA_VISIBLE_DEVICES']} {os.getpid()}"

@task(cache=False)
def plainly():
    return f"{os.environ['CUDA_VISIBLE_DEVICES']} {os.getpid()}"
"""


def test_each_gpu_is_given_to_one_task_at_a_time(inside):
    inside.merklfile(
        GPUS
        + """
@target(default=True)
def all():
    pairs = [seen(1), seen(2), inside(1), inside(2)]
    for n, each in enumerate(pairs):
        each >> f"{n}.txt"
    two() >> "two.txt"
    without() >> "without.txt"
"""
    )
    env = {**os.environ, "CUDA_VISIBLE_DEVICES": "GPU-a,5"}

    inside.merkl("build", "-j2", env=env)

    told = [inside.read(f"{n}.txt") for n in range(4)]
    assert sorted(line.strip() for line in told[:2]) == ["5", "GPU-a"]
    assert {line.split()[0] for line in told[2:]} <= {"5", "GPU-a"}
    assert inside.read("two.txt").strip() == "GPU-a,5"
    assert inside.read("without.txt").strip() == "--"


def test_a_python_task_with_a_gpu_has_a_process_of_its_own_with_any_number_of_slots(inside):
    """CUDA looks at the variable once in a process, and keeps memory until it ends."""
    inside.merklfile(
        GPUS
        + """
@target(default=True)
def all():
    for n, each in enumerate([inside(1), plainly(), inside(2)]):
        each >> f"{n}.txt"
"""
    )
    env = {**os.environ, "CUDA_VISIBLE_DEVICES": "3,4"}

    for jobs in ("-j1", "-j2"):
        inside.merkl("build", jobs, env=env)
        first, plain, second = (inside.read(f"{n}.txt") for n in range(3))
        assert len({line.split()[1] for line in (first, plain, second)}) == 3
        assert plain.startswith("3,4 ") and ",4" not in first + second


def test_an_interactive_task_gets_its_gpu_too_and_leaves_the_variable_alone(inside):
    inside.merklfile(
        GPUS.replace("@task(resources", "@task(interactive=True, resources")
        + """
@target(default=True)
def all():
    inside(1) >> "inside.txt"
    plainly() >> "plainly.txt"
"""
    )

    inside.merkl("build", "-j1", env={**os.environ, "CUDA_VISIBLE_DEVICES": "3,4"})

    assert inside.read("plainly.txt").startswith("3,4 ")
    assert inside.read("inside.txt").startswith("3 ")


def test_gpus_go_back_when_a_task_fails_or_cannot_even_start(inside):
    inside.write("merkl.yaml", "resources: {gpu: 1}\n")
    inside.merklfile("""
        fails = bash_task("false; : {arg('n')}", resources={"gpu": 1}, retries=1, cache=False)
        absent = bash_task(argv=["no-such-program", "{arg('n')}"], resources={"gpu": 1}, cache=False)
        secret = bash_task(": {secret_arg('TOKEN')}", resources={"gpu": 1}, cache=False)
        slow = bash_task("sleep 9", resources={"gpu": 1}, timeout=0.1, cache=False)
        good = bash_task("true", resources={"gpu": 1}, cache=False)

        @target(default=True)
        def all():
            return [fails(1), fails(2), absent(1), secret(), slow(), good()]
    """)

    assert inside.build("-k", "-j4", code=1) == ["good"]


# ---- nice ----


def test_a_nice_task_steps_back(inside):
    inside.merklfile("""
        import os
        shell = bash_task("nice", stdout=str, nice=7, cache=False)

        @task(nice=5, cache=False)
        def python(): return os.nice(0)

        @task(cache=False)
        def after(): return os.nice(0)

        @target(default=True)
        def all():
            shell() >> "shell.txt"
            python() >> "python.txt"
            after() >> "after.txt"
    """)
    own = os.nice(0)

    for jobs in ("-j1", "-j2"):
        inside.merkl("build", jobs)
        assert int(inside.read("shell.txt")) == min(19, own + 7)
        assert int(inside.read("python.txt")) == min(19, own + 5)
        assert int(inside.read("after.txt")) == own


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("bash_task('true', nice=20)", "nice is a whole number from 0 to 19, not 20"),
        ("bash_task('true', nice=-1)", "nice is a whole number from 0 to 19, not -1"),
        ("task(nice=1.5)", "nice is a whole number from 0 to 19, not 1.5"),
        ("task(nice=1, interactive=True)", "an interactive Python task runs inside merkl"),
    ],
)
def test_a_niceness_is_a_number_from_0_to_19(inside, text, message):
    inside.merklfile(f"x = {text}\n")

    assert message in inside.merkl("build", code=2).stderr


# ---- YAML ----


def test_a_task_in_yaml_says_the_same(inside):
    inside.write(
        "Merklfile.yaml",
        'targets:\n  train: {run: \'nice > {out_file_arg("o", ".txt")}\', to: o.txt, nice: 2, resources: {gpu: 1, mem: 1 MB}}\n',
    )
    inside.merkl("build", "train", env={**os.environ, "CUDA_VISIBLE_DEVICES": "0"})
    assert inside.read("o.txt").strip() == str(min(19, os.nice(0) + 2))

    inside.write("Merklfile.yaml", "targets:\n  train: {run: 'true', resources: {gpu: [1]}}\n")
    failed = inside.merkl("build", "train", code=2)
    assert "resources: gpu is an amount, not a list" in failed.stderr and "Merklfile.yaml:2" in failed.stderr

    inside.write("Merklfile.yaml", "targets:\n  train: {run: 'true', resources: {gpu: one}}\n")
    failed = inside.merkl("build", "train", code=2)
    assert "gpu is a whole number from 0 up, not 'one'" in failed.stderr
    assert "Merklfile.yaml:2" in failed.stderr


def test_a_result_that_turns_out_to_be_damaged_and_cannot_be_made_again_here_is_an_error(inside):
    """It was cached when the build was planned, so nobody asked then whether it fits."""
    inside.write("merkl.yaml", "resources: {licence: 1}\n")
    inside.merklfile("""
        made = bash_task("head -c 300000 /dev/zero > {out_file_arg('o', '.bin')}", resources={"licence": 1})
        size = bash_task("wc -c < {file_arg('f')}; : {arg('n')}", stdout=str, cache=False)
        other = bash_task("true", cache=False)

        @target(default=True)
        def all():
            return [size(made(), 1), other()]
    """)
    inside.merkl("build")
    (blob,) = [
        each
        for each in (inside.path / ".merkl/store").rglob("*")
        if each.is_file() and each.stat().st_size == 300000
    ]
    inside.write("merkl.yaml", "")
    blob.chmod(0o644)
    with blob.open("r+b") as file:
        file.write(b"damage")

    failed = inside.merkl("build", "-k", code=2)

    assert "made needs 1 licence, and there is no licence in all" in failed.stderr + failed.stdout
    assert "1 ran" in failed.stdout
