"""What a notebook shows, in a real kernel."""

from collections.abc import Iterator
from typing import Any

import pytest
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import start_new_kernel

DEFINED = """
import os
import merkl

@merkl.task
def plus(n, more=1):
    print("computing")
    return n + more
"""


class Notebook:
    """Cells that are run one after the other in one kernel."""

    def __init__(self, client: BlockingKernelClient) -> None:
        self._client = client

    def run(self, cell: str) -> dict[str, Any]:
        """Run a cell; what it showed by kind: a result's forms, ``stdout``, ``stderr``."""
        shown: dict[str, Any] = {}

        def hear(message: dict[str, Any]) -> None:
            content = message["content"]
            match message["msg_type"]:
                case "execute_result":
                    shown.update(content["data"])
                case "stream":
                    shown[content["name"]] = shown.get(content["name"], "") + content["text"]
                case "error":
                    shown["error"] = content["ename"]
                    shown["frames"] = "\n".join(content["traceback"])

        self._client.execute_interactive(cell, timeout=60, output_hook=hear)
        return shown


@pytest.fixture
def notebook(tmp_path, monkeypatch) -> Iterator[Notebook]:
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    manager, client = start_new_kernel(kernel_name="python3", cwd=str(tmp_path))
    try:
        yield Notebook(client)
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


def test_a_notebook_shows_futures_graphs_and_builds(notebook):
    named = notebook.run(DEFINED + "plus(1)")
    assert "results are kept in" in named["stderr"]  # Said once.
    assert "not run yet" in named["text/html"] and "<Future plus" in named["text/plain"]

    # Of an error the cell's own lines are shown, and none of merkl's.
    wrong = notebook.run("def wrong():\n    return plus(1, 2, 3)\nwrong()")
    assert wrong["error"] == "CallError" and wrong["frames"].count("Cell") == 2
    assert "merkl/python" not in wrong["frames"]

    # The kernel runs a loop of asyncio, in which cells may wait.
    built = notebook.run(
        "import asyncio; await asyncio.sleep(0); built = merkl.build(plus(plus(1)), jobs=2); built"
    )
    assert built["text/plain"].startswith("<build: 2 ran in ")
    assert notebook.run("built.values") == {"text/plain": "[3]"}

    shown = notebook.run("plus(plus(1))")
    assert "cached" in shown["text/html"] and "<td>3</td>" in shown["text/html"]
    assert "<svg" in notebook.run("merkl.graph(plus(plus(1)))")["image/svg+xml"]

    edited = notebook.run(DEFINED.replace("n + more", "n - more") + "plus(1).eval()")
    assert (edited["text/plain"], edited.get("error")) == ("0", None)
    assert notebook.run("bool(plus(1))")["error"] == "FutureAccessError"
