"""The code of the notebooks runs cell by cell, shows what they hold, and is typed."""

from __future__ import annotations

import ast
import io
import json
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import mypy.api
import pytest

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "examples" / "notebooks").glob("*.ipynb"))


def code_cells(path: Path) -> list[dict[str, Any]]:
    """Return the cells of a notebook that hold code."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return [cell for cell in cells if cell["cell_type"] == "code"]


def held(cell: dict[str, Any]) -> list[str]:
    """Return what a cell shows as it is stored: ``text`` or ``image``; the rest depends on the model."""
    pictures = [any(kind.startswith("image/") for kind in out.get("data", {})) for out in cell["outputs"]]
    return ["image" if picture else "text" for picture in pictures]


def shown(code: str, names: dict[str, Any]) -> list[str]:
    """Run a cell as a notebook does, and return what it shows: printed text, and its last expression."""
    *body, last = ast.parse(code).body
    printed, value = io.StringIO(), None
    with redirect_stdout(printed):
        if isinstance(last, ast.Expr):
            exec(compile(ast.Module(body, []), "<cell>", "exec"), names)
            value = eval(compile(ast.Expression(last.value), "<cell>", "eval"), names)
        else:
            exec(compile(code, "<cell>", "exec"), names)
    kinds = ["text"] if printed.getvalue() else []
    if value is not None:
        picture = getattr(value, "_repr_png_", None)
        kinds.append("image" if picture is not None and picture()[:4] == b"\x89PNG" else "text")
    return kinds


def source(cell: dict[str, Any]) -> str:
    """Return the code of a cell."""
    return "".join(cell["source"])


def test_there_is_one_for_a_field_a_cohort_and_a_training() -> None:
    assert [path.stem for path in NOTEBOOKS] == ["one-cohort", "one-field", "train-on-own-folders"]


@pytest.mark.filterwarnings("ignore::napari_amil.AmilWarning")
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_and_shows_what_it_holds(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    cells = code_cells(path)
    assert [shown(source(cell), names) for cell in cells] == [held(cell) for cell in cells]


def test_the_code_of_the_notebooks_is_typed(tmp_path: Path) -> None:
    for path in NOTEBOOKS:
        code = "\n".join(source(cell) for cell in code_cells(path))
        (tmp_path / f"{path.stem.replace('-', '_')}.py").write_text(code + "\n", encoding="utf-8")
    options = ["--config-file", str(ROOT / "pyproject.toml"), "--python-executable", sys.executable]
    said, errors, status = mypy.api.run([*options, "--cache-dir", str(ROOT / ".mypy_cache"), str(tmp_path)])
    assert (status, errors) == (0, ""), said
