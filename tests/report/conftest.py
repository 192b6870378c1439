"""Real nodes, made by real tasks in a real project that nothing is built in."""

from collections.abc import Iterator

import pytest

from merkl.bash.task import bash_task
from merkl.config import load_config
from merkl.engine.project import Project
from merkl.nodes import Node, using


@pytest.fixture
def project(tmp_path) -> Iterator[Project]:
    opened = Project(load_config(str(tmp_path)))
    with using(opened):
        yield opened
    opened.close()


@pytest.fixture
def node(project) -> Node:
    return bash_task("echo {arg('word')}", name="train")(word="one").node


@pytest.fixture
def other(project) -> Node:
    return bash_task("echo {arg('word')}", name="report")(word="two").node
