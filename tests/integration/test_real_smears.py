"""The shipped bundle on slides and patients that it never saw: the figures on its card hold."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from napari_amil.core.base.events import Failed, drain
from napari_amil.core.detection.validation import DetectionCount, count_centres
from napari_amil.core.pipeline import (
    Recipe,
    cohort_source,
    detect_field,
    load_bundle,
    open_source,
    read_cohort,
    read_image,
    score_source,
    sources_by_fold,
)
from napari_amil.core.pipeline.evaluate import evaluate_scored

HELD_OUT = 2


@pytest.fixture(scope="module")
def starter() -> Recipe:
    return Recipe.from_bundle(load_bundle(), None, torch.device("cpu"))


def test_cells_of_held_out_slides_are_found(chula: Path, starter: Recipe) -> None:
    bags = pd.read_csv(chula / "bags.csv")
    held_out = set(bags.loc[bags["fold"] == HELD_OUT, "image"])
    labelled = pd.read_csv(chula / "cells.csv").groupby("image")
    exhaustive = [name for name, rows in labelled if name in held_out and rows["exhaustive"].all()]
    others = [name for name, rows in labelled if name in held_out and not rows["exhaustive"].all()]
    total = DetectionCount()
    for name in [*exhaustive, *others[::8]]:
        rows = labelled.get_group(name)
        cells = drain(detect_field(read_image(chula / name), starter)).select(starter.settings.selection)
        total += count_centres(cells, rows[["y", "x"]].to_numpy(np.float64), bool(rows["exhaustive"].all()))
    assert total.n_truth > 900
    assert total.recall >= 0.97
    assert total.precision >= 0.96
    assert total.n_doubled <= 0.01 * total.n_truth


def test_cells_and_bags_of_held_out_patients_are_scored(chula: Path, starter: Recipe) -> None:
    source = sources_by_fold(cohort_source(read_cohort(chula / "bags.csv")), HELD_OUT)[1]
    metrics = evaluate_scored(drain(score_source(source, starter)), starter.bundle.need_scorer().classes)
    assert metrics["n_bags"] == 98
    assert metrics["cell_auroc_anomaly"] >= 0.87
    assert metrics["cell_auroc_anomaly"] > metrics["cell_auroc_latent_distance"]
    assert metrics["cell_auroc_anomaly"] > metrics["cell_auroc_morph_distance"] - 0.01
    assert metrics["accuracy"] >= 0.75
    card = starter.bundle.card["results"]["scores"]
    assert metrics["cell_auroc_anomaly"] == pytest.approx(card["cell_auroc_anomaly"], abs=2e-3)
    assert metrics["accuracy"] == pytest.approx(card["accuracy"], abs=0.011)  # one bag of 98
    assert metrics["null_share_q05"] <= 0.05
    assert metrics["null_share_p05"] < 0.1
    assert metrics["held_out_over_in_sample"] < 1.7  # slides differ


@pytest.mark.parametrize("disease", ["he", "hs", "thalassemia"])
def test_fields_of_another_magnification_and_stain_are_scored(
    diseases: Path, starter: Recipe, disease: str
) -> None:
    image = sorted((diseases / disease).iterdir())[0]
    events: list[object] = []
    scored = drain(score_source(open_source([image], "control"), starter), events.append)
    assert not [event for event in events if isinstance(event, Failed)]
    cells = scored.cells
    diameters = 2 * np.sqrt(cells["area_px"] / np.pi)
    height = read_image(image).shape[0]
    assert 0.05 * height < diameters.median() < 0.12 * height
    assert len(cells) > 40
    whole = cells[~cells["touches_border"]]
    assert (whole["status"] == "scored").all()
    assert whole["anomaly"].notna().all()
