"""Training is repeatable, can be interrupted, and never looks at what it must not see."""

from __future__ import annotations

import math
import weakref
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from napari_amil.core.base.errors import AmilError, BundleError
from napari_amil.core.base.events import EpochReport, Event, Step, Warned, drain
from napari_amil.core.base.presets import preset
from napari_amil.core.base.settings import ModelSettings, RunSettings, TrainingSettings
from napari_amil.core.mil.batch import BagArrays
from napari_amil.core.mil.instances import Instances
from napari_amil.core.training.loop import FittedModel, _n_augmented, fit_model
from napari_amil.core.training.state import ScorerTraining
from napari_amil.core.training.steps import CellViews, score_bags, validate

CPU = torch.device("cpu")
SETTINGS = RunSettings(
    model=ModelSettings(latent_dim=6, measurement_columns=0, width=8, attention_dim=4),
    training=TrainingSettings(
        cell_epochs=2,
        cells_per_step=20,
        max_epochs=4,
        refit_every=2,
        bags_per_step=4,
        validation_fraction=0.3,
    ),
)


def bag_arrays(kind: str = "crop", n_patients: int = 4) -> BagArrays:
    """Return two classes: round cells, and bags of which half the cells are squares."""
    rng = np.random.default_rng(0)
    axis = np.abs(np.arange(32) - 15.5)
    radius = rng.uniform(9, 11, 60)[:, None, None]
    shape = np.hypot(*np.meshgrid(axis, axis)) < radius
    shape[30:] = np.maximum(*np.meshgrid(axis, axis)) < radius[30:]
    crops = np.where(shape[:, None], rng.integers(90, 130, (60, 3, 1, 1)), 255).astype(np.uint8)
    if kind == "roi":
        crops = rng.normal(size=(60, 4, 14, 14)).astype(np.float16)
    rows, labels, patients = [], [], []
    for number in range(4 * n_patients):
        label = number % 2
        odd = rng.choice(np.arange(30, 60), 3, replace=False) if label else rng.choice(30, 3, replace=False)
        rows.append(np.concatenate((rng.choice(30, 3, replace=False), odd)))
        labels.append(label)
        patients.append(f"{label}-{number // 2 % n_patients}")
    return BagArrays(crops, tuple(rows), np.array(labels), tuple(patients), ("control", "ill"), "control")


def trained(
    settings: RunSettings = SETTINGS, checkpoint: Path | None = None, kind: str = "crop"
) -> tuple[FittedModel, list[Event]]:
    events: list[Event] = []
    return drain(fit_model(bag_arrays(kind), settings, CPU, checkpoint), events.append), events


def assert_same(one: FittedModel, other: FittedModel) -> None:
    assert torch.equal(one.held_out, other.held_out)
    for part in ("model", "gaussian"):
        first, second = getattr(one, part).state_dict(), getattr(other, part).state_dict()
        assert first.keys() == second.keys()
        torch.testing.assert_close(first, second, rtol=0, atol=0, equal_nan=True)


def test_events_tell_every_epoch() -> None:
    fitted, events = trained()
    reports = [event for event in events if isinstance(event, EpochReport)]
    assert [report.epoch for report in reports] == [0, 1, 2, 3, 4, 5]
    assert {report.n_epochs for report in reports} == {6}
    assert [report.sic_weight for report in reports] == [1, 1, 0, 0, 0, 0]
    assert all(math.isfinite(report.train_loss) for report in reports)
    validation = [report.validation_loss for report in reports]
    assert [math.isfinite(loss) for loss in validation] == [False] * 2 + [True] * 4
    assert fitted.best_epoch == int(np.nanargmin(validation))
    assert len(fitted.history) == 6
    steps = [event for event in events if isinstance(event, Step) and event.stage == "training"]
    assert (steps[-1].done, steps[-1].total) == (2, 2)
    assert not fitted.model.training
    assert bool(fitted.gaussian.fitted)


