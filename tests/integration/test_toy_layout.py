"""A cohort layout that is registered inside a test is read, checked, previewed, trained on and scored."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest
import torch

from napari_amil.core.base.events import Understood, drain
from napari_amil.core.base.settings import ModelSettings, RunSettings, TrainingSettings
from napari_amil.core.base.tables import read_table
from napari_amil.core.base.types import Bag, Cells
from napari_amil.core.cohort.layouts.layout import Listing
from napari_amil.core.cohort.layouts.registry import LAYOUTS
from napari_amil.core.cohort.smear import SynthSettings
from napari_amil.core.cohort.synth import SynthCohortSettings, write_synthetic_cohort
from napari_amil.core.instances.extract import Recipe
from napari_amil.core.instances.sources import cohort_source, opening_cohort, opening_source
from napari_amil.core.model.bundle import Bundle, load_bundle
from napari_amil.core.pipeline.training_run import Protocol, train_run
from napari_amil.core.scoring.score import score_source
from napari_amil.worker.protocol.messages import CheckCohort, ReadCohort
from napari_amil.worker.trainings import check, read_cohort

TINY = RunSettings(
    model=ModelSettings(latent_dim=8, attention_dim=4, width=4),
    training=TrainingSettings(cell_epochs=1, max_epochs=1, views=1, calibration_folds=0),
)


@dataclass(frozen=True)
class ToyLayout:
    """A table ``smear, truth, file`` with boxes ``top, left, bottom, right``."""

    summary: str = "a toy table (smear, truth, file)"
    needs: tuple[str, ...] = ("the columns smear, truth, file",)
    labels_from: str = "the column 'truth'"
    unsupported: str = ""

    def recognises(self, path: Path) -> bool:
        return path.suffix == ".toy"

    def read(self, path: Path) -> Listing:
        table = read_table(path)
        bags = []
        for name, rows in table.groupby("smear", sort=False):
            boxes = rows[["top", "left", "bottom", "right"]].to_numpy(float)
            image = rows["file"].iloc[0]
            bags.append(
                Bag(str(name), str(name), (image,), {image: Cells(boxes)}, label=rows["truth"].iloc[0])
            )
        return Listing(path.parent, bags, ("a toy",))


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Nine synthetic smears in the toy layout, which is registered for this test alone."""
    monkeypatch.setitem(LAYOUTS, "toy", ToyLayout())
    smear = SynthSettings(height=160, width=200, n_cells=10, n_platelets=1)
    listed = write_synthetic_cohort(
        tmp_path / "cohort", SynthCohortSettings(patients=3, samples=1, smear=smear)
    )
    names = {"bag": "smear", "label": "truth", "image": "file"}
    names |= {"y0": "top", "x0": "left", "y1": "bottom", "x1": "right"}
    table = pd.read_csv(listed).rename(columns=names)[list(names.values())]
    listed.unlink()
    table.to_csv(listed.with_name("smears.toy"), index=False)
    return listed.with_name("smears.toy")


def test_a_toy_layout_is_read_trained_on_and_scored(toy: Path, tmp_path: Path) -> None:
    events: list[object] = []
    found = drain(opening_cohort(toy, "control"), events.append)
    assert events == [Understood("9 bags of 9 patients, labels from the column 'truth'; a toy")]
    assert found.classes == ("control", "elliptocytosis", "spherocytosis")
    out = tmp_path / "run"
    out.mkdir()
    recipe = Recipe(Bundle(TINY), TINY, torch.device("cpu"))
    drain(train_run(cohort_source(found), recipe, out, Protocol()))
    bundle = load_bundle(out / "bundle.safetensors")
    scored = drain(
        score_source(drain(opening_source([toy], "control")), Recipe.from_bundle(bundle, None, recipe.device))
    )
    assert scored.bags["bag"].tolist() == [bag.bag for bag in found]


def test_a_toy_layout_is_previewed_and_checked(toy: Path, tmp_path: Path) -> None:
    preview = drain(read_cohort(ReadCohort(cohort=toy, out=tmp_path)))
    assert (preview.classes[0], preview.control) == ("control", "control")
    assert (preview.notes, preview.unsupported) == (("a toy",), "")
    assert len(pd.read_csv(preview.bags)) == 9
    checked = drain(check(CheckCohort(cohort=toy, control="control", settings=TINY)))
    assert {problem.severity for problem in checked.problems} == {"warning"}, checked.problems
