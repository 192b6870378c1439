"""What leads to another round of a watch, and what does not."""

import os
import signal
import subprocess
import time

import pytest
from watched_projects import UPPER

FULL = bool(os.environ.get("MERKL_FULL"))


def task_names(round_):
    return sorted(label.split()[-1] for label in round_["ran"])


def quiet_after(watching, project, act):
    """Do what must not lead to a round, then what must; the round that followed."""
    act()
    project.write("src/last.txt", os.urandom(4).hex())
    return watching.round()


def test_only_what_a_change_touches_runs_again(project, watch):
    project.merklfile(UPPER)
    for name in "ab":
        project.write(f"src/{name}.txt", name)
    watching = watch()

    project.write("src/a.txt", "other")
    edited = watching.round()
    project.write("src/c.txt", "new")
    added = watching.round()
    (project.path / "src/b.txt").rename(project.path / "src/d.txt")
    renamed = watching.round()
    (project.path / "src/d.txt").unlink()
    removed = watching.round()

    assert (edited["changed"], task_names(edited)) == (["src/a.txt"], ["out/a.txt"])
    assert (added["changed"], task_names(added)) == (["src/c.txt"], ["out/c.txt"])
    assert renamed["changed"] == ["src/b.txt", "src/d.txt"]
    assert removed["changed"] == ["src/d.txt"]
    assert (task_names(renamed), task_names(removed)) == (["out/d.txt"], [])
    assert project.read("out/a.txt") == "OTHER"
    assert watching.end() == (0, "")


def test_what_does_not_matter_leads_to_no_round(project, watch):
    project.merklfile(UPPER)
    project.write("src/last.txt", "")
    project.write("src/a.txt", "a")
    watching = watch()

    def noise():
        project.write("README", "unread")
        project.write("src/notes.md", "no match")
        project.write("src/.a.txt.swp", "an editor's")
        project.write(".git/index", "version control")
        project.write("src/deeper/b.txt", "no match")
        os.utime(project.path / "src/a.txt")
        project.write("src/a.txt", "a")
        project.write("src/4913", "made and removed")
        (project.path / "src/4913").unlink()
        (project.path / "new.txt").write_text("out of the project's way")

    assert quiet_after(watching, project, noise)["changed"] == ["src/last.txt"]


def test_an_edited_output_is_made_again_and_the_edit_is_saved(project, watch):
    project.merklfile(UPPER)
    project.write("src/a.txt", "a")
    watching = watch()

    project.write("out/a.txt", "mine")
    edited = watching.round()
    (project.path / "out/a.txt").unlink()
    removed = watching.round()

    assert edited["changed"] == removed["changed"] == ["out/a.txt"]
    assert edited["ran"] == removed["ran"] == []
    assert project.read("out/a.txt") == "A"
    assert [event["path"] for event in watching.events if event["event"] == "saved"] == ["out/a.txt"]


def test_directories_values_and_sidecars_are_outputs_too(project, watch):
    project.merklfile(
        """
        many = bash_task("cat {file_arg('s')} > {out_dir_arg('d')}/a")
        copy = bash_task("cp {file_arg('s')} {out_file_arg('o', '.txt')}")

        @task
        def value(path: FileRef) -> str:
            return open(path).read()

        many("s.txt") > "dir"
        value(file("s.txt")) > "value.json"
        copy("s.txt") >> "tracked.txt"
        """
    )
    project.write("s.txt", "s")
    watching = watch()
    before = {name: project.read(name) for name in ("dir/a", "value.json", "tracked.txt.merkl")}

    project.write("dir/a", "mine")
    project.write("value.json", "mine")
    (project.path / "tracked.txt.merkl").unlink()
    rounds = watching.rounds()

    assert {name: project.read(name) for name in before} == before
    assert {path for each in rounds for path in each["changed"]} == {"dir", "value.json", "tracked.txt.merkl"}
    assert all(each["ok"] and not each["ran"] for each in rounds)


