"""An encoder that is registered passes the whole path: train, score, calibrate, save and reload."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Self

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from napari_amil.core.base.encoders import ENCODER_SPECS, EncoderSpec
from napari_amil.core.base.errors import AmilError, SettingsError
from napari_amil.core.base.events import drain
from napari_amil.core.base.settings import ModelSettings, RunSettings
from napari_amil.core.cohort.control_folder import read_controls
from napari_amil.core.cohort.layouts.registry import read_cohort
from napari_amil.core.cohort.smear import SynthSettings
from napari_amil.core.cohort.synth import SynthCohortSettings, write_synthetic_cohort
from napari_amil.core.encoders.base import Encoder
from napari_amil.core.encoders.registry import ENCODERS, register_encoder
from napari_amil.core.instances.extract import Recipe
from napari_amil.core.instances.gather import Source, cohort_source
from napari_amil.core.mil.batch import BagArrays
from napari_amil.core.mil.instances import Instances
from napari_amil.core.mil.model import AmilModel
from napari_amil.core.model.bundle import Bundle, load_bundle, save_bundle
from napari_amil.core.pipeline.calibrate import calibrate
from napari_amil.core.pipeline.score import score_source
from napari_amil.core.pipeline.train import train_scorer
from napari_amil.core.training.loop import fit_model


class ToyEncoder(Encoder):
    """The mean colour of a crop, through one layer."""

    spec = EncoderSpec("toy", "crop")

    def __init__(self, latent_dim: int) -> None:
        super().__init__()
        self.layer = nn.Linear(3, latent_dim)

    @classmethod
    def from_settings(cls, settings: ModelSettings, n_inputs: int) -> Self:
        return cls(cls.spec.embedding_dim or settings.latent_dim)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.layer(inputs.float().mean((2, 3)) / (255.0 if inputs.dtype == torch.uint8 else 1.0))


class FrozenToyEncoder(ToyEncoder):
    """The same with weights that stay, and a length of its own."""

    spec = EncoderSpec("frozen-toy", "crop", embedding_dim=5, frozen=True)


@pytest.fixture(autouse=True)
def _registered() -> Iterator[None]:
    for kind in (ToyEncoder, FrozenToyEncoder):
        register_encoder(kind)
    yield
    for kind in (ToyEncoder, FrozenToyEncoder):
        del ENCODERS[kind.spec.name], ENCODER_SPECS[kind.spec.name]


@pytest.fixture(scope="module")
def listed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    settings = SynthCohortSettings(
        patients=3,
        samples=1,
        diseases={"ill": {"spherocyte": 0.3}},
        smear=SynthSettings(height=200, width=250, n_cells=24, n_platelets=0),
    )
    return write_synthetic_cohort(tmp_path_factory.mktemp("encoders") / "cohort", settings)


def trained(listed: Path, small_bundle: Bundle, encoder: str) -> tuple[Source, Bundle]:
    settings = small_bundle.settings.changed(
        {
            "model": {"encoder": encoder, "latent_dim": 6},
            "training": {"cell_epochs": 1, "max_epochs": 2, "views": 0, "calibration_folds": 0},
        }
    )
    source = cohort_source(read_cohort(listed, "control"))
    recipe = Recipe.for_training(Bundle(settings), settings, torch.device("cpu"))  # cells are listed
    return source, drain(train_scorer(source, recipe))


@pytest.mark.parametrize(("encoder", "dim"), [("toy", 6), ("frozen-toy", 5)])
def test_a_registered_encoder_passes_the_whole_path(
    listed: Path, small_bundle: Bundle, tmp_path: Path, encoder: str, dim: int
) -> None:
    source, bundle = trained(listed, small_bundle, encoder)
    model = bundle.need_scorer().model
    assert isinstance(model.encoder, ENCODERS[encoder])
    assert model.embedding_dim == bundle.settings.model.embedding_dim == dim
    recipe = Recipe.from_bundle(bundle, None, torch.device("cpu"))
    controls = cohort_source(read_controls(listed, "control"))
    path = tmp_path / "toy.safetensors"
    save_bundle(drain(calibrate(controls, recipe)).bundle, path)
    again = Recipe.from_bundle(load_bundle(path), None, torch.device("cpu"))
    before, after = drain(score_source(source, recipe)), drain(score_source(source, again))
    assert np.isfinite(before.cells["latent_distance"]).all()
    assert before.cells["latent_distance"].std() > 0
    assert after.cells["latent_distance"].tolist() == before.cells["latent_distance"].tolist()
    assert after.bags["probability_ill"].tolist() == before.bags["probability_ill"].tolist()


@pytest.mark.parametrize(("sic", "on_bags"), [(True, False), (False, False), (False, True)])
def test_a_frozen_encoder_stays_as_it_is(sic: bool, on_bags: bool) -> None:
    settings = RunSettings().changed(
        {
            "model": {"encoder": "frozen-toy", "measurement_columns": 0, "orientations": 1, "sic": sic},
            "training": {"cell_epochs": 2, "max_epochs": 2, "train_encoder_on_bags": on_bags},
        }
    )
    rng = np.random.default_rng(0)
    crops = rng.integers(0, 256, (24, 3, 8, 8), dtype=np.uint8)
    rows = tuple(np.arange(24).reshape(6, 4))
    bags = BagArrays(crops, rows, np.arange(6) % 2, tuple("abcdef"), ("control", "ill"), "control")
    fitted = drain(fit_model(bags, settings, torch.device("cpu")))
    assert len(fitted.history) == (4 if sic else 2)  # without a classifier no loss of single cells is left
    torch.manual_seed(settings.training.seed)
    start = AmilModel(settings.model, 2)
    torch.testing.assert_close(fitted.model.encoder.state_dict(), start.encoder.state_dict(), rtol=0, atol=0)
    assert not start.train().encoder.training
    assert not any(weight.requires_grad for weight in start.encoder.parameters())


def test_measurements_alone_can_be_embedded() -> None:
    settings = ModelSettings(encoder="measurements", latent_dim=6, measurement_columns=0)
    assert (settings.instance, settings.measured) == ("crop", True)
    model = AmilModel(settings, 2, n_measurements=4).eval()
    cells = Instances(torch.zeros(3, 3, 8, 8), torch.randn(3, 4))
    z = model.embed(cells)
    assert z.shape == (3, 6)
    torch.testing.assert_close(model.embed_views(cells), z[:, None].expand(3, 8, 6))
    torch.testing.assert_close(z, model.embed(Instances(torch.ones(3, 3, 8, 8), cells.measurements)))
    with pytest.raises(AmilError, match="needs the measurements of every cell"):
        model.embed(cells.pixels)


def test_an_unknown_encoder_is_refused_with_the_known_ones() -> None:
    with pytest.raises(
        SettingsError, match="no encoder called 'vit'; choose one of crop, roi, roi-attmil, measurements, toy"
    ):
        RunSettings.parse({"model": {"encoder": "vit"}})


def test_names_in_the_settings_and_classes_agree() -> None:
    assert {name: kind.spec for name, kind in ENCODERS.items()} == ENCODER_SPECS
