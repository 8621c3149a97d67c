"""Every Python example of the documentation runs, and prints what the page says."""

from __future__ import annotations

import io
import re
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
_FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(page: Path) -> list[tuple[str, str]]:
    """Return language and text of the fenced blocks of a page."""
    return _FENCE.findall(page.read_text(encoding="utf-8"))


PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
WITH_PYTHON = [page for page in PAGES if any(kind == "python" for kind, _ in blocks(page))]


def masked(text: str) -> list[str]:
    """Return the words of a printed text; fractions are masked, since they depend on the model."""
    return re.sub(r"-?\d+\.\d+(e-?\d+)?", "#", text).split()


@pytest.mark.parametrize("page", WITH_PYTHON, ids=lambda page: page.stem)
@pytest.mark.filterwarnings("ignore::napari_amil.AmilWarning")
def test_the_examples_of_a_page_run_and_print_what_it_says(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    parts = blocks(page)
    for number, (kind, text) in enumerate(parts):
        if kind != "python":
            continue
        printed = io.StringIO()
        with redirect_stdout(printed):
            exec(compile(text, f"{page.name}, example {number}", "exec"), names)
        if number + 1 < len(parts) and parts[number + 1][0] == "text":
            assert masked(printed.getvalue()) == masked(parts[number + 1][1])


def test_there_are_examples_to_run() -> None:
    assert "python" in [page.stem for page in WITH_PYTHON]
