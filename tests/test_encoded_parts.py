"""What is encoded piece by piece, for speed, is what the encoder would write of the whole."""

from hypothesis import given
from hypothesis import strategies as st

from merkl.bash.slots import FromDep, FromSource, Plain, encoded, shape
from merkl.digest import CONTENT_DOMAIN, Digest, Key, encode, encoded_dict, encoded_text, encoded_tuple
from merkl.nodes import Artifact, Dep, Future, Output, Place, Source, content_key, make_node
from merkl.stamp import Stamp

TEXTS = st.text(max_size=80)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXTS | st.binary(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.tuples(inner, inner),
    max_leaves=6,
)
SLOTS = (
    st.builds(FromSource, st.integers(0, 100))
    | st.builds(FromDep, st.integers(0, 9))
    | st.builds(Plain, VALUES)
)


@given(st.lists(VALUES, max_size=4))
def test_a_tuple_of_encoded_members_is_the_encoded_tuple(members):
    assert encoded_tuple(*map(encode, members)) == encode(tuple(members))


@given(st.dictionaries(TEXTS, VALUES, max_size=5))
def test_a_dict_of_encoded_members_is_the_encoded_dict(members):
    pieces = {encoded_text(name): encode(value) for name, value in members.items()}
    assert encoded_dict(pieces) == encode(members)


@given(st.dictionaries(TEXTS, SLOTS | st.lists(SLOTS, max_size=3).map(tuple), max_size=4))
def test_the_slots_of_a_call_are_encoded_as_their_shapes(slots):
    assert encoded(slots) == encode({name: shape(slot) for name, slot in slots.items()})


@given(st.lists(st.tuples(TEXTS, st.sampled_from(["file", "dir"]), st.binary(), st.booleans()), max_size=3))
def test_the_sources_of_a_node_are_in_its_key_as_a_tuple_of_what_they_are(named):
    stamp = Stamp(0, 0, 0, 0, 0)
    sources = [
        Source(path, kind, Digest.of(data), executable, stamp) for path, kind, data, executable in named
    ]

    class Call:
        task_name, retries, subject, interactive = "task", 0, "", False

        def parts(self):
            return []

    node = make_node(Call(), b"static", sources=sources, outputs=[Output("", "file")], place=Place("", 0))

    whole = tuple((source.kind, bytes(source.digest), source.executable, source.path) for source in sources)
    assert node.static == Digest.of(encode(whole) + b"static")
    assert isinstance(node.key, Key) and len(node.key) == len(node.static) == 32


FORMS = st.tuples(st.sampled_from(["file", "dir", "value"]), st.binary(), st.booleans(), TEXTS, TEXTS)


@given(st.lists(FORMS, max_size=4))
def test_the_inputs_of_a_node_are_in_its_content_key_as_a_tuple_of_what_they_are(inputs):
    place = Place("", 0)
    made = make_node(None, b"made", outputs=[Output("", "file")], place=place)
    node = make_node(
        None, b"static", deps=[Dep(Future(made, ""), name) for *_, name in inputs],
        outputs=[Output("", "file")], place=place,
    )  # fmt: skip
    artifacts = [
        Artifact(kind, Digest.of(data), len(data), executable, serializer)
        for kind, data, executable, serializer, _ in inputs
    ]

    whole = tuple(
        (kind, bytes(Digest.of(data)), executable, serializer, name)
        for kind, data, executable, serializer, name in inputs
    )
    assert content_key(node, artifacts) == Digest.of(CONTENT_DOMAIN + node.static + encode(whole))