def test_the_same_seed_gives_the_same_model_and_another_does_not() -> None:
    assert_same(trained()[0], trained()[0])
    other = SETTINGS.model_copy(update={"training": SETTINGS.training.model_copy(update={"seed": 1})})
    assert not torch.equal(trained()[0].gaussian.mean, trained(other)[0].gaussian.mean)


def changed(**training: object) -> RunSettings:
    return SETTINGS.model_copy(update={"training": SETTINGS.training.model_copy(update=training)})


SHORT = {
    "model": {"latent_dim": 6, "attention_dim": 4},
    "training": {"max_epochs": 6, "refit_every": 2, "bags_per_step": 4, "validation_fraction": 0.3},
}
MODES = {
    "resting encoder": ("crop", SETTINGS),
    "encoder on bags": ("crop", SETTINGS.changed({"training": {"train_encoder_on_bags": True}})),
    "mixture": (
        "crop",
        SETTINGS.changed({"model": {"n_components": 2, "mixture": "responsibility", "dropout": 0.2}}),
    ),
    "amil-code": ("roi", preset("amil-code").changed(SHORT)),
    "attmil": ("roi", preset("attmil").changed(SHORT)),
}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("last", [0, 1, 4], ids=["cells", "between", "bags"])
def test_an_interrupted_training_ends_like_an_uninterrupted_one(tmp_path: Path, last: int, mode: str) -> None:
    kind, settings = MODES[mode]
    whole, _ = trained(settings, kind=kind)
    path = tmp_path / "checkpoint.safetensors"
    work = fit_model(bag_arrays(kind), settings, CPU, path)
    for event in work:
        if isinstance(event, EpochReport) and event.epoch == last + 1:
            break
    work.close()  # the last epoch reported was not written yet: it is done again
    torch.manual_seed(12345)
    resumed, events = trained(settings, checkpoint=path, kind=kind)
    assert next(event.epoch for event in events if isinstance(event, EpochReport)) == last + 1
    assert_same(whole, resumed)
    assert [report.train_loss for report in whole.history] == [
        report.train_loss for report in resumed.history
    ]


@pytest.mark.parametrize("mode", ["resting encoder", "amil-code"])
def test_a_training_asked_to_stop_keeps_the_best_and_can_go_on(tmp_path: Path, mode: str) -> None:
    kind, settings = MODES[mode]
    path, stop = tmp_path / "checkpoint.safetensors", tmp_path / "stop"
    events: list[Event] = []

    def listen(event: Event) -> None:
        events.append(event)
        if isinstance(event, EpochReport) and event.epoch == 3:
            stop.touch()

    stopped = drain(fit_model(bag_arrays(kind), settings, CPU, path, stop=stop), listen)
    assert stopped.stopped
    assert [report.epoch for report in stopped.history] == [0, 1, 2, 3]
    assert (
        stopped.best_epoch
        == min(
            (report for report in stopped.history if math.isfinite(report.validation_loss)),
            key=lambda report: report.validation_loss,
        ).epoch
    )
    assert bool(stopped.gaussian.fitted)
    assert len(stopped.held_out)
    said = [event.message for event in events if isinstance(event, Warned)]
    assert "The training was stopped after 4 of 6 epochs, as was asked." in said
    whole, _ = trained(settings, kind=kind)
    assert not whole.stopped
    assert_same(whole, trained(settings, checkpoint=path, kind=kind)[0])


def test_a_stop_before_the_first_bag_leaves_a_model_of_single_cells(tmp_path: Path) -> None:
    (tmp_path / "stop").touch()
    events: list[Event] = []
    fitted = drain(fit_model(bag_arrays(), SETTINGS, CPU, stop=tmp_path / "stop"), events.append)
    assert (fitted.stopped, fitted.best_epoch, len(fitted.history)) == (True, -1, 1)
    assert any(isinstance(event, Warned) and "not yet learned from bags" in event.message for event in events)


