"""What merkl.yaml says of executors, and who names one: ``--target``, the setting, a task."""

import json
import os
import subprocess
import sys

import pytest

from merkl.config import Config, load_config
from merkl.engine.where import where
from merkl.errors import ConfigError, TaskError
from merkl.executors import Scale, TlsFiles, executors_from
from merkl.python.settings import settings_of

LAB = "executors: {lab: {engine: dask, address: 'tcp://127.0.0.1:8786'}}\n"
TASKS = """
@task
def there(n): return n

@task(target="local")
def here(n): return n

@task(target="slurm")
def queued(n): return n

shout = bash_task("echo x > {out_file_arg('o')}", target="lab")

@target(default=True)
def all(): return [there(1), here(2), shout()]

@target
def far(): return [queued(3)]
"""


WITHOUT_DASK = """
import importlib.util, sys
from merkl.__main__ import main

find = importlib.util.find_spec
importlib.util.find_spec = lambda name, package=None: None if name == "distributed" else find(name, package)
sys.exit(main())
"""


def described(text: str) -> dict:
    import yaml

    return executors_from(yaml.safe_load(text), "/project", "merkl.yaml")


def config(project, **flags) -> Config:
    return load_config(str(project.path), environ={}, **flags)


def test_an_executor_joins_a_scheduler_or_makes_a_cluster():
    found = described("""
        lab: {engine: dask, address: 'tls://[::1]:8786', timeout: 5, losses: 0, store: shared,
              security: {ca: ca.pem, cert: /etc/me.pem}}
        slurm: {engine: dask, cluster: dask_jobqueue.SLURMCluster, options: {cores: 8, memory: 32GB}, scale: 20}
        aws: {engine: dask, cluster: dask_cloudprovider.aws.FargateCluster, scale: {min: 1, max: 9}}
    """)

    assert list(found) == ["lab", "slurm", "aws"]
    lab, slurm, aws = found.values()
    assert (lab.address, lab.timeout, lab.losses) == ("tls://[::1]:8786", 5.0, 0)
    assert lab.store == "/project/shared"
    assert lab.security == TlsFiles("/project/ca.pem", "/etc/me.pem")
    assert (slurm.cluster, slurm.options) == ("dask_jobqueue.SLURMCluster", {"cores": 8, "memory": "32GB"})
    assert slurm.scale == Scale(20, 20)
    assert slurm.scale.fixed
    assert aws.scale == Scale(1, 9)


@pytest.mark.parametrize(
    ("settings", "said", "hint"),
    [
        ("[lab]", "executors is a mapping", "executors: {lab:"),
        ("{lab: tcp://x:1}", "lab is a mapping", "engine: dask"),
        ("{8: {engine: dask}}", "8 is no name", "a letter"),
        ("{local: {engine: dask}}", "local is this machine", "another name"),
        ("{lab: {address: tcp://x:1}}", "lab does not say which engine", "engine: dask"),
        ("{lab: {engine: ray, address: tcp://x:1}}", "there is no engine 'ray'", "engines are: dask"),
        ("{lab: {engine: dsak, address: tcp://x:1}}", "there is no engine 'dsak'", "did you mean dask?"),
        ("{lab: {engine: dask}}", "neither where its scheduler is nor how", "address: tcp://"),
        ("{lab: {engine: dask, address: tcp://x:1, cluster: a.B}}", "both an address and a cluster", "leave out"),
        ("{lab: {engine: dask, adress: tcp://x:1}}", "no setting 'adress'", "did you mean address?"),
        ("{lab: {engine: dask, password: x}}", "password does not belong in a file", "environment"),
        ("{lab: {engine: dask, address: x:8786}}", "address is that of a scheduler", "tcp://scheduler:8786"),
        ("{lab: {engine: dask, address: tcp://x}}", "address is that of a scheduler with its port", "tcp://"),
        ("{lab: {engine: dask, address: tpc://x:1}}", "tpc:// is no way", "did you mean tcp"),
        ("{lab: {engine: dask, address: tcp://x:70000}}", "70000 is no port", "8786"),
        ("{lab: {engine: dask, address: tcp://x:1, scale: 3}}", "scale is for a cluster that merkl makes", "cluster:"),
        ("{lab: {engine: dask, address: tcp://x:1, options: {a: 1}}}", "options is for a cluster", "cluster:"),
        ("{lab: {engine: dask, address: tcp://x:1, security: {ca: a, cert: b}}}", "tcp:// has none", "tls://x:1"),
        ("{lab: {engine: dask, address: tls://x:1, security: {ca: a}}}", "which file is its cert", "key: client.key"),
        ("{lab: {engine: dask, address: tls://x:1, security: {ca: a, crt: b}}}", "no 'crt'", "did you mean cert?"),
        ("{lab: {engine: dask, cluster: SLURMCluster}}", "a class with its module", "dask_jobqueue.SLURMCluster"),
        ("{lab: {engine: dask, cluster: a.B, scale: many}}", "scale is a number of workers", "max: 20"),
        ("{lab: {engine: dask, cluster: a.B, scale: true}}", "scale is a number of workers", "max: 20"),
        ("{lab: {engine: dask, cluster: a.B, scale: 0}}", "there would be no worker", "scale: 1"),
        ("{lab: {engine: dask, cluster: a.B, scale: {min: 3, max: 2}}}", "there would be no worker", "scale: 1"),
        ("{lab: {engine: dask, cluster: a.B, scale: {maximum: 2}}}", "scale has no 'maximum'", "max: 20"),
        ("{lab: {engine: dask, cluster: a.B, options: [1]}}", "options are what the class is made with", "cores"),
        ("{lab: {engine: dask, cluster: a.B, options: {env: {API_TOKEN: x}}}}", "API_TOKEN does not belong", "credentials"),
        ("{lab: {engine: dask, cluster: a.B, timeout: -1}}", "timeout is a number of seconds", ""),
        ("{lab: {engine: dask, cluster: a.B, losses: 1.5}}", "losses is how many workers", ""),
        ("{lab: {engine: dask, cluster: a.B, files: x}}", "files is a list of patterns", "include"),
        ("{lab: {engine: dask, cluster: a.B, store: 3}}", "store is a path", ""),
    ],
)  # fmt: skip
def test_what_is_wrong_with_one_is_said_with_its_name(settings, said, hint):
    with pytest.raises(ConfigError) as caught:
        described(settings)

    assert said in caught.value.headline
    assert caught.value.headline.startswith("merkl.yaml: executors")
    assert hint in caught.value.hint


