"""Documents for developers: every file and folder that they name exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "napari_amil"
TOP = {path.name for path in PACKAGE.iterdir() if path.is_dir()} | {"docs", "tests", "src", "benchmarks"}


def named_paths(document: str) -> list[str]:
    """Return what stands in backticks and looks like a path below the package or the repository."""
    code = re.findall(r"`([\w./]+/[\w./]*)(?:[:`])", (ROOT / document).read_text(encoding="utf-8"))
    return sorted({path for path in code if path.split("/")[0] in TOP})


@pytest.mark.parametrize("document", ["docs/architecture.md", "CONTRIBUTING.md"])
def test_every_named_file_exists(document: str) -> None:
    paths = named_paths(document)
    assert len(paths) > 3
    assert [path for path in paths if not (PACKAGE / path).exists() and not (ROOT / path).exists()] == []
