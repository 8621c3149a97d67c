"""A run that is asked to stop by a file keeps what it has, says so, and goes on when started again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from napari_amil.core.base.events import EpochReport, Event, Warned, drain
from napari_amil.core.base.settings import RunSettings
from napari_amil.core.cohort.synth import SynthCohortSettings, write_synthetic_cohort
from napari_amil.core.instances.extract import Recipe
from napari_amil.core.instances.sources import open_source
from napari_amil.core.model.bundle import Bundle, load_bundle
from napari_amil.core.pipeline.training_run import Protocol, train_run

TINY = RunSettings.parse(
    {
        "model": {"measurement_columns": 0, "bag_heads": 1, "latent_dim": 4, "width": 4, "orientations": 1},
        "training": {"cell_epochs": 1, "max_epochs": 3, "views": 1},
    }
)


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stopping") / "cohort"
    return write_synthetic_cohort(folder, SynthCohortSettings(patients=3, samples=1))


def run(
    cohort: Path, out: Path, protocol: Protocol, stop_at: int | None
) -> tuple[dict[str, float], list[str]]:
    """Train, ask to stop in epoch ``stop_at``, and return the metrics and what was warned of."""
    events: list[Event] = []

    def listen(event: Event) -> None:
        events.append(event)
        if isinstance(event, EpochReport) and event.epoch == stop_at:
            (out / "stop").touch()

    out.mkdir(exist_ok=True)
    recipe = Recipe(Bundle(TINY), TINY, torch.device("cpu"))
    metrics = drain(train_run(open_source([cohort], "control"), recipe, out, protocol), listen)
    return metrics, [event.message for event in events if isinstance(event, Warned)]


def test_a_stopped_training_goes_on_when_it_is_started_again(cohort: Path, tmp_path: Path) -> None:
    metrics, said = run(cohort, tmp_path, Protocol(hold_out_fold=0), stop_at=1)
    assert "The training was stopped after 2 of 4 epochs, as was asked." in said
    card = load_bundle(tmp_path / "bundle.safetensors").card
    assert card["scorer"]["stopped"] == "after 2 of 4 epochs, as was asked"
    assert card["results"] == metrics == json.loads((tmp_path / "metrics.json").read_text())
    (tmp_path / "stop").touch()  # one that is left over counts no more
    _, said = run(cohort, tmp_path, Protocol(hold_out_fold=0), stop_at=None)
    assert not any("stopped" in message for message in said)
    card = load_bundle(tmp_path / "bundle.safetensors").card
    assert "stopped" not in card["scorer"]
    assert card["scorer"]["epochs"] == 4
    assert not (tmp_path / "stop").exists()


def test_a_stopped_cross_validation_keeps_the_model_of_its_last_fold(cohort: Path, tmp_path: Path) -> None:
    metrics, said = run(cohort, tmp_path, Protocol(n_folds=3), stop_at=1)
    told = "The run was stopped after 1 of 3 tests; its model is that of 'fold-0', trained without that fold."
    assert told in said
    card = load_bundle(tmp_path / "bundle.safetensors").card
    assert card["stopped"] == told
    assert card["results"] == metrics == json.loads((tmp_path / "metrics.json").read_text())
    assert not (tmp_path / "fold-1").exists()
