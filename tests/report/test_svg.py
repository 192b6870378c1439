"""A graph as a picture, judged by what is in it."""

import random
import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from itertools import pairwise

import pytest

from merkl.errors import UsageError
from merkl.report.graph import Drawn, Graph
from merkl.report.layers import layered
from merkl.report.layout import Size, lay_out
from merkl.report.svg import LARGEST, draw_svg

SVG = "{http://www.w3.org/2000/svg}"
HOSTILE = 'a "quoted" <b>&amp;\n]]> --> \x1b[2J \udcff \uffff é 漢字 😀'


def node(name, *needs, state="cached", kind="bash", placed=(), files=()):
    return Drawn(f"make {name}", "make", kind, "ab" * 32, state, needs, placed, files)


def random_graph(seed, count=60, span=12, files=0):
    chance = random.Random(seed)
    nodes = []
    for at in range(count):
        near = range(max(0, at - span), at)
        needs = chance.sample(near, min(len(near), chance.choice([0, 1, 1, 2, 3])))
        sources = {f"src/{chance.randrange(files)}.c" for _ in range(chance.randrange(3))} if files else ()
        nodes.append(
            node(f"out{at}", *needs, state=chance.choice(["cached", "may run"]), files=tuple(sorted(sources)))
        )
    return Graph(tuple(nodes), ("all",), files=bool(files))


class Picture:
    """What one finds in the text of a picture: boxes by name as (left, top, right, bottom), and edges."""

    def __init__(self, graph):
        self.text = "\n".join(draw_svg(graph))
        self.root = ET.fromstring(self.text)
        self.boxes = {}
        for group in self.root.iter(f"{SVG}g"):
            if "id" in group.attrib:
                assert group.attrib["id"] not in self.boxes, "a node is drawn twice"
                self.boxes[group.attrib["id"].removeprefix("merkl-")] = self._box(group)
        self.edges = {}
        for path in self.root.iter(f"{SVG}path"):
            if "data-edge" in path.attrib:
                ends = tuple(path.attrib["data-edge"].split())
                assert ends not in self.edges, "an edge is drawn twice"
                self.edges[ends] = _points(path.attrib["d"])

    @staticmethod
    def _box(group):
        rect = group.find(f"{SVG}rect[@class='box']")
        if rect is not None:
            x, y, width, height = (float(rect.attrib[each]) for each in ("x", "y", "width", "height"))
            return x, y, x + width, y + height
        [d] = [each.attrib["d"] for each in group.iter(f"{SVG}path") if each.attrib["class"] == "box"]
        found = re.fullmatch(r"M(\S+) (\S+)H(\S+)L(\S+) (\S+)V(\S+)H\S+z", d)
        assert found
        return float(found[1]), float(found[2]), float(found[4]), float(found[6])

    def texts(self, name):
        group = next(each for each in self.root.iter(f"{SVG}g") if each.attrib.get("id") == f"merkl-{name}")
        return [each.text for each in group.iter(f"{SVG}text")]


def _points(d):
    """Where a path begins, and the ends of its pieces."""
    found = []
    for letter, numbers in re.findall(r"([MCH])([^MCH]*)", d):
        values = [float(each) for each in numbers.split()]
        found.append((values[0], found[-1][1]) if letter == "H" else tuple(values[-2:]))
    return found


def touch(one, other):
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


