"""An encoder is trained without labels, goes on where it was stopped, and is taken by a model."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from napari_amil.core.base.errors import AmilError, SettingsError
from napari_amil.core.base.events import STOP_FILE, EpochReport, Event, drain
from napari_amil.core.base.settings import RunSettings
from napari_amil.core.cohort.synth import SynthCohortSettings, write_synthetic_cohort
from napari_amil.core.encoders.external import ExternalEncoder
from napari_amil.core.encoders.registry import build_encoder
from napari_amil.core.evaluation.ablation import read_rows, row_settings
from napari_amil.core.instances.extract import Recipe
from napari_amil.core.instances.sources import open_source
from napari_amil.core.model.bundle import Bundle
from napari_amil.core.pipeline import pretraining as module
from napari_amil.core.pipeline.pretraining import Pretrained, pretrain
from napari_amil.core.training.contrastive import ContrastiveSettings

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning")
CPU = torch.device("cpu")
SMALL = ContrastiveSettings(width=4, batch_size=16, epochs=2, projection_dim=8)


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two patients with a list of their cells, so that no detector is needed."""
    return write_synthetic_cohort(
        tmp_path_factory.mktemp("cohort"), SynthCohortSettings(patients=2, samples=1, diseases={})
    )


@pytest.fixture(autouse=True)
def _few_cells(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(module, "_FEWEST_CELLS", 40)
    monkeypatch.setenv("NAPARI_AMIL_CACHE", str(tmp_path / "cache"))


def trained(
    bundle: Bundle, cohort: Path, out: Path, said: list[Event], wanted: ContrastiveSettings = SMALL
) -> Pretrained:
    out.mkdir(exist_ok=True)
    recipe = Recipe.for_training(replace(bundle, detector=None), bundle.settings, CPU)
    found: Pretrained = drain(pretrain(open_source([cohort], "control"), recipe, out, wanted), said.append)
    return found


def features(path: Path) -> torch.Tensor:
    with torch.no_grad():
        return torch.jit.load(str(path))(torch.linspace(0, 1, 3 * 64 * 64).reshape(1, 3, 64, 64))


def test_a_model_takes_the_encoder_by_the_settings_that_lie_beside_it(
    small_bundle: Bundle, cohort: Path, tmp_path: Path
) -> None:
    said: list[Event] = []
    found = trained(small_bundle, cohort, tmp_path / "run", said)
    assert sum(isinstance(event, EpochReport) for event in said) == 2
    written = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert written["n_cells"] == found.n_cells > 40
    assert written["n_images"] == 2
    settings = RunSettings.from_yaml(found.settings, small_bundle.settings).model
    row = read_rows(tmp_path / "run" / "rows.yaml")["pretrained"]
    assert row_settings(row, small_bundle.settings).model == settings
    encoder = build_encoder(settings, 3).eval()
    assert isinstance(encoder, ExternalEncoder)
    assert encoder.origin()["sha256"] == written["sha256"]
    crops = torch.randint(0, 256, (3, 3, 64, 64), dtype=torch.uint8)
    with torch.no_grad():
        own = torch.jit.load(str(found.encoder))(crops / 255)
        torch.testing.assert_close(encoder(crops), encoder.project(own), atol=1e-4, rtol=1e-4)


def test_a_stopped_training_goes_on_and_ends_alike(
    small_bundle: Bundle, cohort: Path, tmp_path: Path
) -> None:
    whole = trained(small_bundle, cohort, tmp_path / "whole", [])
    out, recipe = tmp_path / "stopped", Recipe.for_training(small_bundle, small_bundle.settings, CPU)
    out.mkdir()
    source = open_source([cohort], "control")

    def stopping() -> Iterator[Event]:
        for event in pretrain(source, recipe, out, SMALL):
            if type(event).__name__ == "Step" and event.stage == "training":
                (out / STOP_FILE).touch()
            yield event

    list(stopping())
    assert not torch.equal(features(out / "encoder.pt"), features(whole.encoder))
    trained(small_bundle, cohort, out, [])
    torch.testing.assert_close(features(out / "encoder.pt"), features(whole.encoder), atol=0, rtol=0)
    with pytest.raises(SettingsError, match=r"made with other settings or cells \(run\.yaml\)"):
        trained(small_bundle, cohort, out, [], SMALL.model_copy(update={"temperature": 0.5}))


def test_what_cannot_teach_is_refused(
    small_bundle: Bundle, cohort: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_FEWEST_CELLS", 10_000)
    with pytest.raises(
        AmilError, match=r"There are \d+ whole cells, and pre-training needs 10000; add smears"
    ):
        trained(small_bundle, cohort, tmp_path / "run", [])
    maps = replace(small_bundle, settings=small_bundle.settings.changed({"model": {"encoder": "roi"}}))
    with pytest.raises(SettingsError, match="Only an encoder of crops"):
        trained(maps, cohort, tmp_path / "maps", [])
