"""The switches of the published trainings do what their names say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from napari_amil.core.base.events import EpochReport, drain
from napari_amil.core.base.presets import preset
from napari_amil.core.base.settings import RunSettings
from napari_amil.core.mil.batch import BagArrays
from napari_amil.core.training.loop import FittedModel, fit_model
from napari_amil.core.training.state import ScorerTraining
from napari_amil.core.training.steps import encoder_step

CPU = torch.device("cpu")


def small(name: str = "amil-code", model: dict[str, object] | None = None, **training: object) -> RunSettings:
    short = {"latent_dim": 6, "attention_dim": 4, **(model or {})}
    return preset(name).changed({"model": short, "training": training})


def bag_arrays() -> BagArrays:
    """Return eight bags of five feature maps, two patients a class."""
    rng = np.random.default_rng(0)
    maps = rng.normal(size=(40, 4, 14, 14)).astype(np.float16)
    labels = np.arange(8) % 2
    patients = tuple(f"{label}-{number // 4}" for number, label in enumerate(labels))
    return BagArrays(
        maps, tuple(np.arange(40).reshape(8, 5)), labels, patients, ("control", "ill"), "control"
    )


def test_the_control_gaussian_is_fitted_every_five_epochs_before_their_updates_and_at_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fits: list[tuple[int, bool]] = []
    refit = ScorerTraining.refit

    def noted(state: ScorerTraining, bags: BagArrays) -> str:
        unchanged = not fits and not state.optimiser.state  # no step was taken yet
        fits.append((state.epoch, unchanged))
        return refit(state, bags)

    monkeypatch.setattr(ScorerTraining, "refit", noted)
    drain(fit_model(bag_arrays(), small(max_epochs=7, bags_per_step=8), CPU))
    assert fits == [(0, True), (5, False), (7, False)]


def test_a_published_training_weighs_single_cells_as_published_and_keeps_the_last_epoch() -> None:
    fitted: FittedModel = drain(fit_model(bag_arrays(), small("attmil", max_epochs=4), CPU))
    assert [report.sic_weight for report in fitted.history] == pytest.approx([0.95**e for e in range(4)])
    assert fitted.best_epoch == 3
    without: FittedModel = drain(fit_model(bag_arrays(), small("abmil", max_epochs=2), CPU))
    assert [report.sic_weight for report in without.history] == [0.0, 0.0]
    assert [report.train_loss == report.metrics["bag_loss"] for report in without.history] == [True, True]


@pytest.mark.parametrize(
    ("name", "kind", "amsgrad", "decay"),
    [
        ("amil-code", torch.optim.Adam, False, 0.0),
        ("amil-paper", torch.optim.Adam, True, 1e-5),
        ("attmil", torch.optim.Adam, True, 1e-4),
        ("recommended", torch.optim.AdamW, False, 1e-4),
    ],
)
def test_the_optimiser_is_that_of_the_preset(
    name: str, kind: type[torch.optim.Optimizer], amsgrad: bool, decay: float
) -> None:
    settings = small(name, {"encoder": "roi", "measurement_columns": 0})
    state = ScorerTraining(bag_arrays(), settings, CPU)
    assert type(state.optimiser) is kind
    assert state.optimiser.defaults["amsgrad"] == amsgrad
    assert state.optimiser.defaults["weight_decay"] == decay


@pytest.mark.parametrize("mixture", ["min", "responsibility"])
def test_a_mixture_is_trained_with_and_taken_up_again_after_an_interruption(
    mixture: str, tmp_path: Path
) -> None:
    model = {"n_components": 2, "mixture": mixture, "distance_transform": "standardize"}
    settings = small("amil-paper", model, max_epochs=3, refit_every=2, bags_per_step=4)
    whole: FittedModel = drain(fit_model(bag_arrays(), settings, CPU))
    assert whole.gaussian.n_components == 2
    path = tmp_path / "checkpoint"
    work = fit_model(bag_arrays(), settings, CPU, path)
    for event in work:
        if isinstance(event, EpochReport) and event.epoch == 1:
            break
    work.close()
    resumed: FittedModel = drain(fit_model(bag_arrays(), settings, CPU, path))
    assert torch.equal(whole.held_out, resumed.held_out)
    for part in ("model", "gaussian"):
        one, other = getattr(whole, part).state_dict(), getattr(resumed, part).state_dict()
        assert one.keys() == other.keys()
        for name, value in one.items():
            torch.testing.assert_close(other[name], value, rtol=0, atol=0, equal_nan=True)


def test_the_distance_bends_no_encoder() -> None:
    settings = small(model={"pooling": "anomaly", "distance_transform": "raw", "sic": False})
    state = ScorerTraining(bag_arrays(), settings, CPU)
    state.refit(bag_arrays())
    z = torch.randn(6, state.model.embedding_dim, requires_grad=True)
    assert not state.gaussian.distance(z).requires_grad


def test_a_gradient_is_shortened_only_if_there_is_a_limit() -> None:
    for limit, expected in ((1e-3, 1e-3), (None, None)):
        state = ScorerTraining(bag_arrays(), small(max_gradient=limit), CPU)
        state.refit(bag_arrays())
        encoder_step(state, bag_arrays(), torch.arange(8), beta=0.5, share=0.5)
        length = torch.cat([p.grad.flatten() for p in state.model.parameters() if p.grad is not None]).norm()
        if expected is None:
            assert float(length) > 1e-2
        else:
            assert float(length) == pytest.approx(expected, rel=1e-3)
