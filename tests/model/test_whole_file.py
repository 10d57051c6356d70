"""Files that are there whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from grinder_kit.errors import DataError
from grinder_kit.model.whole_file import draft


def test_draft_becomes_the_file_only_when_all_went_well(tmp_path: Path) -> None:
    """What fails half-way leaves the old file, and no draft; a folder is none."""
    target = tmp_path / "deep" / "x.html"
    with draft(target) as part:
        part.write_text("whole")
        assert part.suffix == ".html" and not target.exists()
    with pytest.raises(RuntimeError), draft(target) as part:
        part.write_text("half")
        raise RuntimeError
    assert target.read_text() == "whole"
    assert list(target.parent.iterdir()) == [target]
    with pytest.raises(DataError, match="is a folder"), draft(tmp_path):
        pass