@pytest.mark.parametrize("seed", range(12))
def test_every_node_and_every_edge_is_drawn_once_and_in_its_place(seed):
    graph = random_graph(seed, count=5 + seed * 8, files=seed % 3 * 10)

    picture = Picture(graph)

    nodes = [name for name in picture.boxes if name.startswith("n")]
    assert sorted(nodes) == sorted(f"n{at}" for at in range(len(graph.nodes)))
    wanted = {(f"n{need}", f"n{at}") for at, each in enumerate(graph.nodes) for need in each.needs}
    assert {ends for ends in picture.edges if ends[0].startswith("n")} == wanted
    boxes = list(picture.boxes.values())
    assert not [1 for at, one in enumerate(boxes) for other in boxes[:at] if touch(one, other)]
    for (one, other), points in picture.edges.items():
        left, right = picture.boxes[one], picture.boxes[other]
        assert points[0][0] == pytest.approx(left[2], abs=0.2)
        assert points[-1][0] == pytest.approx(right[0], abs=0.2)
        assert left[1] < points[0][1] < left[3]
        assert right[1] < points[-1][1] < right[3]
        assert all(a[0] <= b[0] for a, b in pairwise(points)), "an edge runs back"


@pytest.mark.parametrize("seed", range(4))
def test_everything_is_inside_the_picture(seed):
    picture = Picture(random_graph(seed, files=9))

    _, _, width, height = map(float, picture.root.attrib["viewBox"].split())
    corners = list(picture.boxes.values())
    points = [point for edge in picture.edges.values() for point in edge]
    assert 0 <= min(x for x, *_ in corners) <= max(x for _, _, x, _ in corners) < width
    assert 0 <= min(y for _, y, _, _ in corners) <= max(y for *_, y in corners) < height
    assert 0 <= min(y for _, y in points) <= max(y for _, y in points) < height


def test_a_long_edge_passes_no_box():
    chain = [node(str(at), at - 1) if at else node("0") for at in range(8)]
    picture = Picture(Graph((*chain, node("end", 0, 7), node("other", 1, 8)), ("all",)))

    for (one, other), points in picture.edges.items():
        # From each second point to the next one an edge is level.
        for (x, y), (to_x, _) in list(pairwise(points))[1::2]:
            line = (x, y - 0.1, to_x, y + 0.1)
            passed = [name for name, box in picture.boxes.items() if touch(box, line)]
            assert not set(passed) - {one, other}


def test_a_tree_has_no_crossings():
    needs = [(), (), (), (), (0, 1), (2, 3), (4, 5)]

    layers = layered(needs)

    assert [sorted(order) for order in layers.order] == [[0, 1, 2, 3], [4, 5], [6]]
    assert {tuple(sorted(layers.order[0][:2])), tuple(sorted(layers.order[0][2:]))} == {(0, 1), (2, 3)}


def test_a_chain_is_a_straight_line():
    layout = lay_out([Size(50, 20)] * 5, [(), (0,), (1,), (2,), (3,)])

    assert len({box.y for box in layout.boxes}) == 1


def test_a_source_is_drawn_beside_what_reads_it():
    last = len(chain := [node(str(at), at - 1) if at else node("0") for at in range(6)]) - 1
    chain[last] = node("last", last - 1, files=("late.txt",))

    picture = Picture(Graph(tuple(chain), (), files=True))

    assert picture.boxes["f0"][0] > picture.boxes[f"n{last - 2}"][2]


def test_many_files_of_the_same_readers_are_one_box():
    files = tuple(f"data/part/{at}.csv" for at in range(30))
    graph = Graph((node("a", files=(*files, "own.txt")), node("b", files=files)), (), files=True)

    picture = Picture(graph)

    assert picture.texts("f0") == ["30 files in data/part"]
    assert picture.texts("f1") == ["own.txt"]
    assert set(picture.edges) == {("f0", "n0"), ("f0", "n1"), ("f1", "n0")}
    assert "data/part/3.csv" in picture.text


def test_files_from_here_and_elsewhere_are_one_box_too():
    files = (*(f"/usr/include/{at}.h" for at in range(9)), "own.h")
    picture = Picture(Graph((node("a", files=files),), (), files=True))

    assert picture.texts("f0") == ["10 files"]


