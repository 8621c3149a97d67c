"""Networks of anomaly scores are trained on controls, added to a model, and used wherever it is used."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from napari_amil.core.anomaly.reconstruction.ra import Ra
from napari_amil.core.base.errors import SettingsError
from napari_amil.core.base.events import STOP_FILE, EpochReport, Event, Step, TrainingBegan, drain
from napari_amil.core.cohort.control_folder import read_controls
from napari_amil.core.cohort.synth import SynthCohortSettings, write_synthetic_cohort
from napari_amil.core.instances.extract import Recipe
from napari_amil.core.instances.sources import Source, cohort_source, open_source
from napari_amil.core.model.bundle import Bundle, load_bundle
from napari_amil.core.pipeline.anomaly_networks import AddedNetworks, train_anomaly
from napari_amil.core.pipeline.recalibrate import calibrate
from napari_amil.core.pipeline.twin_growth import SHEET
from napari_amil.core.scoring.score import score_source

CPU = torch.device("cpu")
COLUMNS = ["anomaly_ra", "anomaly_ra_percentile", "anomaly_ra_p", "anomaly_ra_q"]
SMALL: dict[str, Any] = {"size_px": 16, "widths": [4, 8], "latent_dim": 4, "batch_size": 16, "steps": 8}
WANTED = AddedNetworks(("ra",), 3, tuple(SMALL.items()))


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A synthetic cohort of three patients in each of two classes."""
    wanted = SynthCohortSettings(patients=3, samples=1, diseases={"ill": {"spherocyte": 0.3}})
    return write_synthetic_cohort(tmp_path_factory.mktemp("cohort"), wanted)


@pytest.fixture
def known(small_bundle: Bundle) -> Bundle:
    """The small bundle without a detector: the cohort lists its cells."""
    return replace(small_bundle, detector=None)


def controls_of(cohort: Path) -> Source:
    return cohort_source(read_controls(cohort, "control"))


def added(bundle: Bundle, cohort: Path, out: Path, said: list[Event], wanted: AddedNetworks = WANTED) -> Any:
    out.mkdir(exist_ok=True)
    work = train_anomaly(controls_of(cohort), Recipe.from_bundle(bundle, None, CPU), out, wanted)
    return drain(work, said.append)


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[set[str]]:
    """Patients of each fit."""
    fit, found = Ra.fit, list[set[str]]()

    def noted(self: Ra, controls: Any, *rest: Any) -> Any:
        found.append(set(controls.patients))
        return fit(self, controls, *rest)

    monkeypatch.setattr(Ra, "fit", noted)
    return found


def test_the_score_of_a_network_joins_a_model_and_the_rest_stays(
    known: Bundle, cohort: Path, tmp_path: Path, seen: list[set[str]]
) -> None:
    source, said = open_source([cohort], "control"), list[Event]()
    before = drain(score_source(source, Recipe.from_bundle(known, None, CPU)))
    added(known, cohort, tmp_path, said)
    with Image.open(tmp_path / SHEET) as sheet:  # the cell, epochs 1, 2, 4 ... and the difference
        assert sheet.width >= 3 * sheet.height / 7
        assert np.asarray(sheet.convert("RGB")).std() > 10
    names = [(e.name, e.number, e.total) for e in said if isinstance(e, TrainingBegan)]
    assert names == [(f"ra without part {i + 1}", i + 1, 4) for i in range(3)] + [("ra", 4, 4)]
    assert [len(seen[-1] - some) for some in seen] == [1, 1, 1, 0]  # no part was seen by its own network
    assert set().union(*(seen[-1] - some for some in seen)) == seen[-1]
    parts = pd.read_csv(tmp_path / "folds.csv")
    assert sorted(parts["part"]) == [0, 1, 2]  # whole patients, one in each
    bundle = load_bundle(tmp_path / "bundle.safetensors")
    assert bundle.settings.model.channels == ("latent_distance", "morph_distance", "ra")
    anomaly = bundle.need_scorer().anomaly
    assert anomaly.calibrations["anomaly_ra"].n_patients == 3
    card = bundle.card["networks"]["ra"]
    assert (card["perceptual"], card["n_cells"]) == ("pyramid", parts["n_cells"].sum())
    assert json.loads((tmp_path / "metrics.json").read_text())["networks"]["ra"] == card

    scored = drain(score_source(source, Recipe.from_bundle(bundle, None, CPU)))
    pd.testing.assert_frame_equal(scored.cells[before.cells.columns], before.cells)  # no other column moved
    cells = scored.cells.dropna(subset="anomaly")
    assert cells[COLUMNS].notna().all(axis=None)
    ranked = cells.sort_values("anomaly_ra")
    assert ranked["anomaly_ra_percentile"].is_monotonic_increasing
    assert ranked["anomaly_ra_p"].is_monotonic_decreasing
    assert cells["anomaly_ra_p"].between(0, 1).all()

    renewed = drain(calibrate(controls_of(cohort), Recipe.from_bundle(bundle, None, CPU))).bundle
    again = renewed.need_scorer().anomaly
    weights = anomaly.channels["ra"].state_dict()
    assert all(torch.equal(w, weights[n]) for n, w in again.channels["ra"].state_dict().items())
    assert again.joined == ("latent_distance", "morph_distance")  # the new score stands beside them
    assert len(again.calibrations["anomaly_ra"]) == len(again.calibration)


def test_a_stopped_training_goes_on_and_ends_alike(known: Bundle, cohort: Path, tmp_path: Path) -> None:
    whole = added(known, cohort, tmp_path / "whole", [])
    said, out = list[Event](), tmp_path / "stopped"

    def stopping() -> Iterator[Event]:
        work = train_anomaly(controls_of(cohort), Recipe.from_bundle(known, None, CPU), out, WANTED)
        began = 0
        for event in work:
            yield event
            began += isinstance(event, TrainingBegan)
            if began == 2 and isinstance(event, Step):
                (out / STOP_FILE).touch()

    out.mkdir()
    list(stopping())
    assert not (out / "bundle.safetensors").exists()
    again = added(known, cohort, out, said)
    kinds = [e for e in said if isinstance(e, EpochReport | TrainingBegan)]
    assert [isinstance(e, TrainingBegan) for e in kinds[:3]] == [True, True, False]  # the first was finished
    assert isinstance(kinds[2], EpochReport)
    assert kinds[2].epoch == 1
    pairs = zip(*(b.need_scorer().anomaly.state()[0].items() for b in (whole, again)), strict=True)
    assert all(name == other and torch.equal(a, b) for (name, a), (other, b) in pairs)
    with pytest.raises(SettingsError, match=r"made with other settings or cells \(run.yaml\)"):
        added(known, cohort, out, [], replace(WANTED, changes=(("steps", 5),)))


def test_names_and_presets_are_checked_before_anything_is_read(known: Bundle) -> None:
    with pytest.raises(SettingsError, match="no network 'latent_distance'; choose from ra"):
        AddedNetworks(("latent_distance",)).added_to(known.settings)
    found = AddedNetworks(("ra-code",)).added_to(known.settings)
    assert found.model.networks == {"ra": {"preset": "code"}}
    assert found.model.joined == ("latent_distance", "morph_distance")
    with pytest.raises(SettingsError, match="batch_size"):
        AddedNetworks(("ra",), 3, (("batch_size", 0),)).added_to(known.settings)
