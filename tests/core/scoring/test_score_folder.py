"""Scoring into a folder: the same scores as at once, what is done is taken over, what changed is not."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from napari_amil.core.base.errors import AmilError
from napari_amil.core.base.events import Event, Failed, Step, Warned, drain
from napari_amil.core.cohort.synth import SynthCohortSettings, write_synthetic_cohort
from napari_amil.core.exchange.project import read_project
from napari_amil.core.instances.extract import Recipe
from napari_amil.core.instances.sources import Source, open_source
from napari_amil.core.pipeline.evaluate import evaluate_cohort
from napari_amil.core.pipeline.training_run import Protocol, train_run
from napari_amil.core.scoring import score_folder as portions
from napari_amil.core.scoring.detect import write_detections
from napari_amil.core.scoring.score import score_source
from napari_amil.core.scoring.score_folder import score_cohort


@pytest.fixture
def source(tmp_path: Path) -> Source:
    """Bags with cells, of few images."""
    made = SynthCohortSettings(patients=2, samples=1)
    source = open_source([write_synthetic_cohort(tmp_path / "cohort", made)], "control")
    return replace(source, cohort=replace(source.cohort, bags=source.cohort.bags[:3]))


def test_a_stopped_run_goes_on_and_gives_what_one_run_gives(
    recipe: Recipe, source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(portions, "_IMAGES_A_PORTION", 1)
    wanted = drain(score_source(source, recipe))
    out = tmp_path / "scored"
    work: Generator[object, None, object] = score_cohort(source, recipe, None, out)
    while not (out / "parts").is_dir() or not list((out / "parts").iterdir()):
        next(work)
    next(work)
    work.close()  # as a cancelled process ends
    assert not (out / "project.json").exists()
    events: list[object] = []
    found = drain(score_cohort(source, recipe, None, out), events.append)
    assert any("were scored before" in event.message for event in events if isinstance(event, Warned))
    assert found.bags["bag"].tolist() == wanted.bags["bag"].tolist()
    np.testing.assert_allclose(found.cells["anomaly"], wanted.cells["anomaly"], rtol=1e-5)
    np.testing.assert_allclose(found.embeddings, wanted.embeddings, atol=1e-5)
    assert not (out / "parts").exists()
    assert len(read_project(out).cells) == len(wanted.cells)
    again: list[object] = []
    drain(score_cohort(source, recipe, None, out), again.append)
    assert [event.total for event in again if isinstance(event, Step)] == [0]
    one = source.cohort.bags[0].images[0]
    source.files[one][0].write_text("no image")
    once_more: list[object] = []
    rest = drain(score_cohort(source, recipe, None, out), once_more.append)
    lost = {bag.bag for bag in source.cohort if one in bag.images}
    assert lost <= {event.source for event in once_more if isinstance(event, Failed)}
    assert set(rest.bags["bag"]) == {bag.bag for bag in source.cohort} - lost


def test_what_failed_in_a_bag_is_said_again_when_it_is_taken_over(
    recipe: Recipe, source: Source, tmp_path: Path
) -> None:
    first, second = (bag.images[0] for bag in source.cohort.bags[:2])
    joined = replace(source.cohort.bags[0], images=(first, second), cells={}, cell_type={})
    source = replace(source, cohort=replace(source.cohort, bags=(joined, source.cohort.bags[2])))
    source.files[second][0].write_text("no image")
    told = []
    for _ in range(2):
        events: list[object] = []
        found = drain(score_cohort(source, recipe, None, tmp_path / "scored"), events.append)
        assert joined.bag in found.bags["bag"].tolist()
        told.append([event for event in events if isinstance(event, Failed)])
    assert [failed.source for failed in told[0]] == [second]
    assert told[1] == told[0]


def test_results_beside_a_cohort_never_replace_its_own_table(
    recipe: Recipe, source: Source, tmp_path: Path
) -> None:
    table = tmp_path / "mine" / "cells.csv"
    table.parent.mkdir()
    table.write_text("bag,patient,label,image,y0,x0,y1,x1\nb,p,control,a.png,1,1,9,9\n")
    before = table.read_bytes()
    works: tuple[Generator[Event, None, object], ...] = (
        score_cohort(source, recipe, None, table.parent, replacing=True),
        evaluate_cohort(source, recipe, None, table.parent, replacing=True),
        train_run(source, recipe, table.parent, Protocol()),
    )
    for work in works:
        with pytest.raises(AmilError, match=r"cells\.csv' was not written by this program and would be lost"):
            drain(work)
    with pytest.raises(AmilError, match="would be lost"):
        write_detections({}, table.parent, "csv")
    assert table.read_bytes() == before
