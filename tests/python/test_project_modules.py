"""Which modules are the project's own: those it is about to be blamed for."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from fresh import code, imported, write

import merkl.digest
from merkl.python import sources
from merkl.python.project import Project


def owns(project: Project, path: Path, name: str) -> bool:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return project.owns(str(path), name)


def test_files_under_the_root_are_the_projects_but_for_what_is_installed_there(tmp_path: Path) -> None:
    project = Project(str(tmp_path))
    (tmp_path / "env").mkdir()
    (tmp_path / "env" / "pyvenv.cfg").touch()
    assert owns(project, tmp_path / "lib" / "stats.py", "stats")
    assert owns(project, tmp_path / "Merklfile.py", "anything")
    assert not owns(project, tmp_path / "env" / "lib" / "m.py", "m")
    assert not owns(project, tmp_path / "vendor" / "site-packages" / "m.py", "m")
    assert not owns(project, tmp_path.parent / "elsewhere" / "m.py", "m")


def test_a_project_that_lies_in_an_environment_still_owns_its_files(tmp_path: Path) -> None:
    (tmp_path / "pyvenv.cfg").touch()
    root = tmp_path / "site-packages" / "work"
    assert owns(Project(str(root)), root / "m.py", "m")
    assert owns(Project(str(tmp_path)), tmp_path / "m.py", "m")


def test_the_standard_library_and_merkl_never_are(tmp_path: Path) -> None:
    everything = Project("/")
    assert not everything.owns(os.__file__, "os")
    assert not everything.owns(merkl.digest.__file__, "merkl.digest")
    assert not everything.owns(None, "sys")


def test_modules_named_in_the_settings_are_under_their_dotted_names(tmp_path: Path) -> None:
    outside = tmp_path / "site-packages" / "shared" / "m.py"
    project = Project(str(tmp_path / "root"), ("shared",))
    assert owns(project, outside, "shared.m")
    assert project.label(str(outside), "shared.m") == "shared.m"
    assert not owns(project, outside, "sharedelse.m")


def test_a_script_elsewhere_is_the_projects_while_it_is_the_main_module(tmp_path: Path) -> None:
    project = Project(str(tmp_path / "root"))
    assert owns(project, tmp_path / "job.py", "__main__")
    assert project.label(str(tmp_path / "job.py"), "__main__") == "job"
    assert not owns(project, tmp_path / "job.py", "job")


def test_a_root_behind_a_link_gives_the_same_labels(tmp_path: Path) -> None:
    write(tmp_path / "real", {"m.py": ""})
    (tmp_path / "link").symlink_to("real")
    for root in ("real", "link"):
        for file in ("real/m.py", "link/m.py"):
            assert Project(str(tmp_path / root)).label(str(tmp_path / file), "m") == "m.py"


@pytest.mark.parametrize("how", ["direct_url.json", ".pth"])
def test_an_editable_install_is_the_projects(how: str, tmp_path: Path) -> None:
    site = tmp_path / "env" / "site-packages"
    write(tmp_path / "co de", {"shared.py": "def helper(x):\n    return x + 1\n"})
    place = tmp_path / "co de"
    if how == ".pth":
        write(site, {"shared.pth": f"{place}\n"})
    else:
        record = {"url": place.as_uri(), "dir_info": {"editable": True}}
        write(site, {"shared-1.dist-info/direct_url.json": json.dumps(record)})
    asking = """
import sys
from merkl.python.project import Project
print(Project(sys.argv[1]).owns(sys.argv[2], "shared"))
"""
    here = str(Path(merkl.digest.__file__).parents[1])
    for extra, expected in ((str(site), "True\n"), (str(tmp_path), "False\n")):
        path = os.pathsep.join([here, extra])
        told = subprocess.run(
            [sys.executable, "-c", asking, str(tmp_path / "root"), str(place / "shared.py")],
            env={**os.environ, "PYTHONPATH": path},
            capture_output=True,
            text=True,
            check=True,
        )
        assert told.stdout == expected


def test_only_the_projects_helpers_count(tmp_path: Path) -> None:
    helper = "def helper(x):\n    return x + 1\n"
    task = "import sys\nsys.path.append({place!r})\nfrom shared import helper\ndef task(x):\n    return helper(x)\n"
    found = {}
    for place in ("lib", "vendor/site-packages"):
        for version in (helper, helper.replace("1", "2")):
            root = tmp_path / place.replace("/", "-") / str(hash(version) % 2**32)
            write(root, {"tasks.py": task.format(place=place), f"{place}/shared.py": version})
            sys.path.append(str(root / place))
            try:
                found[place, version] = code(root).digest
            finally:
                sys.path.remove(str(root / place))
                sys.path.remove(place)
    assert found["lib", helper] != found["lib", helper.replace("1", "2")]
    site = "vendor/site-packages"
    assert found[site, helper] == found[site, helper.replace("1", "2")]


def test_recording_sources_ends_when_it_is_told_to(tmp_path: Path) -> None:
    before = list(sys.meta_path)
    project = Project(str(tmp_path))
    uninstall = sources.install(project)
    write(tmp_path, {"one.py": "def f(): pass\n", "two.py": "def f(): pass\n"})
    with imported(tmp_path, "one") as one:
        assert (found := sources.source_of(one.f.__code__)) is not None and found.proven
    uninstall()
    uninstall()
    with imported(tmp_path, "two") as two:
        assert (found := sources.source_of(two.f.__code__)) is not None and not found.proven
    assert sys.meta_path == before


@pytest.mark.parametrize("newest", ["a", "b"])
def test_the_sources_of_two_projects_are_recorded_side_by_side(tmp_path: Path, newest: str) -> None:
    write(tmp_path, {"a/inner.py": "def f(): pass\n", "b/outer.py": "def f(): pass\n"})
    order = sorted("ab", key=lambda name: name == newest)
    ends = [sources.install(Project(str(tmp_path / name))) for name in order]
    try:
        for place, name in (("a", "inner"), ("b", "outer")):
            with imported(tmp_path / place, name) as module:
                assert (found := sources.source_of(module.f.__code__)) is not None and found.proven
    finally:
        for end in ends:
            end()
