"""The notebooks run in a kernel of their own, show what they hold, and their code is typed."""

from __future__ import annotations

import sys
from pathlib import Path

import mypy.api
import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "examples" / "notebooks").glob("*.ipynb"))


def shown(book: nbformat.NotebookNode) -> list[list[str]]:
    """Return what each code cell shows, ``text`` or ``image``; numbers and words depend on the model."""
    kinds = []
    for cell in book.cells:
        outputs = [one for one in cell.get("outputs", []) if one.get("name") != "stderr"]
        pictures = [any(kind.startswith("image/") for kind in one.get("data", {})) for one in outputs]
        kinds.append(["image" if picture else "text" for picture in pictures])
    return kinds


def test_there_is_one_for_a_field_a_cohort_and_a_training() -> None:
    assert [path.stem for path in NOTEBOOKS] == ["one-cohort", "one-field", "train-on-own-folders"]


@pytest.mark.enable_socket  # a kernel is spoken to over ports of this machine
@pytest.mark.filterwarnings("default")  # those of Jupyter's own packages
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_and_shows_what_it_holds(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    book = nbformat.read(path, as_version=4)
    wanted = shown(book)
    assert ["image"] in wanted or path.stem == "train-on-own-folders"
    NotebookClient(book, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    assert shown(book) == wanted


def test_the_code_of_the_notebooks_is_typed(tmp_path: Path) -> None:
    for path in NOTEBOOKS:
        cells = nbformat.read(path, as_version=4).cells
        code = "\n".join(cell.source for cell in cells if cell.cell_type == "code")
        (tmp_path / f"{path.stem.replace('-', '_')}.py").write_text(code + "\n", encoding="utf-8")
    options = ["--config-file", str(ROOT / "pyproject.toml"), "--python-executable", sys.executable]
    said, errors, status = mypy.api.run([*options, "--cache-dir", str(ROOT / ".mypy_cache"), str(tmp_path)])
    assert (status, errors) == (0, ""), said
