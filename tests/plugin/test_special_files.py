"""A named pipe where a file of results should be is missing, or refused at once: opening it never ends."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from napari_amil.core.base.errors import AmilError
from napari_amil.plugin.cohorts.open_results import stored_layout
from napari_amil.plugin.cohorts.scored_folder import _read_table
from napari_amil.plugin.training.detector_results import _read
from napari_amil.plugin.training.run_folders import RunRegistry
from napari_amil.plugin.training.run_results import metric_words, patient_table, read_row

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no named pipes in folders")


@pytest.mark.parametrize(
    ("name", "read", "missing"),
    [
        ("metrics.json", metric_words, ""),
        ("bags.csv", patient_table, None),
        ("table.csv", read_row, None),
        ("examples.json", _read, None),
        ("map-tsne.npy", lambda path: stored_layout(path.parent, "tsne"), None),
        ("runs.json", lambda path: RunRegistry(path.parent).folders(), []),
    ],
)
def test_a_named_pipe_counts_as_missing(
    tmp_path: Path, name: str, read: Callable[[Path], object], missing: object
) -> None:
    os.mkfifo(tmp_path / name)
    assert read(tmp_path / name) == missing


def test_a_named_pipe_is_no_table_of_scores(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "cells.csv")
    with pytest.raises(AmilError, match=r"cells\.csv' is a named pipe, not a file"):
        _read_table(tmp_path / "cells.csv")


@pytest.mark.parametrize("content", ["[1, 2]", "3", '"x"', "{", "null"])
def test_metrics_that_are_no_table_say_nothing(tmp_path: Path, content: str) -> None:
    (tmp_path / "metrics.json").write_text(content)
    assert metric_words(tmp_path / "metrics.json") == ""