def test_code_values_and_settings_are_read_anew(project, watch):
    project.merklfile(
        """
        import helper
        upper = bash_task("echo {arg('what')} > {out_file_arg('out', '.txt')}")
        upper(helper.TEXT + str(params("values.yaml").number)) > "out.txt"
        """
    )
    project.write("helper.py", "TEXT = 'a'\n")
    project.write("values.yaml", "number: 1\n")
    watching = watch()

    project.write("helper.py", "TEXT = 'b'\n")
    code = watching.round()
    project.write("values.yaml", "number: 2\n")
    values = watching.round()
    project.write("merkl.yaml", "jobs: 1\n")
    settings = watching.round()

    assert [each["changed"] for each in (code, values, settings)] == [
        ["helper.py"],
        ["values.yaml"],
        ["merkl.yaml"],
    ]
    assert [len(each["ran"]) for each in (code, values, settings)] == [1, 1, 0]
    assert project.read("out.txt") == "b2\n"


@pytest.mark.needs("gcc")
def test_a_header_that_the_compiler_found_matters_and_so_does_one_that_would_come_before_it(project, watch):
    project.merklfile(
        """
        cc = bash_task("gcc -MMD -MF {depfile_arg()} -Ifirst -Isecond -c {file_arg('c')} -o {out_file_arg('o', '.o')}")
        cc("main.c") > "main.o"
        """
    )
    project.write("main.c", '#include "h.h"\nint main(void) { return H; }\n')
    project.write("second/h.h", "#define H 1\n")
    watching = watch()

    project.write("second/h.h", "#define H 2\n")
    found = watching.round()
    project.write("first/h.h", "#define H 3\n")
    before_it = watching.round()
    project.write("first/h.h", "#define H oops !\n")
    broken = watching.round()
    project.write("first/h.h", '#include "later.h"\n')
    missing = watching.round()
    project.write("first/later.h", "#define H 4\n")
    fixed = watching.round()

    assert (found["changed"], len(found["ran"])) == (["second/h.h"], 1)
    assert (before_it["changed"], len(before_it["ran"])) == (["first"], 1)  # It was not there at all.
    assert [len(each["failed"]) for each in (broken, missing)] == [1, 1]
    assert (fixed["changed"], fixed["ok"]) == (["first/later.h"], True)


def test_files_that_a_pipeline_opens_matter_also_where_it_is_remembered(project, watch):
    project.merklfile(
        """
        @task
        def joined(words):
            return " ".join(words)

        @pipeline
        def every():
            words = [open("words.txt").read()]
            try:
                words.append(open("more.txt").read())
            except FileNotFoundError:
                pass
            return joined(words)

        every() > "all.txt"
        """
    )
    project.write("words.txt", "to")
    watching = watch()

    project.write("words.txt", "be")
    edited = watching.round()
    project.write("Merklfile.py", project.read("Merklfile.py") + "# Nothing changes.\n")
    watching.round()  # It is remembered.
    project.write("more.txt", "or")
    added = watching.round()

    assert (edited["changed"], added["changed"]) == (["words.txt"], ["more.txt"])
    assert project.read("all.txt").strip() == "be or"


def test_what_is_inside_of_an_input_directory_matters(project, watch):
    project.merklfile(
        """
        count = bash_task("find {dir_arg('tree')} -type f | wc -l > {out_file_arg('out', '.txt')}")
        count("data") > "count.txt"
        """
    )
    project.write("data/a/one", "1")
    watching = watch()

    project.write("data/a/b/c/two", "2")
    first = watching.rounds()[-1]
    project.write("data/a/b/c/three", "3")
    watching.rounds()

    assert first["changed"] == ["data"]
    assert project.read("count.txt").strip() == "3"


def test_a_failing_task_and_a_broken_merklfile_keep_watching(project, watch):
    project.merklfile(UPPER)
    good = project.read("Merklfile.py")
    project.merklfile("files(")
    project.write("src/a.txt", "a")
    watching = watch()
    assert watching.events[0] == {"event": "change", "version": 1, "round": 1, "changed": []}

    project.write("Merklfile.py", good)
    begun = watching.round()
    project.write("Merklfile.py", good.replace("tr a-z", "tr-is-missing a-z"))
    failed = watching.round()
    project.write("Merklfile.py", good + "import nowhere\n")
    broken = watching.round()
    project.write("nowhere.py", "")
    mended = watching.round()
    project.write("merkl.yaml", "jobs: [\n")
    unset = watching.round()
    (project.path / "merkl.yaml").unlink()
    last = watching.round()

    assert begun["ok"]
    assert (len(failed["failed"]), failed["ok"]) == (1, False)
    assert "nowhere" in broken["error"]
    assert mended["ok"] and mended["changed"] == ["nowhere.py"]
    assert "merkl.yaml" in unset["error"]
    assert last["ok"]


