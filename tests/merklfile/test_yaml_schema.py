"""The JSON schema for editors agrees with what is read, and with the options that bash_task has."""

import inspect
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from test_yaml_errors import CASES, unmarked

from merkl.bash.options import VALUE_FORMS
from merkl.bash.task import bash_task
from merkl.cli.init import STARTER_YAML
from merkl.merklfile.declare import declared
from merkl.merklfile.declared import options
from merkl.merklfile.declared.parameters import TYPES
from merkl.merklfile.targets import Declared

EXAMPLES = Path(__file__).parents[2] / "examples"
PAGE = Path(__file__).parents[2] / "docs/yaml.md"


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    import merkl.merklfile

    found: dict[str, Any] = json.loads(
        (Path(merkl.merklfile.__file__).parent / "Merklfile.schema.json").read_text()
    )
    jsonschema.Draft202012Validator.check_schema(found)
    return found


def wrong(schema: dict[str, Any], text: str) -> list[str]:
    """What the schema finds wrong in a text."""
    return [
        each.message for each in jsonschema.Draft202012Validator(schema).iter_errors(yaml.safe_load(text))
    ]


def test_the_options_of_a_task_are_those_of_bash_task(schema: dict[str, Any]) -> None:
    real = inspect.signature(bash_task).parameters

    assert set(options.TASK_OPTIONS) == set(real) - {"template", "argv", "name"}
    for name, kind in options.TASK_OPTIONS.items():
        default = real[name].default
        if kind == "flag":
            assert type(default) is bool
            assert schema["$defs"][name] == schema["$defs"][name] | {"type": "boolean", "default": default}
        elif kind == "text" and name != "stdout":
            assert type(default) is str and schema["$defs"][name]["type"] == "string"
    assert schema["$defs"]["stdout"]["anyOf"][0]["enum"] == list(VALUE_FORMS)


def test_the_options_of_a_target_are_those_of_the_decorator() -> None:
    real = set(Declared.__dataclass_fields__) - {"name", "doc", "place", "base", "prefix"}

    assert real <= set(options.TARGET)
    assert "doc" in options.TARGET and "description" in inspect.signature(declared).parameters


@pytest.mark.parametrize(
    ("where", "names"),
    [
        (("properties",), options.FILE),
        (("$defs", "task", "anyOf", 1, "properties"), options.TASK),
        (("$defs", "built", "properties"), options.TARGET),
        (("$defs", "step", "properties"), options.STEP),
        (("$defs", "parameter", "properties"), options.PARAMETER),
    ],
)
def test_the_schema_has_just_the_names_that_are_read(
    schema: dict[str, Any], where: tuple[Any, ...], names: tuple[str, ...]
) -> None:
    found: Any = schema
    for step in where:
        found = found[step]

    assert set(found) == set(names)


def test_options_beside_a_call_and_types_of_parameters_are_the_same(schema: dict[str, Any]) -> None:
    condition = schema["$defs"]["options_beside_a_command"]["if"]["anyOf"]

    assert {each["required"][0] for each in condition} == set(options.TASK_OPTIONS)
    assert schema["$defs"]["type"]["enum"] == list(TYPES)


def test_every_option_tells_what_it_is_for(schema: dict[str, Any]) -> None:
    for name in {*options.TASK, *options.CALL}:
        assert "description" in schema["$defs"][name], name


def good_texts() -> list[str]:
    import re

    page = re.findall(r'^```yaml title="\S*Merklfile\S*"\n(.*?)^```$', PAGE.read_text(), flags=re.M | re.S)
    return [STARTER_YAML, *(path.read_text() for path in sorted(EXAMPLES.rglob("Merklfile.yaml"))), *page]


def test_the_examples_and_what_the_docs_show_are_valid(schema: dict[str, Any]) -> None:
    texts = good_texts()

    assert len(texts) >= 4
    for text in texts:
        assert wrong(schema, text) == []


# What only the reader can know: how text is written, what names and templates mean.
BEYOND = (
    "is given twice", "is a truth value to some", "is a date", "to base", "the tag", "holds itself", "there is no",
    "cannot be the name of a target", "two targets", "is no extension", "is not known", "is called without", "several outputs",
    "has no output", "has no parameter", "nothing uses", "means something", "different names", "this brace", "has no meaning here",
    "cannot stand", "belongs into", "cannot be the name of a parameter", "cwd is", "is never closed", "without quotes is a mapping",
    "not of type", "is not one of", "stands beside a file", "<< merges", "merged into itself",
)  # fmt: skip


@pytest.mark.parametrize(("text", "message"), [case[:2] for case in CASES])
def test_the_schema_refuses_what_the_reader_refuses(schema: dict[str, Any], text: str, message: str) -> None:
    try:
        found = wrong(schema, unmarked(text)[0])
    except (yaml.YAMLError, TypeError):
        return  # An editor sees that it is no YAML; a mapping as a key has no JSON.

    assert found or any(words in message for words in BEYOND), message


def test_the_schema_is_printed_for_editors(inside: Any, schema: dict[str, Any]) -> None:
    assert json.loads(inside.merkl("init", "--schema").stdout) == schema
    assert list(inside.path.iterdir()) == []
