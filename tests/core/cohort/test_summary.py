"""What a cohort holds before an image is read, and what a training of it costs."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
import torch

from napari_amil.core.base.errors import CohortError
from napari_amil.core.base.events import drain
from napari_amil.core.base.settings import RunSettings
from napari_amil.core.cohort.layouts.registry import class_names, read_cohort
from napari_amil.core.cohort.summary import (
    bag_table,
    clinical_columns,
    guess_control,
)
from napari_amil.core.cohort.synth import SynthCohortSettings, write_synthetic_cohort
from napari_amil.core.instances.extract import Recipe
from napari_amil.core.instances.sources import open_source
from napari_amil.core.model.bundle import Bundle
from napari_amil.core.pipeline.estimate import estimating


@pytest.fixture(scope="module")
def listed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_synthetic_cohort(
        tmp_path_factory.mktemp("overview") / "cohort", SynthCohortSettings(patients=3, samples=2)
    )


def test_classes_are_named_before_anyone_knows_the_controls(listed: Path) -> None:
    names = ["control", "elliptocytosis", "spherocytosis"]
    assert class_names(listed) == class_names(listed.parent) == names
    with pytest.raises(CohortError, match="cannot be found"):
        class_names(listed / "absent")


@pytest.mark.parametrize(
    ("names", "control"),
    [(["ill", "Healthy"], "Healthy"), (["normal", "control"], "control"), (["a", "b"], None)],
)
def test_controls_are_guessed_by_their_usual_names(names: list[str], control: str | None) -> None:
    assert guess_control(names) == control


def test_each_bag_is_a_line(listed: Path) -> None:
    truth = pd.read_csv(listed)
    table = bag_table(read_cohort(listed))
    assert len(table) == 18
    assert table["cells"].sum() == len(truth)
    assert table.groupby("label")["patient"].nunique().tolist() == [3, 3, 3]
    first = table.iloc[0]
    assert (first["bag"], first["fold"], first["images"]) == ("control/p00/s0", 0, 1)
    assert bag_table(read_cohort(listed.parent))["cells"].isna().all()
    assert clinical_columns(read_cohort(listed)) == []


def test_an_estimate_measures_some_cells_and_counts_all(listed: Path) -> None:
    settings = RunSettings.parse(
        {
            "model": {
                "measurement_columns": 0,
                "bag_heads": 1,
                "latent_dim": 4,
                "width": 4,
                "orientations": 1,
            },
            "training": {"cell_epochs": 3, "max_epochs": 5, "calibration_folds": 0},
        }
    )
    recipe = Recipe(Bundle(settings), settings, torch.device("cpu"))
    source = open_source([listed], "control")
    one, three = (drain(estimating(source, recipe, n)) for n in (1, 3))
    assert one.n_cells == len(pd.read_csv(listed))
    assert 0 < one.n_measured <= one.n_cells / 2
    assert 0 < one.seconds < three.seconds
    assert one.gigabytes > 0.1
