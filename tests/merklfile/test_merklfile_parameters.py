import copy
import datetime
import pickle
import textwrap

import pytest
from story import ECHO, Project, a_project

from merkl.digest import encode
from merkl.errors import InputMissing, MerklfileError, UsageError
from merkl.merklfile.sections import Params, plain
from merkl.nodes import walk

YAML = """
seed: 7
train:
  lr: 1e-3
  layers: [32, 32]
  optimizer: {name: adam, decay: 0.5}
items: [1]
"""


@pytest.fixture
def project(tmp_path):
    with a_project(tmp_path) as found:
        yield found


def read(project: Project, name: str, text: str, *sets: str) -> Params:
    project.write(name, text)
    merklfile = project.load(f"p = params({name!r})", sets=sets)
    return merklfile.files[merklfile.path].module.p


def test_entries_are_attributes_and_items_and_plain_values(project: Project):
    p = read(project, "params.yaml", YAML)

    assert p.seed == p["seed"] == 7
    assert p.train.lr == 0.001
    assert p.train.optimizer["name"] == "adam"
    assert p.train.layers == [32, 32]
    assert p["items"] == [1]
    assert {type(value) for value in (p.seed, p.train.lr, p.train.layers)} == {int, float, list}
    assert {"seed", "train"} <= set(dir(p))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("p.yaml", "a: 1\nb: {c: [1, {d: x}], e: 2024-01-02}\n"),
        ("p.yml", "b:\n  e: 2024-01-02\n  c:\n  - 1\n  - d: x\na: 1\n"),
        ("p.toml", "a = 1\n[b]\nc = [1, {d = 'x'}]\ne = 2024-01-02\n"),
    ],
)
def test_the_three_forms_mean_the_same(project: Project, name, text):
    p = read(project, name, text)

    assert plain(p) == {"a": 1, "b": {"c": [1, {"d": "x"}], "e": datetime.date(2024, 1, 2)}}
    assert p.b.c[1].d == "x"


def test_json_is_read_too_with_a_byte_order_mark(project: Project):
    assert read(project, "p.json", '\ufeff{"a": {"b": [1.5, null]}}').a.b == [1.5, None]


def test_an_empty_file_has_no_parameters(project: Project):
    assert read(project, "p.yaml", "") == {}


@pytest.mark.parametrize(
    ("text", "value"),
    [("1e-3", 0.001), ("1E5", 1e5), (".5", 0.5), ("1.", 1.0), ("1.5e+3", 1500.0), ("12", 12), ("1_0e3", "1_0e3"),
     ("e3", "e3"), ("1e", "1e"), ("--", "--"), ("0x1e3", 0x1E3), ("'1e-3'", "1e-3"), ("true", True)],
)  # fmt: skip
def test_numbers_in_yaml_are_those_that_people_write(project: Project, text, value):
    found = read(project, "p.yaml", f"x: {text}").x

    assert (type(found), found) == (type(value), value)


def test_only_the_values_that_a_task_receives_enter_its_key(project: Project):
    def keys(lr: str, other: str) -> list[str]:
        project.write("params.yaml", f"train: {{lr: {lr}, other: {other}}}\nelse: 1\n")
        merklfile = project.load(
            ECHO
            + textwrap.dedent("""
            p = params("params.yaml")
            @target
            def t():
                return [echo(p.train.lr), echo(p.train), echo(dict(lr=0.1, other=1))]
        """)
        )
        return [future.hash for future in project.call(merklfile, "t").called[0].futures]

    first, other, lr = keys("0.1", "1"), keys("0.1", "2"), keys("0.2", "1")

    assert first[0] == other[0] != lr[0]
    assert len({first[1], other[1], lr[1]}) == 3
    assert len(first) == 2  # The section and the dict of the same entries are one call.
    assert len(other) == len(lr) == 3


