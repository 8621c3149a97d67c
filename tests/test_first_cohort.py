"""The commands of the page on a first cohort exist, understand its cohort, and say what the page shows.

`docs/make_first_cohort.py` runs them to the end, in minutes, and writes what they print.
"""

from __future__ import annotations

import importlib.util
import re
import shlex
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from napari_amil.cli import app
from napari_amil.core import pipeline
from napari_amil.core.base.settings import RunSettings

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "first-cohort.md").read_text(encoding="utf-8")
DRAWN = {"patients": 3, "samples": 1, "smear": {"height": 120, "width": 160, "n_cells": 8, "n_platelets": 0}}
SHORT = {"synth", "check"}
DRY = {"score", "train", "evaluate"}


@pytest.fixture(scope="module")
def page() -> Any:
    """The script that writes the page."""
    spec = importlib.util.spec_from_file_location("first_cohort", ROOT / "docs" / "make_first_cohort.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def without_numbers(line: str) -> str:
    return re.sub(r"[\d.,]+", "#", line)


def test_the_commands_of_the_page_say_what_it_shows(
    page: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    drawn = partial(pipeline.SynthCohortSettings, **DRAWN)
    monkeypatch.setattr(pipeline, "SynthCohortSettings", drawn)
    Path("run").mkdir()
    Path("run", "bundle.safetensors").symlink_to(pipeline.starter_path())  # what `train` would leave
    parts = page.blocks(PAGE)
    seen = []
    for number, (kind, content) in enumerate(parts):
        if kind == "yaml":
            Path(page.settings_file(content)).write_text(content)
            assert RunSettings.from_yaml(Path(page.settings_file(content))).training.max_epochs == 12
        if kind != "bash":
            continue
        shown = parts[number + 1][1].splitlines()
        for line in content.splitlines():
            name, *options = shlex.split(line)[1:]
            seen.append(name)
            get_command(app).commands[name].make_context(name, options.copy())  # type: ignore[attr-defined]
            if name in SHORT | DRY:
                dry = ["--dry-run"] if name in DRY else []
                done = CliRunner().invoke(app, [name, *options, *dry], catch_exceptions=False)
                assert done.exit_code == 0, (line, done.output)
                assert without_numbers(done.output.splitlines()[0]) == without_numbers(shown[0]), line
    assert [name for name in seen if name in SHORT | DRY] == ["synth", "check", "score", "train", "evaluate"]
    assert seen[5:] == ["evaluate", "report", "explore", "export", "classify"]


def test_epochs_are_left_out_of_what_is_shown(page: Any) -> None:
    assert page.shown("a\n3 of 80: training loss 1.2\n\nb\n") == "a\nb\n"