@pytest.mark.parametrize("words", [[], ["--poll"]], ids=["listening", "looking"])
def test_a_directory_that_was_made_empty_is_heard_of_when_something_comes_into_it(project, watch, words):
    project.merklfile(UPPER.replace("src/*.txt", "src/**/*.txt"))
    project.write("src/a.txt", "a")
    watching = watch(*words)

    (project.path / "src/new/deep").mkdir(parents=True)
    time.sleep(1.3 if words else 0.3)  # So that it was looked at.
    project.write("src/new/deep/b.txt", "b")

    assert watching.round()["changed"] == ["src/new/deep/b.txt"]


def test_a_directory_that_goes_and_comes_back_is_watched_again(project, watch):
    project.merklfile(UPPER)
    project.write("src/a.txt", "a")
    watching = watch()

    os.rename(project.path / "src", project.path / "away")
    gone = watching.round()
    project.write("away/a.txt", "edited where it does not matter")
    os.rename(project.path / "away", project.path / "src")
    back = watching.round()
    project.write("src/a.txt", "b")
    edited = watching.round()

    assert gone["changed"] == back["changed"] == edited["changed"] == ["src/a.txt"]
    assert project.read("out/a.txt") == "B"


def test_a_file_is_heard_of_behind_a_link_and_when_an_editor_replaces_it(project, watch):
    project.merklfile(UPPER)
    project.write("elsewhere/a", "a")
    project.write("src/b.txt", "b")
    (project.path / "src/a.txt").symlink_to("../elsewhere/a")
    watching = watch()

    project.write("elsewhere/a", "b")
    linked = watching.round()
    project.write("src/b.txt~", "c")
    os.replace(project.path / "src/b.txt~", project.path / "src/b.txt")
    replaced = watching.round()

    assert (linked["changed"], replaced["changed"]) == (["src/a.txt"], ["src/b.txt"])
    assert (project.read("out/a.txt"), project.read("out/b.txt")) == ("B", "C")
    assert watching.end(signal.SIGHUP) == (0, "")


def test_a_file_that_is_being_written_is_waited_for(project, watch):
    project.merklfile(UPPER)
    project.write("src/a.txt", "a")
    watching = watch("--debounce", "20")

    with open(project.path / "src/a.txt", "w") as file:
        file.write("half")
        file.flush()
        with pytest.raises(subprocess.TimeoutExpired):
            watching.process.wait(0.4)  # Longer than the debounce, and shorter than the patience.
        file.write(" and whole")

    assert watching.round()["ok"]
    assert project.read("out/a.txt") == "HALF AND WHOLE"


def test_thousands_of_files_at_once_are_one_complete_round(project, watch):
    count = 5000 if FULL else 1000
    project.merklfile(
        """
        count = bash_task("cat {files_arg('inputs', '.txt')} | wc -c > {out_file_arg('out', '.txt')}")
        count(files("src/*/*.txt")) > "count.txt"
        """
    )
    names = [f"src/{number % 50}/{number}.txt" for number in range(count)]
    for name in names:
        project.write(name, "1")
    watching = watch()

    for name in names:
        with open(project.path / name, "w") as file:
            file.write("22")

    assert len(watching.round()["changed"]) == count
    assert project.read("count.txt").strip() == str(2 * count)


@pytest.mark.full
@pytest.mark.needs("git")
def test_a_checkout_of_a_thousand_files_is_one_round(project, watch):
    def git(*words):
        subprocess.run(
            ["git", "-c", "user.name=a", "-c", "user.email=a@b", *words],
            cwd=project.path, check=True, capture_output=True,
        )  # fmt: skip

    project.merklfile(
        """
        join = bash_task("cat {files_arg('inputs', '.txt')} > {out_file_arg('out', '.txt')}")
        join(files("src/*.txt")) > "all.out"
        """
    )
    project.write(".gitignore", "*.out\n")
    git("init", "-q", "-b", "main")
    for branch in ("main", "other"):
        for number in range(1000):
            project.write(f"src/{number}.txt", f"{branch}\n")
        git("add", ".")
        git("commit", "-qm", branch)
        if branch == "main":
            git("checkout", "-qb", "other")
    watching = watch()

    git("checkout", "-q", "main")

    assert len(watching.round()["changed"]) == 1000
    assert project.read("all.out") == "main\n" * 1000