def test_a_task_that_is_given_a_section_gets_a_plain_dict(project: Project):
    project.write("params.yaml", YAML)
    merklfile = project.load(ECHO + "p = params('params.yaml')\n@target\ndef t(): return echo([p.train])\n")

    [future] = project.call(merklfile, "t").called[0].futures
    [given] = [node.call.arguments["value"] for node in walk([future])]

    assert type(given[0]) is dict
    assert type(given[0]["optimizer"]) is dict
    encode(given)


def test_a_section_cannot_be_changed_but_its_copy_can(project: Project):
    p = read(project, "params.yaml", YAML)

    for change in (
        lambda: p.__setitem__("seed", 1), lambda: setattr(p, "seed", 1), lambda: p.update(seed=1), lambda: p.pop("seed"),
        lambda: p.clear(), lambda: p.setdefault("x", 1), lambda: p.__delitem__("seed"), lambda: p.__ior__({"seed": 1}),
        lambda: p.popitem(), lambda: delattr(p, "seed"),
    ):  # fmt: skip
        with pytest.raises(TypeError, match=r"params\.yaml cannot be changed here; edit the file, use --set"):
            change()
    changed = p.copy()
    changed["train"]["lr"] = 5

    assert (p.seed, p.train.lr) == (7, 0.001)
    assert type(changed["train"]) is dict


def test_a_section_survives_pickling_and_copying(project: Project):
    p = read(project, "params.yaml", YAML)

    for again in (pickle.loads(pickle.dumps(p)), copy.deepcopy(p), copy.copy(p)):
        assert again == p
        assert again.train.optimizer.name == "adam"


def test_a_name_that_is_not_there_offers_those_that_are(project: Project):
    p = read(project, "params.yaml", YAML)

    with pytest.raises(AttributeError) as caught:
        p.train.optimiser
    assert str(caught.value) == "params.yaml: train has no 'optimiser'; did you mean optimizer?"
    with pytest.raises(KeyError) as missing:
        p["zzz"]
    assert str(missing.value) == "params.yaml has no 'zzz'; there are seed, train, items"
    assert p.get("zzz") is None
    assert not hasattr(p, "zzz")


def test_two_reads_of_one_file_do_not_share_their_lists(project: Project):
    project.write("p.yaml", "x: [1]")
    merklfile = project.load("a = params('p.yaml')\na.x.append(2)\nb = params('p.yaml')")

    assert merklfile.files[merklfile.path].module.b.x == [1]


def test_values_set_on_the_command_line_replace_those_in_the_file(project: Project):
    p = read(
        project, "p.yaml", YAML + "1: one\n",
        "seed=8", "train.lr=1e-2", "train.optimizer.name=sgd", "train.layers=[8, 8, 8]", "items=null", "1=two",
    )  # fmt: skip

    assert plain(p) == {
        "seed": 8,
        "train": {"lr": 0.01, "layers": [8, 8, 8], "optimizer": {"name": "sgd", "decay": 0.5}},
        "items": None,
        1: "two",
    }


def test_a_value_set_goes_to_each_file_that_has_it_and_is_used_if_any_has(project: Project):
    project.write("a.yaml", "x: 1\ny: 1")
    project.write("b.toml", "x = 1")
    merklfile = project.load("""
        a = params("a.yaml")
        @target
        def t():
            b = params("b.toml")
            return [a.x, a.y, b.x]
    """, sets=("x=5", "y=6"))  # fmt: skip

    assert project.given(merklfile, "t") == [5, 6, 5]


