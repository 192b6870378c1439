"""Drawings of a graph."""

import json
import re

import pytest

from merkl.bash.task import bash_task
from merkl.engine.build import judge
from merkl.engine.select import labels, select
from merkl.nodes import walk
from merkl.report.graph import Drawn, Graph, draw, graph_of

HOSTILE = 'a "quoted" \\ <b>&amp;\n#35; ]) %% end; \x1b[2J é'


@pytest.fixture
def diamond(project, tmp_path):
    (tmp_path / "in.txt").write_text("x")
    read = bash_task("cat {file_arg('text')} > {out_file_arg('o', '.txt')}", name="read")
    upper = bash_task("tr a-z A-Z < {file_arg('t')} > {out_file_arg('o', '.txt')}", name="upper")
    join = bash_task("cat {files_arg('parts')} > {out_file_arg('o', '.txt')}", name="join")
    base = read("in.txt")
    final = join([upper(base), base])
    final > "out/all.txt"
    selection = select([final], project.placements, targets=["all"])
    names = labels(walk(selection.roots), selection.placements)
    return graph_of(selection, judge(project, selection), names, files=True)


def test_text_is_a_tree_in_which_a_shared_node_is_opened_once(diamond):
    assert list(draw(diamond, "text")) == [
        "join out/all.txt  [may run]",
        f"  {diamond.nodes[1].label}  [may run]",
        "    read in.txt  [would run]",
        "      in.txt",
        "  read in.txt  [would run]  (see above)",
    ]


def test_the_same_graph_gives_the_same_bytes(diamond):
    for form in ("text", "json", "dot", "mermaid"):
        assert list(draw(diamond, form)) == list(draw(diamond, form))


def test_json_has_nodes_by_number_dependencies_first(diamond):
    drawn = json.loads("\n".join(draw(diamond, "json")))

    assert drawn["targets"] == ["all"]
    assert [node["task"] for node in drawn["nodes"]] == ["read", "upper", "join"]
    assert drawn["nodes"][2]["needs"] == [1, 0]
    assert drawn["nodes"][2]["placed"] == ["out/all.txt"]
    assert drawn["nodes"][0]["files"] == ["in.txt"]
    assert drawn["nodes"][0]["state"] == "would run"


def test_dot_draws_every_node_edge_and_file(diamond):
    text = "\n".join(draw(diamond, "dot"))

    assert {"n0 -> n1;", "n1 -> n2;", "n0 -> n2;", "f0 -> n0;", "n2 -> p0;"} <= {
        line.strip() for line in text.split("\n")
    }


def hostile():
    node = Drawn(HOSTILE, "t", "python", "00", "cached", (), (HOSTILE + "2",), (HOSTILE + "3",))
    return Graph((node,), (HOSTILE,), files=True)


def test_no_name_ends_a_string_in_dot():
    for line in draw(hostile(), "dot"):
        assert not re.sub(r'"(?:[^"\\]|\\.)*"', "", line).count('"')
        assert "\n" not in line
        assert "\x1b" not in line


def test_no_name_is_syntax_in_mermaid():
    for line in list(draw(hostile(), "mermaid"))[5:]:
        [inner] = re.findall(r'"(.*)"', line) or [""]
        assert not re.search(r'["\\<>&;#\[\]()%]', re.sub(r"#\d+;", "", inner))


def test_a_name_with_a_newline_stays_on_its_line_in_text():
    assert len(list(draw(hostile(), "text"))) == 2


def test_a_deep_graph_is_drawn_without_deep_indentation():
    count = 5000
    nodes = tuple(
        Drawn(f"t {i}", "t", "bash", "00", "cached", (i - 1,) if i else (), (), ()) for i in range(count)
    )

    found = list(draw(Graph(nodes, ()), "text"))

    assert len(found) == count
    assert max(map(len, found)) < 120
    assert found[-1].strip().startswith(f"[{count - 1}] t 0")