def test_what_may_be_secret_is_not_repeated():
    for settings in (
        "{lab: {engine: dask, address: 'tcp://me:hunter2@x:1'}}",
        "{lab: {engine: dask, cluster: a.B, options: {aws_secret_access_key: hunter2}}}",
        "{lab: {engine: dask, address: 'tls://x:1', security: '-----BEGIN hunter2'}}",
        "{lab: {engine: dask, address: 'tls://x:1', security: {ca: a, cert: b, key: '-----BEGIN hunter2'}}}",
    ):
        with pytest.raises(ConfigError) as caught:
            described(settings)
        assert "hunter2" not in str(caught.value)


def test_a_reference_to_a_secret_is_none_and_options_may_lead_back_to_themselves():
    found = described("""
        k8s: {engine: dask, cluster: a.B, options: &o {spec: [{secretName: mine}], image_pull_secrets: x, again: *o}}
    """)

    assert found["k8s"].options["image_pull_secrets"] == "x"


# ---- who names one -------------------------------------------------------------------------------------------------


def test_of_the_command_the_setting_and_the_task_the_task_counts_but_for_local(project):
    project.write("merkl.yaml", LAB + "target: lab\n")

    def run_on(own: str, **flags) -> str:
        call = type("Call", (), {"target": own, "interactive": False, "task_name": "it"})
        found = where(config(project, **flags), call)
        return "here" if found is None else found.name

    assert run_on("") == "lab"
    assert run_on("local") == "here"
    assert run_on("", target="4") == "here"
    assert run_on("lab", target="4") == "lab"
    assert run_on("", target="local") == run_on("lab", target="local") == "here"
    project.write("merkl.yaml", LAB)
    assert run_on("") == "here"
    assert run_on("", target="lab") == run_on("lab") == "lab"


def test_a_number_of_slots_and_an_executor_are_two_things(project):
    project.write("merkl.yaml", LAB + "target: lab\njobs: 3\n")

    assert config(project).jobs == 3
    assert config(project, jobs=5).target == "lab"
    found = config(project, jobs=5, target="lab")
    assert (found.jobs, found.jobs_asked, found.target) == (5, True, "lab")


@pytest.mark.parametrize(("words", "what"), [(["--target", "lba"], "--target"), ([], "merkl.yaml: target")])
def test_a_name_that_no_executor_has_is_an_error_with_the_names_there_are(inside, words, what):
    inside.merklfile("@target(default=True)\ndef all(): return []\n")
    inside.write("merkl.yaml", LAB + ("" if words else "target: lba\n"))

    said = inside.merkl("build", *words, code=2).stderr

    assert said == f"{what}: there is no executor 'lba'\n  hint: did you mean lab?\n"


