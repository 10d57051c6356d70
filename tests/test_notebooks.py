"""Notebooks: committed without outputs, executed to the end, in time, and each asserts its claim."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import nbformat
import pytest
from ipykernel.kernelspec import write_kernel_spec
from nbclient import NotebookClient

from tests.browser.chromium import chromium
from tests.browser.lab import CLAIM_S, IN_A_PAGE
from tests.compiled import compile_once
from tests.quiet import complaints

NOTEBOOKS = sorted((Path(__file__).resolve().parent.parent / "notebooks").glob("*.ipynb"))


def read(path: Path) -> Any:
    """Return a notebook, checked against its schema."""
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    return notebook


def code_cells(notebook: Any) -> list[Any]:
    """Return the cells with code."""
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def test_there_are_notebooks() -> None:
    """A wrong folder would make every other test here pass."""
    assert NOTEBOOKS


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_is_stripped_and_complete(path: Path) -> None:
    """No outputs, a kernel by name (without one a dialog covers the menus), a question as title, a claim at the end."""
    notebook = read(path)
    assert notebook.metadata.kernelspec.name == "python3"
    assert notebook.cells[0].source.startswith("# ") and notebook.cells[0].source.splitlines()[0].endswith("?")
    assert all(not cell.outputs and cell.execution_count is None for cell in code_cells(notebook))
    assert "assert " in notebook.cells[-1].source


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_runs_to_its_claim(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every cell runs on the kernel of this interpreter without an error or a warning, within a minute."""
    if path.stem in IN_A_PAGE and chromium() is not None:
        pytest.skip("runs to its claim in a page")
    # Not the kernel that happens to be registered as python3, which may be another interpreter's: this path is searched first.
    write_kernel_spec(tmp_path / "kernels" / "python3")
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))
    monkeypatch.setenv("GRINDER_HOME", str(tmp_path / "home"))
    work = tmp_path / "work"
    work.mkdir()
    notebook = read(path)
    compile_once()
    started = time.monotonic()
    NotebookClient(
        notebook, kernel_name="python3", timeout=CLAIM_S, resources={"metadata": {"path": str(work)}}
    ).execute()
    assert time.monotonic() - started < CLAIM_S
    said = [output.text for cell in code_cells(notebook) for output in cell.outputs if output.get("name") == "stderr"]
    assert not complaints("".join(said))
