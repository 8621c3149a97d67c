"""Clinical values and acquisition columns travel with their bags into the batches."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from napari_amil.core.base.events import Event, drain
from napari_amil.core.base.types import Bag, Cohort
from napari_amil.core.cohort.layouts.registry import read_cohort
from napari_amil.core.cohort.smear import SynthSettings
from napari_amil.core.cohort.synth import SynthCohortSettings, write_synthetic_cohort
from napari_amil.core.instances.extract import Recipe, measured_instances
from napari_amil.core.instances.gather import gather, without_cut_cells
from napari_amil.core.instances.sources import cohort_source
from napari_amil.core.mil.batch import BagArrays
from napari_amil.core.mil.covariates import Covariates
from napari_amil.core.pipeline.train import as_arrays

BAGS = (
    Bag("a", "a", (), clinical={"age": 30.0, "sex": "f"}, acquisition={"site": "Ulm"}),
    Bag("b", "b", (), clinical={"sex": "m"}, acquisition={"stain": "Giemsa"}),
    Bag("c", "c", (), clinical={"age": 50.0}),
)


def test_values_are_raw_and_missing_ones_are_nan_or_none() -> None:
    known = Covariates.from_bags(BAGS)
    assert list(known.numbers) == ["age"]
    np.testing.assert_array_equal(known.numbers["age"], [30.0, np.nan, 50.0])
    assert {name: values.tolist() for name, values in known.categories.items()} == {"sex": ["f", "m", None]}
    assert {name: values.tolist() for name, values in known.acquisition.items()} == {
        "site": ["Ulm", None, None],
        "stain": [None, "Giemsa", None],
    }


def test_they_follow_their_bags_into_a_batch() -> None:
    rows = tuple(np.array([number]) for number in range(3))
    crops = np.zeros((3, 3, 2, 2), np.uint8)
    known = Covariates.from_bags(BAGS)
    bags = BagArrays(crops, rows, np.array([0, 1, 1]), tuple("abc"), ("control", "ill"), "control", known)
    batch = bags.take([2, 0]).batch([1, 0])
    assert batch.covariates.numbers["age"].tolist() == [30.0, 50.0]
    assert batch.covariates.categories["sex"].tolist() == ["f", None]
    assert batch.covariates.acquisition["site"].tolist() == ["Ulm", None]
    assert replace(bags, covariates=Covariates()).batch([0]).covariates.numbers == {}
    with pytest.raises(ValueError, match="describe another number"):
        replace(bags, covariates=known.take([0]))


def test_a_cohort_with_a_clinical_table_brings_them_to_training(recipe: Recipe, tmp_path: Path) -> None:
    smear = SynthSettings(height=120, width=160, n_cells=9, n_platelets=0)
    made = SynthCohortSettings(patients=2, samples=1, diseases={"ill": {"spherocyte": 0.3}}, smear=smear)
    listed = write_synthetic_cohort(tmp_path / "cohort", made)
    patients = sorted({bag.patient for bag in read_cohort(listed, "control")})
    lines = [f"{patient},{30 + number},{'Ulm' if number else ''}" for number, patient in enumerate(patients)]
    listed.with_name("clinical.csv").write_text("\n".join(["patient,age,site", *lines]) + "\n")
    cohort: Cohort = read_cohort(listed, "control")
    work: Generator[Event, None, object] = gather(cohort_source(cohort), recipe, measured_instances)
    bags = as_arrays(without_cut_cells(drain(work)), embed_measurements=False)
    known = bags.batch(np.arange(len(bags))).covariates
    by_patient = {
        p: (known.numbers["age"][n], known.acquisition["site"][n]) for n, p in enumerate(bags.patients)
    }
    assert by_patient == {p: (30.0 + n, "Ulm" if n else None) for n, p in enumerate(patients)}