def test_a_task_that_names_none_that_there_is_fails_before_anything_runs(inside):
    inside.merklfile(TASKS)
    inside.write("merkl.yaml", LAB)

    for words in (["build", "far"], ["build", "-n", "far"], ["why", "far"]):
        said = inside.merkl(*words, code=2).stderr
        assert "queued: target: there is no executor 'slurm'" in said
        assert "at: Merklfile.py:" in said
        assert "merkl.yaml describes lab; local is this machine" in said
    assert inside.build("--target", "local", "far") == ["queued"]
    assert inside.build("far") == []  # What is known is asked no more where to run.


def test_a_plan_says_where_and_keys_do_not_know(inside):
    inside.merklfile(TASKS)
    inside.write("merkl.yaml", LAB)

    plain = inside.merkl("build", "-n").stdout
    assert "would run  here" in plain
    assert "would run on lab  shout" in plain
    assert "would run on lab  there" not in plain
    far = inside.merkl("build", "-n", "--target", "lab").stdout
    assert "would run on lab  there" in far
    assert "would run on lab  here" not in far
    assert "would run on lab  shout" in inside.merkl("why").stdout

    events = inside.events("-n", "--target", "lab")
    assert {e["task"]: e.get("target") for e in events} == {"there": "lab", "here": None, "shout": "lab"}
    keys = {e["task"]: e["key"] for e in events}
    inside.merklfile(TASKS.replace(', target="lab"', "").replace('(target="local")', ""))
    assert {e["task"]: e["key"] for e in inside.events("-n")} == keys


def test_list_and_show_say_where_too(inside):
    inside.merklfile(TASKS)
    assert "executor" not in inside.merkl("list").stdout
    inside.write("merkl.yaml", LAB + "target: lab\n")

    assert inside.merkl("list").stdout.endswith("tasks that name no executor run on lab\n")
    assert json.loads(inside.merkl("list", "--json").stdout)["target"] == "lab"
    shown = inside.merkl("show", "all").stdout
    assert shown.count("  runs on  lab\n") == 2
    assert (
        "  runs on  slurm\n" in inside.merkl("show", "far").stdout
    )  # Nobody describes it; nothing runs here.


def test_a_yaml_merklfile_names_executors_too(inside):
    inside.write(
        "Merklfile.yaml", "targets: {all: {default: true, run: 'echo x', stdout: str, target: lab}}\n"
    )
    inside.write("merkl.yaml", LAB)

    assert "would run on lab" in inside.merkl("build", "-n").stdout


@pytest.mark.parametrize("value", [8, "a b", "8", None])
def test_a_target_of_a_task_is_a_name(value):
    with pytest.raises(TaskError, match="target is the name of an executor"):
        settings_of({"target": value})


def test_a_task_with_the_terminal_runs_here():
    with pytest.raises(TaskError, match="interactive task has the terminal"):
        settings_of({"target": "lab", "interactive": True})
    assert settings_of({"target": "local", "interactive": True}).target == "local"


def test_without_the_extra_it_is_said_which_it_is_and_a_plan_needs_none(project):
    project.merklfile(TASKS)
    project.write("merkl.yaml", LAB)
    command = [sys.executable, "-c", WITHOUT_DASK, "build"]

    done = subprocess.run(
        command, cwd=project.path, env=os.environ, capture_output=True, text=True, check=False
    )

    assert done.returncode == 2
    assert "the executor lab needs the package distributed, which is not installed" in done.stderr
    assert "pip install 'merkl[dask]'" in done.stderr
    assert (
        subprocess.run([*command, "-n"], cwd=project.path, capture_output=True, check=False).returncode == 0
    )


def test_a_batch_runs_here_and_says_so():
    from merkl.errors import BatchTaskError
    from merkl.python.batch import batch

    with pytest.raises(BatchTaskError, match="put together and run on this machine, and target= is 'lab'"):
        batch(target="lab")
    batch(target="local")


def test_a_shared_directory_is_the_remote_where_there_is_no_other(project):
    lab = "lab: {engine: dask, address: 'tcp://x:1', store: /shared}"
    project.write("merkl.yaml", f"executors: {{{lab}, aws: {{engine: dask, cluster: a.B}}}}\n")
    assert config(project).remote.url == "/shared"

    project.write("merkl.yaml", f"remote: /shared\nexecutors: {{{lab}}}\n")
    assert config(project).remote.url == "/shared"

    other = lab.replace("lab", "lob").replace("/shared", "/other")
    for text, said in (
        (f"remote: s3://bucket/x\nexecutors: {{{lab}}}\n", "the remote is s3://bucket/x"),
        (f"executors: {{{lab}, {other}}}\n", "lob: store is /other"),
    ):
        project.write("merkl.yaml", text)
        with pytest.raises(ConfigError, match="data travels by one place, and these differ") as caught:
            config(project)
        assert said in caught.value.headline