# ---- a change while a round runs --------------------------------------------------------------------------------------------

SLOW = """
    slow = bash_task("cat {file_arg('a', '.txt')} > {out_file_arg('out', '.txt')}; touch started; sleep $(cat {file_arg('b', '.txt')})")
    slow("a.txt", "seconds.txt") > "out.txt"
"""


def test_a_change_during_a_build_is_built_after_it(project, watch):
    project.merklfile(SLOW)
    project.write("a.txt", "one")
    project.write("seconds.txt", "1")
    watching = watch(ready=False)
    watching.next("running")
    project.write("a.txt", "two")
    first, second = watching.rounds()

    assert (first["cancelled"], second["changed"]) == (False, ["a.txt"])
    assert project.read("out.txt") == "two"


def test_with_restart_a_change_ends_the_build_that_runs(project, watch):
    project.merklfile(SLOW)
    project.write("a.txt", "one")
    project.write("seconds.txt", "60")
    watching = watch("--restart", ready=False)
    watching.next("running")
    project.write("README", "does not matter")
    project.write("seconds.txt", "0")
    first, second = watching.rounds()

    assert (first["cancelled"], first["ok"], first["error"]) == (True, False, "")
    assert (second["changed"], second["ok"]) == (["seconds.txt"], True)


@pytest.mark.full
def test_a_build_under_which_an_edit_came_and_was_taken_back_is_followed_by_a_good_one(project, watch):
    project.merklfile(UPPER.replace("tr a-z", "while [ ! -e go ]; do sleep 0.02; done; tr a-z"))
    project.write("go", "")
    project.write("src/a.txt", "a")
    watching = watch()
    (project.path / "go").unlink()

    project.write("src/a.txt", "b")
    watching.next("running")
    project.write("src/a.txt", "c")
    project.write("src/a.txt", "b")
    project.write("go", "")
    rounds = watching.rounds()

    assert [each["ok"] for each in rounds] == [False, True]
    assert project.read("out/a.txt") == "B"


def test_a_build_that_changes_what_it_reads_does_not_run_without_a_pause(project, watch):
    project.merklfile(
        """
        upper = bash_task("cat {file_arg('text')} > {out_file_arg('out', '.txt')}")
        upper("src/a.txt") > "out.txt"
        with open("src/a.txt", "a") as file:
            file.write("more")
        """
    )
    project.write("src/a.txt", "a")
    watching = watch(ready=False)

    assert "changes while it is built" in watching.next("note")["text"]

    project.merklfile("")  # One who repairs it need not wait for the pause to end.
    mended = watching.next("round")

    assert mended["changed"] == ["Merklfile.py", "src/a.txt"]


# ---- the end -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_it_builds_stops_the_tasks_and_ends_in_130(project, watch, number):
    project.merklfile(
        """
        slow = bash_task("echo $$ > pid; exec sleep 60; touch {out_file_arg('out', '.txt')}")
        slow() > "out.txt"
        """
    )
    watching = watch(ready=False)
    watching.next("running")
    pid = project.path / "pid"
    deadline = time.monotonic() + 60
    while not (pid.exists() and pid.read_text().endswith("\n")):  # Before that, bash may only note a SIGINT.
        assert time.monotonic() < deadline
        time.sleep(0.02)

    code, said = watching.end(number)

    assert code == 130
    assert "Traceback" not in said
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)
    assert project.merkl("watch", "-n", code=2).stderr.startswith("--dry-run makes no sense for a watch")


def test_a_signal_before_the_first_build_can_begin_is_not_lost(project, watch):
    project.merklfile("")
    watching = watch(ready=False)
    watching.next("change")
    time.sleep(0.05)  # Its process is only being started.

    code, said = watching.end()

    assert code in {0, 130}
    assert said == ""


def test_there_is_nothing_to_watch_where_no_project_is(project):
    assert project.merkl("watch", code=2).stderr.startswith("no project here or above")