def test_a_resting_encoder_keeps_its_weights_and_a_trained_one_does_not() -> None:
    few = trained(changed(max_epochs=1))[0].model.encoder.state_dict()
    many = trained(changed(max_epochs=4))[0].model.encoder.state_dict()
    assert all(torch.equal(few[name], many[name]) for name in few)
    bent = trained(changed(max_epochs=4, train_encoder_on_bags=True))[0].model.encoder.state_dict()
    assert not all(torch.equal(few[name], bent[name]) for name in few)


def test_the_single_instance_weight_decays_while_the_encoder_learns_from_bags() -> None:
    fitted, _ = trained(changed(train_encoder_on_bags=True))
    assert [report.sic_weight for report in fitted.history] == pytest.approx(
        [1.0, 1.0, *(0.95**epoch for epoch in range(4))]
    )


def test_views_of_a_cell_are_its_embedding_and_augmented_ones() -> None:
    bags = bag_arrays()
    state = ScorerTraining(bags, SETTINGS, CPU)
    state.refit(bags)
    views = drain(CellViews.from_bags(state, bags.take([0, 1]), 2))
    rows = np.concatenate(bags.take([0, 1]).rows)
    _, d = score_bags(state.model, state.gaussian, bags.take([0, 1]), CPU)
    torch.testing.assert_close(views.plain(rows)[1], d)
    assert views.latents.shape == (3, len(np.unique(rows)), 6)
    z, drawn = views.draw(rows, state.generator)
    at = torch.from_numpy(views.position[rows])
    of_one_view = (views.distances[:, at] == drawn) & (views.latents[:, at] == z).all(dim=-1)
    assert of_one_view.any(dim=0).all()
    assert torch.equal(views.latents, drain(CellViews.from_bags(state, bags.take([0, 1]), 2)).latents)


def test_augmented_pixels_of_few_cells_are_in_memory_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    bags, alive = bag_arrays(), [0]
    state = ScorerTraining(bags, SETTINGS, CPU)
    state.refit(bags)
    augmented: weakref.WeakSet[Instances] = weakref.WeakSet()

    def counting(instances: Instances, generator: torch.Generator) -> Instances:
        turned = ScorerTraining.augmented(state, instances, generator)
        augmented.add(turned)
        alive.append(len(augmented))
        return turned

    monkeypatch.setattr(state, "augmented", counting)
    monkeypatch.setattr("napari_amil.core.training.steps._CHUNK", 2)
    steps = [event for event in CellViews.from_bags(state, bags, 2) if isinstance(event, Step)]
    assert len(alive) > 8
    assert len(steps) == len(alive)
    assert steps[-1].done == steps[-1].total
    assert max(alive) <= 2  # one, and the former until it is replaced