@pytest.mark.parametrize("state", ["cached", "cut off", "would run", "may run", "not needed"])
def test_a_box_says_what_it_is(state):
    graph = Graph((node("out/a.txt", state=state, kind="python", placed=("b.txt", "out/a.txt")),), ("all",))

    picture = Picture(graph)

    assert picture.texts("n0") == ["make", "out/a.txt  +1"]
    title = picture.root.find(f".//{SVG}g[@id='merkl-n0']/{SVG}title")
    assert title.text.splitlines() == [
        "make out/a.txt", f"Python task, {state}", "places b.txt, out/a.txt", "key abababababababab",
    ]  # fmt: skip
    assert f"1 {state}" in picture.text
    look = picture.root.find(f".//{SVG}g[@id='merkl-n0']").attrib["class"]
    assert picture.text.count(f".merkl .{look} .box {{") == 2, "it has a look in light and in dark"


def test_a_long_label_keeps_its_end():
    path = "build/" + "very/" * 40 + "deep/result.csv"

    [_, shown] = Picture(Graph((node(path),), ())).texts("n0")

    assert len(shown) < 50
    assert shown.startswith("build/")
    assert "…" in shown
    assert shown.endswith("/result.csv")


def test_a_name_is_text_whatever_it_has():
    graph = Graph(
        (Drawn(f"{HOSTILE} x", HOSTILE, "python", "00", "cached", (), (HOSTILE,), (HOSTILE,)),),
        (HOSTILE,),
        files=True,
    )

    picture = Picture(graph)

    assert picture.boxes.keys() == {"n0", "f0"}
    assert {each.tag.removeprefix(SVG) for each in picture.root.iter()} <= {
        "svg", "style", "defs", "marker", "path", "rect", "text", "g", "title",
    }  # fmt: skip
    picture.text.encode("utf-8")
    assert "\x1b" not in picture.text
    assert "\uffff" not in picture.text


def test_the_same_graph_gives_the_same_bytes():
    assert list(draw_svg(random_graph(3, files=5))) == list(draw_svg(random_graph(3, files=5)))


def test_a_graph_without_tasks_is_a_picture():
    assert Picture(Graph((), ("nothing",))).boxes == {}


def test_a_graph_that_nobody_could_read_is_refused():
    with pytest.raises(UsageError, match="2,000") as refused:
        list(draw_svg(Graph(tuple(node(str(at)) for at in range(LARGEST + 1)), ("all",))))
    assert "merkl dag TARGET" in refused.value.hint


@pytest.mark.parametrize("span", [30, LARGEST])
def test_the_largest_graph_is_drawn(span):
    """Long edges everywhere: more joints than are worth making."""
    picture = Picture(random_graph(1, count=LARGEST, span=span))

    assert len(picture.boxes) == LARGEST


def test_a_chain_in_which_everything_reads_the_first_is_drawn():
    count = 1_200
    nodes = [node("0"), *(node(str(at), *dict.fromkeys((at - 1, 0, at // 2))) for at in range(1, count))]

    picture = Picture(Graph(tuple(nodes), ()))

    assert len(picture.boxes) == count
    assert len(picture.edges) == sum(len(each.needs) for each in nodes)


def test_groups_have_bands_of_their_own_colors_and_are_named():
    outer, inner = ("outer",), ("outer", HOSTILE)
    nodes = [replace(node("a"), groups=inner), replace(node("b", 0), groups=outer), node("c", 1)]
    picture = Picture(Graph(tuple(nodes), ("all",)))

    colors = re.findall(r'style="fill: (#\w+)"', picture.text)
    # Two in the legend, and one in each of two boxes.
    assert len(colors) == 4 and sorted(colors[:2]) == sorted(colors[2:]) and len(set(colors)) == 2
    titles = [title.text for title in picture.root.iter(f"{SVG}title")]
    assert sum("\nin outer" in title for title in titles) == 2
    texts = [text.text for text in picture.root.iter(f"{SVG}text")]
    assert "outer" in texts and any(text.startswith("outer > ") for text in texts)

    many = tuple(replace(node(f"n{at}"), groups=(f"g{at}",)) for at in range(12))
    assert "4 more groups" in Picture(Graph(many, ("all",))).text
