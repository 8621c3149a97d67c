"""A made-up cohort is written whole, and both of its layouts tell the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from napari_amil.core.base.errors import CohortError
from napari_amil.core.cohort.checks import check_cohort
from napari_amil.core.cohort.layouts.registry import read_cohort
from napari_amil.core.cohort.synth import SynthCohortSettings, SynthSettings, write_synthetic_cohort


def test_a_cohort_is_read_back_both_ways(tmp_path: Path) -> None:
    settings = SynthCohortSettings(
        patients=3, samples=2, smear=SynthSettings(height=96, width=128, n_cells=8)
    )
    path = write_synthetic_cohort(tmp_path / "made up", settings)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["made up"]
    listed, folders = read_cohort(path), read_cohort(path.parent)
    assert [(bag.bag, bag.patient, bag.label, bag.images) for bag in listed] == [
        (bag.bag, bag.patient, bag.label, bag.images) for bag in folders
    ]
    assert listed.classes == ("control", "elliptocytosis", "spherocytosis")
    assert len(listed) == 18
    assert [bag.fold for bag in listed][:6] == [0, 0, 1, 1, 2, 2]
    types = {label: set() for label in listed.classes}
    for bag in listed:
        types[bag.label] |= {name for names in bag.cell_type.values() for name in names}
    assert types["control"] == {"normal"}
    assert "elliptocyte" in types["elliptocytosis"]
    assert [
        problem for problem in check_cohort(listed, embedding_dim=48) if problem.severity == "error"
    ] == []


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(CohortError, match="not an empty folder"):
        write_synthetic_cohort(tmp_path)
    assert (tmp_path / "mine.txt").read_text() == "keep"
