"""Which edits change the code of a task: every row of the table, by really importing both versions."""

from collections.abc import Mapping
from pathlib import Path

import pytest
from edits import EDITS, Edit
from fresh import code, write


@pytest.mark.parametrize("edit", [pytest.param(e, id=e.name) for e in EDITS])
def test_the_digest_changes_exactly_when_what_runs_does(edit: Edit, tmp_path: Path) -> None:
    edited: Mapping[str, str] = {**edit.files, edit.file: edit.files[edit.file].replace(edit.old, edit.new)}
    before = code(write(tmp_path / "before", edit.files))
    again = code(write(tmp_path / "again", edit.files))
    after = code(write(tmp_path / "after", dict(edited)))
    assert again.digest == before.digest, "the same text in another directory is the same code"
    assert (after.digest != before.digest) == edit.changes


def test_the_table_has_no_row_twice() -> None:
    assert len({edit.name for edit in EDITS}) == len(EDITS) > 45