@pytest.mark.parametrize(
    ("text", "setting", "message", "hint"),
    [
        ("params('p.yaml')", "train.rl=1", "--set train.rl: no parameter of that name in p.yaml", "did you mean train.lr?"),
        ("params('p.yaml')", "train.lr.x=1", "--set train.lr.x: no parameter of that name in p.yaml",
         "did you mean train.lr?"),
        ("params('p.yaml')", "zzz=1", "--set zzz: no parameter of that name in p.yaml", "there are train.lr"),
        ("", "zzz=1", "--set zzz: the Merklfile reads no parameters", 'params("params.yaml") does'),
    ],
)  # fmt: skip
def test_a_value_set_that_no_file_has_is_an_error(project: Project, text, setting, message, hint):
    project.write("p.yaml", "train: {lr: 1}")
    merklfile = project.load(f"{text}\n@target\ndef t(): ...", sets=(setting,))

    with pytest.raises(UsageError) as caught:
        project.call(merklfile, "t")

    assert (caught.value.headline, caught.value.hint) == (message, hint)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("p.yaml", "a: 1\nb: [1\nc: 2\n", "p.yaml:3: not valid YAML: "),
        ("p.yaml", "a: 1\na: 2\n", "p.yaml:2: not valid YAML: 'a' is given twice, first in line 1"),
        ("p.yaml", "a:\n  ? [x]\n  : 1\n", "p.yaml:2: not valid YAML: ['x'] cannot be a name"),
        (
            "p.yaml",
            "a: !!python/object:os.system x",
            "p.yaml:1: not valid YAML: could not determine a constructor",
        ),
        ("p.yaml", "a: \x01", "p.yaml: not valid YAML: "),
        ("p.yaml", "- 1\n", "p.yaml must hold a mapping of names to values, not a list"),
        ("p.toml", "a = 1\nb = \n", "p.toml:2: not valid TOML: Invalid value"),
        ("p.toml", "a = 1\na = 2\n", "p.toml:2: not valid TOML: Cannot overwrite a value"),
        ("p.json", '{"a": 1,\n "b": }', "p.json:2: not valid JSON: Expecting value"),
        ("p.json", '{"a": 1, "a": 2}', "p.json: not valid JSON: 'a' is given twice in one object"),
        ("p.ini", "", "p.ini is not called like a file of parameters"),
    ],
)
def test_a_file_that_cannot_be_read_is_an_error_with_its_line(project: Project, name, text, message):
    with pytest.raises(MerklfileError) as caught:
        read(project, name, text)

    assert caught.value.headline.startswith(message)
    assert caught.value.details["at"] == f"Merklfile.py:2, in <module>\n  p = params({name!r})"


def test_a_file_that_is_not_utf8_or_not_there_is_an_error(project: Project):
    (project.root / "p.yaml").write_bytes(b"a: 1\nb: \xff\n")

    with pytest.raises(MerklfileError) as caught:
        project.load("params('p.yaml')")
    assert caught.value.headline == "p.yaml:2: not valid UTF-8"
    with pytest.raises(InputMissing) as missing:
        project.load("params('q.yaml')")
    assert (missing.value.headline, missing.value.hint) == (
        "the input q.yaml does not exist",
        "did you mean p.yaml?",
    )


def test_merged_sections_of_yaml_are_allowed(project: Project):
    p = read(project, "p.yaml", "base: &base {a: 1, b: 2}\nmine:\n  <<: *base\n  b: 3\n")

    assert p.mine == {"a": 1, "b": 3}


def test_paths_start_from_the_merklfiles_directory(project: Project):
    project.write("lib/p.yaml", "x: 1")
    project.write("lib/Merklfile.py", "X = params('p.yaml').x")

    merklfile = project.load("x = include('lib').X")

    assert merklfile.files[merklfile.path].module.x == 1
    assert list(merklfile.read) == ["lib/p.yaml"]


def test_of_parameters_that_a_task_reads_as_a_global_those_that_it_reads_count(project: Project):
    def keys(text: str) -> list[str]:
        project.write("p.yaml", text)
        merklfile = project.load("""
            p = params("p.yaml")
            train = p.train
            @task
            def reads_one(): return p.train.lr
            @task
            def reads_a_section(): return dict(train)
            @target
            def t(): return [reads_one(), reads_a_section()]
        """)
        return [future.hash for future in project.call(merklfile, "t").called[0].futures]

    before = keys("train: {lr: 1, depth: 2}\nother: 1")

    assert keys("train: {depth: 2, lr: 1}\nother: 2") == before
    depth = keys("train: {lr: 1, depth: 3}\nother: 1")
    assert (depth[0], depth[1] != before[1]) == (before[0], True)
    lr = keys("train: {lr: 2, depth: 2}\nother: 1")
    assert lr[0] != before[0]
    assert lr[1] != before[1]