def test_turned_feature_maps_are_not_embedded_again() -> None:
    bags, settings = bag_arrays("roi"), SETTINGS.changed({"model": {"encoder": "roi"}})
    state = ScorerTraining(bags, settings, CPU)
    state.refit(bags)
    views = drain(CellViews.from_bags(state, bags, 2))
    torch.testing.assert_close(views.latents[1], views.latents[0], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(views.distances[2], views.distances[0], rtol=1e-3, atol=1e-3)
    assert _n_augmented(settings) == 0
    assert _n_augmented(SETTINGS) == SETTINGS.training.views
    for differing in ({"orientations": 1}, {"measurement_columns": 2}):
        assert _n_augmented(settings.changed({"model": differing})) == SETTINGS.training.views


@pytest.mark.parametrize("changes", [{"cell_epochs": 0, "hypersphere_weight": 0.0, "schedule": "constant"}])
def test_the_published_schedule_trains_on_bags_alone(changes: dict[str, object]) -> None:
    fitted, events = trained(changed(**changes))
    assert len(fitted.history) == 4
    assert not any(isinstance(event, Step) and "Single" in event.message for event in events)


def test_control_cells_at_nearly_the_same_distance_are_counted() -> None:
    state = ScorerTraining(bag_arrays(), SETTINGS, CPU)
    state.control_distances = torch.tensor([4.0, 4.0]).nextafter(torch.tensor([4.0, 5.0]))
    assert sum(state.control_histogram().counts) == 2


def test_a_checkpoint_of_other_settings_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.safetensors"
    trained(checkpoint=path)
    other = SETTINGS.model_copy(
        update={"training": SETTINGS.training.model_copy(update={"learning_rate": 0.1})}
    )
    with pytest.raises(BundleError, match="other settings"):
        trained(other, path)
    fewer = bag_arrays().take(range(15))
    with pytest.raises(BundleError, match="other bags"):
        drain(fit_model(fewer, SETTINGS, CPU, path))


def test_feature_maps_train_too() -> None:
    settings = SETTINGS.model_copy(update={"model": SETTINGS.model.model_copy(update={"encoder": "roi"})})
    fitted, _ = trained(settings, kind="roi")
    output, distances = score_bags(fitted.model, fitted.gaussian, bag_arrays("roi"), CPU)
    assert output.logits.shape == (16, 2)
    assert torch.isfinite(distances).all()


def test_controls_without_a_reference_are_refused() -> None:
    bags = bag_arrays()
    bags = replace(bags, reference=np.zeros(len(bags), dtype=bool))
    with pytest.raises(AmilError, match="No bag of the control class 'control' is a reference"):
        drain(fit_model(bags, SETTINGS, CPU))


def test_two_shapes_are_told_apart() -> None:
    longer = SETTINGS.training.model_copy(
        update={"max_epochs": 60, "cell_epochs": 12, "cells_per_step": 10, "bags_per_step": 2}
    )
    fitted, _ = trained(SETTINGS.model_copy(update={"training": longer}))
    bags = bag_arrays()
    output, distances = score_bags(fitted.model, fitted.gaussian, bags, CPU)
    odd = torch.from_numpy(np.concatenate(bags.rows) >= 30)
    assert float((output.logits.argmax(1).numpy() == bags.labels).mean()) > 0.8
    assert distances[odd].median() > distances[~odd].median()


def test_validation_changes_no_weight() -> None:
    bags = bag_arrays()
    state = ScorerTraining(bags, SETTINGS, CPU)
    state.refit(bags)
    state.model.train()
    before = {name: value.clone() for name, value in state.model.state_dict().items()}
    first = validate(state, bags)
    assert first == validate(state, bags)
    assert state.model.training
    assert all(torch.equal(value, before[name]) for name, value in state.model.state_dict().items())


def test_scores_do_not_depend_on_the_other_bags() -> None:
    fitted, _ = trained()
    bags = bag_arrays()
    together, d = score_bags(fitted.model, fitted.gaussian, bags, CPU)
    alone, d_alone = score_bags(fitted.model, fitted.gaussian, bags.take([3]), CPU)
    torch.testing.assert_close(alone.logits[0], together.logits[3], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(d_alone, d[18:24], rtol=1e-3, atol=1e-3)


def test_no_patient_to_spare_is_announced_and_the_last_epoch_kept() -> None:
    events: list[Event] = []
    fitted = drain(fit_model(bag_arrays(n_patients=2), SETTINGS, CPU), events.append)
    assert any(isinstance(event, Warned) and "last epoch" in event.message for event in events)
    assert fitted.best_epoch == 5


def test_unusable_bags_are_refused() -> None:
    bags = bag_arrays()
    ill = np.flatnonzero(bags.labels == 1)
    control = np.flatnonzero(bags.labels == 0)
    with pytest.raises(AmilError, match="control class 'control'"):
        drain(fit_model(bags.take(ill), SETTINGS, CPU))
    with pytest.raises(AmilError, match="at least one other class"):
        drain(fit_model(bags.take(control), SETTINGS, CPU))
