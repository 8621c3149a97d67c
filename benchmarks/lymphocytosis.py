"""Images, clinical values and both on synthetic white cells of which the carrier of the label is known.

``python -m benchmarks.lymphocytosis [--patients 60] [--tests 300]`` draws a cohort for each carrier of the
label, trains four presets with a small network on one core, and prints a table of other patients:
balanced accuracy at the threshold that was fixed on the training patients, area under the ROC curve, and
the mean weight of the images. The last lines have the test images of ``both`` in another stain.
"""

from __future__ import annotations

import argparse
import math
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch

from napari_amil.core.base.events import drain
from napari_amil.core.base.presets import preset
from napari_amil.core.base.settings import RunSettings
from napari_amil.core.base.types import Floats
from napari_amil.core.cohort.cell_image_synth import (
    Carrier,
    CellImageCohortSettings,
    writing_cell_image_cohort,
)
from napari_amil.core.cohort.layouts.registry import read_cohort
from napari_amil.core.evaluation.metrics import area_under_roc
from napari_amil.core.instances.extract import Recipe, measured_instances
from napari_amil.core.instances.gather import gather
from napari_amil.core.instances.sources import Source, cohort_source
from napari_amil.core.mil.batch import BagArrays
from napari_amil.core.mil.class_calibration import class_probability
from napari_amil.core.mil.instances import measurements_of
from napari_amil.core.model.bundle import Bundle
from napari_amil.core.model.scorer import Scorer
from napari_amil.core.pipeline.train import as_arrays, train_scorer
from napari_amil.core.training.steps import score_bags

PRESETS = ("lympho-images", "lympho-clinical", "lympho-concat", "lympho-moe")
OTHER_STAINS = ((1.45, 0.8, 1.15), (0.7, 1.2, 0.9), (1.1, 1.3, 0.7), (0.8, 0.75, 0.85))
"""Factors on the optical density in red, green and blue: the test images as acquired again and again."""
CPU = torch.device("cpu")
SMALL: dict[str, Any] = {
    "model": {"width": 8, "latent_dim": 8, "orientations": 1, "measurement_columns": 2, "bag_heads": 2},
    "training": {"cell_epochs": 8, "max_epochs": 20, "calibration_folds": 3, "views": 1},
    "crop": {"size_px": 32},
    "control": "0",
}
_CELLS = (8, 12)


def small(name: str) -> RunSettings:
    """Return a preset with a network that one core trains in seconds."""
    return preset(name).changed(SMALL)


def drawn(folder: Path, patients: int, first: int, carrier: Carrier, **values: Any) -> Source:  # noqa: ANN401
    """Return a synthetic cohort, written into a folder."""
    settings = CellImageCohortSettings.parse(
        {"patients": patients, "cells": _CELLS, "size_px": 48, "carrier": carrier, "first": first, **values}
    )
    drain(writing_cell_image_cohort(folder, settings))
    return cohort_source(read_cohort(folder))


def in_memory(source: Source, recipe: Recipe) -> BagArrays:
    """Return the cells of a cohort as the networks see them."""
    gathered = drain(gather(source, recipe, measured_instances))
    return as_arrays(gathered, embed_measurements=True)


def probabilities(scorer: Scorer, bags: BagArrays) -> tuple[Floats, float]:
    """Return the probability of disease of each bag, and the mean weight of the images."""
    measured = measurements_of(bags.instances[np.concatenate(bags.rows)])
    output = score_bags(scorer.model, scorer.anomaly.gaussian, bags, CPU, measured)[0]
    probability = class_probability(output.logits.double().numpy(), scorer.class_calibration)
    mixed = output.fusion is not None and output.fusion.kind == "moe"
    weight = float(output.fusion.image_weight.mean()) if output.fusion is not None and mixed else math.nan
    return probability[:, 1 - scorer.control_label], weight


def balanced_accuracy(labels: np.ndarray[Any, Any], called: np.ndarray[Any, Any]) -> float:
    """Return the mean of sensitivity and specificity."""
    ill = labels == 1
    return float((called[ill].mean() + (~called[~ill]).mean()) / 2)


def _spread(p: Floats, labels: np.ndarray[Any, Any], threshold: float, again: list[Floats]) -> str:
    """Return in words how the probabilities of the patients ``(n,)`` differ between stains."""
    spread = np.std([p, *again], axis=0)
    accuracies = [balanced_accuracy(labels, other >= threshold) for other in again]
    changed = np.mean([(other >= threshold) != (p >= threshold) for other in again])
    return (
        f"balanced {min(accuracies):.3f} to {max(accuracies):.3f}, spread of a patient's probability "
        f"{spread.mean():.4f} (at most {spread.max():.3f}), other answer {changed:.3f}"
    )


def lines(patients: int, tests: int, carriers: tuple[Carrier, ...], seed: int) -> Iterator[str]:
    """Yield the lines of the table."""
    yield f"{patients} patients to learn from, {tests} others to test, {_CELLS[0]} to {_CELLS[1]} cells each"
    yield f"{'carrier':10}{'preset':18}{'balanced':>9}{'AUROC':>8}{'threshold':>11}{'images':>8}{'CPU s':>8}"
    for carrier in carriers:
        with tempfile.TemporaryDirectory() as scratch:
            train = drawn(Path(scratch, "train"), patients, 0, carrier, seed=seed)
            test = drawn(Path(scratch, "test"), tests, patients, carrier, seed=seed)
            recipe = Recipe.for_training(Bundle(RunSettings()), small("lympho-moe"), CPU)
            seen = in_memory(test, recipe)
            again = []
            for number, tint in enumerate(OTHER_STAINS if carrier == "both" else ()):
                other = drawn(Path(scratch, str(number)), tests, patients, carrier, seed=seed, tint=tint)
                again.append(in_memory(other, recipe))
            changes = []
            for name in PRESETS:
                began = time.process_time()
                own = replace(recipe, settings=small(name))
                scorer = drain(train_scorer(train, own)).need_scorer()
                spent = time.process_time() - began
                p, weight = probabilities(scorer, seen)
                threshold = scorer.threshold
                labels = seen.labels
                accuracy = balanced_accuracy(labels, p >= threshold)
                area = area_under_roc(labels == 1, p)
                yield (
                    f"{carrier:10}{name:18}{accuracy:9.3f}{area:8.3f}{threshold:11.3f}{weight:8.2f}{spent:8.0f}"
                )
                if again:
                    others = [probabilities(scorer, bags)[0] for bags in again]
                    changes.append(f"  {name:18}{_spread(p, labels, threshold, others)}")
            if changes:
                yield "the test images in other stains:"
                yield from changes


def main() -> None:
    """Print the table as it is made."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--patients", type=int, default=60, help="Patients to learn from.")
    parser.add_argument("--tests", type=int, default=300, help="Patients of the test.")
    parser.add_argument("--carriers", nargs="+", choices=get_args(Carrier), default=list(get_args(Carrier)))
    parser.add_argument("--seed", type=int, default=0, help="Seed of the cohorts.")
    given = parser.parse_args()
    torch.set_num_threads(1)
    for line in lines(given.patients, given.tests, tuple(given.carriers), given.seed):
        print(line, flush=True)


if __name__ == "__main__":
    main()
