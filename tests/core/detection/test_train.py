"""A training can stop and go on as if nothing had happened, and leaves what it should not touch."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from numpy.typing import NDArray
from torchvision.models.detection import MaskRCNN

from napari_amil.core.base.errors import BundleError, CohortError
from napari_amil.core.base.events import EpochReport, Event, Warned, drain
from napari_amil.core.base.settings import DetectorTrainingSettings
from napari_amil.core.detection.augment import AnnotatedField
from napari_amil.core.detection.network import build_detector
from napari_amil.core.detection.train import Watch, first_annotation, learning_rate, train_detector

CPU = torch.device("cpu")
TINY = DetectorTrainingSettings(steps=4, batch_size=1, crop_px=128, checkpoint_every=2, seed=3)


def trained(
    field: AnnotatedField, settings: DetectorTrainingSettings, checkpoint: Path | None = None
) -> tuple[MaskRCNN, list[Event]]:
    events: list[Event] = []
    return drain(train_detector([field], settings, CPU, checkpoint), events.append).model, events


def test_a_resumed_training_equals_the_uninterrupted_one(annotated: AnnotatedField, tmp_path: Path) -> None:
    whole, events = trained(annotated, TINY)
    reports = [event for event in events if isinstance(event, EpochReport)]
    assert [(report.epoch, report.n_epochs) for report in reports] == [(2, 4), (4, 4)]
    assert not whole.training

    path = tmp_path / "detector.safetensors"
    broken_off = train_detector([annotated], TINY, CPU, path)
    first = next(event for event in broken_off if isinstance(event, EpochReport))
    assert repr(first) == repr(reports[0])  # a loss that was not measured is NaN, unlike itself
    broken_off.close()
    torch.manual_seed(99)
    resumed, later = trained(annotated, TINY, path)
    assert later[0] == Warned("Resumed from 'detector.safetensors' at step 2.")
    assert repr(later[1:]) == repr(events[events.index(reports[0]) + 1 :])
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name

    finished, none = trained(annotated, TINY, path)
    assert none == [Warned("Resumed from 'detector.safetensors' at step 4.")]
    assert all(torch.equal(v, finished.state_dict()[k]) for k, v in whole.state_dict().items())
    assert not path.with_name(path.name + ".partial").exists()


def test_a_checkpoint_holds_weights_moments_and_the_step(annotated: AnnotatedField, tmp_path: Path) -> None:
    path = tmp_path / "detector.safetensors"
    model, _ = trained(annotated, TINY.model_copy(update={"steps": 1}), path)
    stored = safetensors.torch.load_file(path)
    for name, value in model.state_dict().items():
        assert torch.equal(stored[f"model.{name}"], value)
    assert {float(value) for name, value in stored.items() if name.endswith(".step")} == {1.0}
    assert sum(name.endswith(".exp_avg") for name in stored) == len(list(model.parameters()))


def test_a_checkpoint_of_another_network_is_refused(annotated: AnnotatedField, tmp_path: Path) -> None:
    path = tmp_path / "detector.safetensors"
    safetensors.torch.save_file({"model.weight": torch.zeros(1)}, path, {"training": '{"step": 1}'})
    with pytest.raises(BundleError, match=r"detector\.safetensors.*another network.*delete it"):
        trained(annotated, TINY, path)
    path.write_bytes(b"cut short")
    with pytest.raises(BundleError, match=r"detector\.safetensors.*damaged.*delete it"):
        trained(annotated, TINY, path)


def test_training_starts_from_a_given_network(annotated: AnnotatedField, detector: MaskRCNN) -> None:
    settings = TINY.model_copy(update={"steps": 1, "learning_rate": 1e-9})
    before = {name: value.clone() for name, value in detector.state_dict().items()}
    model = drain(train_detector([annotated], settings, CPU, model=detector)).model
    assert model is detector
    for name, value in model.state_dict().items():
        torch.testing.assert_close(value, before[name], atol=1e-6, rtol=0)


def test_images_without_cells_are_refused() -> None:
    empty = AnnotatedField(np.full((160, 160, 3), 255, np.uint8), np.zeros((160, 160), np.int32), ())
    with pytest.raises(CohortError, match="No cell was found"):
        trained(empty, TINY)


def test_the_step_size_rises_and_falls() -> None:
    settings = DetectorTrainingSettings(steps=4000, learning_rate=1e-3)
    rates = np.array([learning_rate(step, settings) for step in range(4000)])
    assert rates[0] == pytest.approx(1e-3 / 200)
    assert rates[199:201] == pytest.approx(1e-3)
    assert (np.diff(rates[:200]) > 0).all()
    assert (np.diff(rates[200:]) < 0).all()
    assert rates[2100] == pytest.approx(1e-3 * (0.01 + 0.99 / 2))
    assert rates[-1] == pytest.approx(1e-5, rel=0.01)


@pytest.mark.parametrize("steps", [1, 2, 10])
def test_the_step_size_of_a_short_training_stays_within_its_peak(steps: int) -> None:
    settings = DetectorTrainingSettings(steps=steps, learning_rate=1e-3)
    rates = [learning_rate(step, settings) for step in range(steps)]
    assert all(0 < rate <= 1e-3 + 1e-12 for rate in rates)


def test_first_annotations_are_made_at_the_scale_of_the_network(normalised: NDArray[np.float32]) -> None:
    assert first_annotation(np.ones((160, 160, 3), np.float32)) is None
    same = first_annotation(normalised)
    assert same is not None
    assert same.pixels.shape == normalised.shape
    assert same.labels.shape == normalised.shape[:2]
    np.testing.assert_array_equal(same.pixels, (normalised * 255).round())
    enlarged = first_annotation(normalised.repeat(2, axis=0).repeat(2, axis=1))
    assert enlarged is not None
    assert np.abs(np.subtract(enlarged.labels.shape, same.labels.shape)).max() < 24
    assert enlarged.labels.max() == same.labels.max()


def test_doubtful_clumps_are_painted_over() -> None:
    pixels = np.ones((200, 260, 3), np.float32)
    y, x = np.mgrid[:200, :260]
    for cx in (40, 100):
        pixels[(y - 40) ** 2 + (x - cx) ** 2 < 400] = (0.85, 0.5, 0.62)
    pixels[90:170, 60:200] = (0.85, 0.5, 0.62)
    pixels[112:148, 82:178] = 1
    annotation = first_annotation(pixels)
    assert annotation is not None
    assert (annotation.pixels[annotation.labels == 0][:, 1] > 200).mean() > 0.99
    assert annotation.labels[40, 40] != annotation.labels[40, 100]


def test_a_checkpoint_of_other_settings_is_refused(annotated: AnnotatedField, tmp_path: Path) -> None:
    path = tmp_path / "detector.safetensors"
    short = TINY.model_copy(update={"steps": 1})
    trained(annotated, short, path)
    with pytest.raises(BundleError, match="other settings"):
        trained(annotated, short.model_copy(update={"seed": 9}), path)
    other = first_annotation(np.rot90(annotated.pixels / np.float32(255)).astype(np.float32))
    assert other is not None
    with pytest.raises(BundleError, match="other images or annotations"):
        trained(other, short, path)


class Judge:
    """Says what it was told to, and counts the steps at which it was asked."""

    def __init__(self, *merits: float) -> None:
        self.merits = iter(merits)
        self.seen: list[float] = []

    def __call__(self, model: MaskRCNN) -> dict[str, float]:
        assert not model.training
        self.seen.append(float(next(iter(model.parameters())).detach().double().sum()))
        return {"ap50_95": next(self.merits), "recall": math.nan}


def test_the_best_weights_are_kept_and_a_judge_changes_no_step(
    annotated: AnnotatedField, tmp_path: Path
) -> None:
    settings = TINY.model_copy(update={"steps": 6})
    plain, _ = trained(annotated, settings)
    judge, path = Judge(0.1, 0.5, 0.4, 0.3), tmp_path / "detector.safetensors"
    events: list[Event] = []
    watch = Watch(judge)
    done = drain(train_detector([annotated], settings, CPU, path, watch=watch), events.append)
    assert (done.steps, done.best_step, done.stopped) == (6, 2, False)
    assert [done.figures[step]["ap50_95"] for step in (0, 2, 4, 6)] == [0.1, 0.5, 0.4, 0.3]
    stored = safetensors.torch.load_file(path)
    for name, value in done.model.state_dict().items():
        assert torch.equal(stored[f"best.{name}"], value)
        assert torch.equal(stored[f"model.{name}"], plain.state_dict()[name])
    reports = [event for event in events if isinstance(event, EpochReport)]
    assert [report.metrics["ap50_95"] for report in reports] == [0.1, 0.5, 0.4, 0.3]
    again = drain(train_detector([annotated], settings, CPU, path, watch=Watch(Judge())))
    assert again.best_step == 2
    assert math.isnan(again.figures[2]["recall"])
    assert all(torch.equal(v, again.model.state_dict()[k]) for k, v in done.model.state_dict().items())


def test_a_training_that_was_stopped_keeps_the_best_and_goes_on_as_if_it_had_not(
    annotated: AnnotatedField, tmp_path: Path
) -> None:
    whole = drain(train_detector([annotated], TINY, CPU, watch=Watch(Judge(0.1, 0.2, 0.3))))
    path, stop = tmp_path / "detector.safetensors", tmp_path / "stop"
    work = train_detector([annotated], TINY, CPU, path, watch=Watch(Judge(0.1, 0.05), stop))
    assert isinstance(next(work), EpochReport)
    stop.touch()
    stopped = drain(work)
    assert (stopped.steps, stopped.best_step, stopped.stopped) == (1, 0, True)
    stop.unlink()
    resumed = drain(train_detector([annotated], TINY, CPU, path, watch=Watch(Judge(0.2, 0.3), stop)))
    assert repr(resumed.figures) == repr(whole.figures)
    assert resumed.best_step == whole.best_step == 4
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, resumed.model.state_dict()[name]), name


def test_a_frozen_backbone_keeps_its_weights(annotated: AnnotatedField) -> None:
    torch.manual_seed(0)
    model = build_detector()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    settings = TINY.model_copy(update={"steps": 1, "freeze": "backbone"})
    after = drain(train_detector([annotated], settings, CPU, model=model)).model.state_dict()
    changed = {name for name, value in after.items() if not torch.equal(value, before[name])}
    assert not [name for name in changed if name.startswith(("backbone.stem", "backbone.stages"))]
    assert any(name.startswith("backbone.fpn") for name in changed)
    assert any(name.startswith("roi_heads.box_predictor") for name in changed)
