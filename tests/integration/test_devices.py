"""What runs on the CPU runs on CUDA and MPS, with equal results: tensors lie where their partners lie."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from napari_amil.core.base.events import EpochReport, drain
from napari_amil.core.base.presets import preset
from napari_amil.core.base.settings import DetectorTrainingSettings, RunSettings
from napari_amil.core.cohort.control_folder import read_controls
from napari_amil.core.cohort.synth import SynthCohortSettings, synthetic_smear, write_synthetic_cohort
from napari_amil.core.detection.train import first_annotation, train_detector
from napari_amil.core.images.normalise import normalise
from napari_amil.core.mil.batch import BagArrays
from napari_amil.core.model.bundle import load_bundle
from napari_amil.core.pipeline import Recipe, cohort_source, open_source, score_source, train_run
from napari_amil.core.pipeline.evaluate import delete_cells
from napari_amil.core.pipeline.recalibrate import calibrate
from napari_amil.core.pipeline.training_run import Protocol
from napari_amil.core.training.loop import fit_model

BRIEF = {"cell_epochs": 1, "max_epochs": 2, "views": 1, "refit_every": 1, "calibration_folds": 0}
NARROW = {"latent_dim": 8, "attention_dim": 4, "width": 4}
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    settings = SynthCohortSettings(patients=3, samples=1, diseases={"ill": {"spherocyte": 0.4}})
    return write_synthetic_cohort(tmp_path_factory.mktemp("devices") / "cohort", settings)


def test_the_device_is_as_strict_as_a_real_one(pretend: Any) -> None:
    with pretend:
        here, there = torch.arange(3.0), torch.arange(3.0).to(pretend.device)
        assert (here.device, there.device, (there + 1).device) == (CPU, pretend.device, pretend.device)
        assert torch.zeros(2, device=pretend.device).is_cuda == (pretend.device.type == "cuda")
        assert (there * torch.tensor(2.0))[torch.tensor([1])].cpu().numpy() == [2.0]
        with pytest.raises(RuntimeError, match="'cat' on one device"):
            torch.cat([here, there])
        with pytest.raises(RuntimeError, match="'__getitem__' on one device"):
            here[there.long()]
        with pytest.raises(TypeError, match="to numpy"):
            np.asarray(there)
        with pytest.raises(RuntimeError, match="generator"):
            torch.rand(3, generator=torch.Generator(), device=pretend.device)
        layer = torch.nn.Linear(3, 2).to(pretend.device)
        with pytest.raises(RuntimeError, match="'linear' on one device"):
            layer(here)
        layer(there).sum().backward()
        assert layer.weight.grad is not None
        assert layer.weight.grad.device == pretend.device
        if pretend.device.type == "mps":
            with pytest.raises(TypeError, match="float64"):
                there.double()


def _trained(cohort: Path, out: Path, settings: RunSettings, device: torch.device) -> Path:
    out.mkdir()
    recipe = Recipe.for_training(load_bundle(), settings, device)
    drain(train_run(open_source([cohort], "control"), recipe, out, Protocol(hold_out_fold=2)))
    return out


def _unfused(kind: type[torch.optim.Optimizer], *arguments: Any, fused: bool, **others: Any) -> Any:
    """Return an optimiser that goes from weight to weight."""
    return kind(*arguments, **others)


@pytest.mark.parametrize(
    ("name", "pretend"),
    [("recommended", "cuda"), ("recommended", "mps"), ("amil-code", "mps"), ("attmil", "cuda")],
    indirect=["pretend"],
)
def test_a_training_and_its_test(
    name: str, cohort: Path, tmp_path: Path, pretend: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("napari_amil.core.mil.model._ON_DEVICE", 32)  # as many cells at once round alike
    for kind in (torch.optim.Adam, torch.optim.AdamW):  # one pass over the weights rounds otherwise
        alike = partial(_unfused, kind)
        monkeypatch.setattr(torch.optim, kind.__name__, alike)
    brief = BRIEF | ({"calibration_folds": 2} if name == "recommended" else {})
    settings = preset(name).changed({"model": NARROW, "training": brief})
    expected = _trained(cohort, tmp_path / "cpu", settings, CPU)
    with pretend:
        found = _trained(cohort, tmp_path / "there", settings, pretend.device)
    for table in ("bags.csv", "cells.csv"):
        pd.testing.assert_frame_equal(pd.read_csv(found / table), pd.read_csv(expected / table), rtol=1e-4)


def test_a_training_goes_on(tmp_path: Path, pretend: Any) -> None:
    settings = preset("recommended").changed(
        {"model": NARROW | {"measurement_columns": 0}, "training": BRIEF}
    )
    crops = np.random.default_rng(0).integers(0, 255, (12, 3, 32, 32), dtype=np.uint8)
    rows = tuple(np.arange(12).reshape(4, 3))
    bags = BagArrays(crops, rows, np.array([0, 1, 0, 1]), tuple("abcd"), ("control", "ill"), "control")
    checkpoint = tmp_path / "training.checkpoint"
    with pretend:
        whole = drain(fit_model(bags, settings, pretend.device))
        broken_off = fit_model(bags, settings, pretend.device, checkpoint)
        reports = (event for event in broken_off if isinstance(event, EpochReport))
        assert [next(reports).epoch, next(reports).epoch] == [0, 1]
        broken_off.close()
        resumed = drain(fit_model(bags, settings, pretend.device, checkpoint))
        assert all(value.device == pretend.device for value in resumed.model.state_dict().values())
        torch.testing.assert_close(resumed.model.state_dict(), whole.model.state_dict(), rtol=0, atol=0)


def test_cells_are_found_scored_and_explained(cohort: Path, pretend: Any) -> None:
    images = open_source(sorted(cohort.parent.glob("*/*/*/*.png"))[:2], "control")

    def scored(device: torch.device) -> list[pd.DataFrame]:
        recipe = Recipe.from_bundle(load_bundle(), None, device)
        found = drain(score_source(images, recipe))
        return [found.bags, found.cells, drain(delete_cells(found, recipe)).table]

    expected = scored(CPU)
    assert len(expected[1]) > 40
    with pretend:
        for one, other in zip(scored(pretend.device), expected, strict=True):
            pd.testing.assert_frame_equal(one, other, rtol=1e-3)


def test_a_model_is_calibrated(cohort: Path, pretend: Any) -> None:
    controls = cohort_source(read_controls(cohort, "control"))

    def distances(device: torch.device) -> torch.Tensor:
        found = drain(calibrate(controls, Recipe.from_bundle(load_bundle(), None, device)))
        return found.bundle.need_scorer().anomaly.calibration.distances

    expected = distances(CPU)
    with pretend:
        torch.testing.assert_close(distances(pretend.device), expected, rtol=1e-4, atol=0)


def test_a_detector_is_trained_and_goes_on(tmp_path: Path, pretend: Any) -> None:
    field = first_annotation(normalise(synthetic_smear(5).image))
    assert field is not None
    settings = DetectorTrainingSettings(steps=2, batch_size=1, crop_px=128, checkpoint_every=1)

    def weights(device: torch.device, checkpoint: Path) -> dict[str, torch.Tensor]:
        broken_off = train_detector([field], settings, device, checkpoint)
        next(event for event in broken_off if isinstance(event, EpochReport))
        broken_off.close()
        model = drain(train_detector([field], settings, device, checkpoint)).model
        return {name: value.cpu() for name, value in model.state_dict().items()}

    expected = weights(CPU, tmp_path / "cpu.safetensors")
    with pretend:
        torch.testing.assert_close(weights(pretend.device, tmp_path / "there.safetensors"), expected)
