"""The shell completes commands and the values of options."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from napari_amil.cli import app


@pytest.mark.parametrize(
    ("typed", "wanted"),
    [
        ("napari-amil exp", ["explore", "export"]),
        ("napari-amil export scored --format s", ["spatialdata"]),
        ("napari-amil pretrain smears --hold", ["--hold-out-fold"]),
    ],
)
def test_bash_completes(typed: str, wanted: list[str]) -> None:
    words = {"COMP_WORDS": typed, "COMP_CWORD": str(len(typed.split()) - 1)}
    done = CliRunner().invoke(
        app, [], prog_name="napari-amil", env={"_NAPARI_AMIL_COMPLETE": "complete_bash", **words}
    )
    assert done.stdout.split() == wanted
