"""Known defects of the published code of AMIL (1 to 8) and of attMIL (a to d) are not among ours."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import NoReturn

import numpy as np
import PIL.Image
import pytest
import torch
from sklearn.metrics import average_precision_score
from torch import nn

from napari_amil.core.anomaly.calibration import Calibration
from napari_amil.core.anomaly.channels import LATENT
from napari_amil.core.anomaly.gaussian.channel import LatentDistance
from napari_amil.core.anomaly.model import AnomalyModel
from napari_amil.core.base.checkpoint import read_checkpoint
from napari_amil.core.base.errors import AmilError
from napari_amil.core.base.events import EpochReport, Failed, drain
from napari_amil.core.base.presets import preset
from napari_amil.core.base.settings import RunSettings
from napari_amil.core.base.types import Bag, Cells, Cohort
from napari_amil.core.encoders.roi import scale_roi_maps
from napari_amil.core.evaluation.metrics import bag_metrics
from napari_amil.core.instances.extract import Recipe
from napari_amil.core.instances.gather import gather
from napari_amil.core.instances.sources import cohort_source
from napari_amil.core.mil.batch import BagArrays
from napari_amil.core.mil.model import embed_all
from napari_amil.core.model.bundle import Bundle, load_bundle, save_bundle
from napari_amil.core.model.scorer import Scorer
from napari_amil.core.training.loop import FittedModel, fit_model
from napari_amil.core.training.state import ScorerTraining
from napari_amil.core.training.steps import score_bags

CPU = torch.device("cpu")
NAMES = (("control", "ill"), "control")
PUBLISHED = ("amil-code", "amil-paper", "attmil", "abmil")


def small(name: str = "amil-code", **training: object) -> RunSettings:
    """Return a preset with a short embedding and two epochs."""
    model = {"latent_dim": 8, "attention_dim": 4}
    return preset(name).changed({"model": model, "training": {"max_epochs": 2, **training}})


def bag_arrays(n_bags: int = 8, lengths: tuple[int, ...] = (4,)) -> BagArrays:
    """Return bags of feature maps in which the class shifts half the cells, four patients a class."""
    rng = np.random.default_rng(0)
    sizes = [lengths[number % len(lengths)] for number in range(n_bags)]
    labels = np.arange(n_bags) % 2
    maps = rng.normal(size=(sum(sizes), 4, 14, 14))
    ends = np.cumsum(sizes)
    rows = tuple(np.arange(end - size, end) for end, size in zip(ends, sizes, strict=True))
    for label, own in zip(labels, rows, strict=True):
        maps[own[::2]] += label
    patients = tuple(f"{label}-{number // 2 % 4}" for number, label in enumerate(labels))
    return BagArrays(maps.astype(np.float16), rows, labels, patients, ("control", "ill"), "control")


def fitted(settings: RunSettings, bags: BagArrays, checkpoint: Path | None = None) -> FittedModel:
    return drain(fit_model(bags, settings, CPU, checkpoint))


def bundled(model: FittedModel, settings: RunSettings) -> Bundle:
    channels = {LATENT: LatentDistance(settings.model, model.gaussian)}
    anomaly = AnomalyModel(settings.model, channels, calibrations={"anomaly": Calibration(model.held_out)})
    scorer = Scorer(model.model, anomaly, ("control", "ill"), 4)
    return Bundle(settings, scorer=scorer)


@pytest.mark.parametrize("name", PUBLISHED)
def test_1_a_published_system_is_tested_from_its_file_without_training_data(
    name: str, tmp_path: Path
) -> None:
    bags, settings = bag_arrays(), small(name)
    train, test = bags.take(range(6)), bags.take([6, 7])
    model = fitted(settings, train)
    save_bundle(bundled(model, settings), tmp_path / "bundle")
    scorer = load_bundle(tmp_path / "bundle").need_scorer()
    before, d = score_bags(model.model, model.gaussian, test, CPU)
    after, again = score_bags(scorer.model, scorer.anomaly.gaussian, test, CPU)
    assert before.logits.shape == (2, 2)
    torch.testing.assert_close(after.logits, before.logits, rtol=0, atol=0)
    torch.testing.assert_close(again, d, rtol=0, atol=0)


def test_2_runs_of_fold_0_and_folds_of_run_0_have_seeds_of_their_own() -> None:
    seeds = [small().for_run(fold, run).training.seed for fold in range(3) for run in range(5)]
    assert len(set(seeds)) == 15
    starts = [ScorerTraining(bag_arrays(), small().for_run(0, run), CPU).model for run in (0, 1)]
    first, second = (next(model.parameters()) for model in starts)
    assert not torch.equal(first, second)


@pytest.mark.parametrize("name", PUBLISHED)
def test_3_a_bag_of_one_cell_is_trained_on_and_scored(name: str) -> None:
    bags = bag_arrays(lengths=(1, 5, 1))
    model = fitted(small(name), bags)
    output, _ = score_bags(model.model, model.gaussian, bags, CPU)
    assert output.logits.isfinite().all()
    assert output.attention[0] == 1.0


def test_3_bags_without_cells_are_reported_or_refused_and_never_dropped_in_silence(tmp_path: Path) -> None:
    PIL.Image.new("RGB", (60, 60), "white").save(tmp_path / "field.png")
    (tmp_path / "torn.png").write_text("no image")
    cells = Cells(np.array([[5, 5, 30, 30]], np.float32))
    bags = (
        Bag("good", "a", ("field.png",), {"field.png": cells}, "control"),
        Bag("lost", "b", ("torn.png",), {"torn.png": cells}, "control"),
    )
    source = cohort_source(Cohort(str(tmp_path), bags, ("control",)))
    failed: list[str] = []

    def note(event: object) -> None:
        if isinstance(event, Failed):
            failed.append(event.source)

    recipe = Recipe(Bundle(RunSettings()), RunSettings(), CPU)
    gathered = drain(gather(source, recipe, lambda _image, found, _recipe: np.zeros(len(found))), note)
    assert [bag.bag for bag in gathered.cohort] == ["good"]
    assert failed == ["torn.png", "lost"]
    whole = bag_arrays()
    empty = BagArrays(whole.instances, (np.arange(0), *whole.rows[1:]), whole.labels, whole.patients, *NAMES)
    with pytest.raises(AmilError, match="bag without cells"):
        fitted(small(), empty)


def test_4_feature_maps_without_contrast_give_no_nan() -> None:
    flat = torch.full((2, 3, 14, 14), 0.7)
    assert (scale_roi_maps(flat) == 0).all()


def test_5_the_control_gaussian_is_fitted_in_evaluation_and_without_gradients() -> None:
    bags = bag_arrays()
    state = ScorerTraining(bags, small("attmil"), CPU)
    assert any(isinstance(layer, nn.Dropout) and layer.p > 0 for layer in state.model.modules())
    state.model.train()
    before = {name: value.clone() for name, value in state.model.state_dict().items()}
    state.refit(bags)
    assert state.model.training
    assert all(torch.equal(value, before[name]) for name, value in state.model.state_dict().items())
    maps = torch.from_numpy(bags.instances)
    z = embed_all(state.model, maps, CPU)
    assert not z.requires_grad
    torch.testing.assert_close(z, embed_all(state.model, maps, CPU), rtol=0, atol=0)  # no dropout
    rows, _ = bags.control_cells()
    np.testing.assert_allclose(state.gaussian.mean.numpy(), z[rows].double().mean((0, 1)).numpy(), atol=1e-6)


def test_6_nothing_is_pickled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_args: object, **_kwargs: object) -> NoReturn:
        raise AssertionError("Something was pickled.")

    for module, names in ((pickle, ("load", "loads", "dump", "dumps")), (torch, ("load", "save"))):
        for name in names:
            monkeypatch.setattr(module, name, refuse)
    model = fitted(small(), bag_arrays(), tmp_path / "checkpoint")
    save_bundle(bundled(model, small()), tmp_path / "bundle")
    assert load_bundle(tmp_path / "bundle").need_scorer().classes == ("control", "ill")
    assert read_checkpoint(tmp_path / "checkpoint")[1]["epoch"] == 2


def test_7_control_cells_carry_the_patients_of_the_bags_that_were_chosen() -> None:
    bags = bag_arrays()
    for chosen in ([6, 2, 1], [0, 4, 3]):
        part = bags.take(chosen)
        rows, patients = part.control_cells()
        owner = {row: bags.patients[bag] for bag in chosen if bags.labels[bag] == 0 for row in bags.rows[bag]}
        assert dict(zip(rows.tolist(), patients, strict=True)) == owner


def test_8_the_last_checkpoint_is_the_file_that_was_named(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.safetensors"
    first = fitted(small(), bag_arrays(), path)
    assert [found.name for found in tmp_path.iterdir()] == ["checkpoint.safetensors"]
    events: list[object] = []
    again = drain(fit_model(bag_arrays(), small(), CPU, path), events.append)
    assert not [event for event in events if isinstance(event, EpochReport)]
    pairs = zip(first.model.parameters(), again.model.parameters(), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_the_loss_that_ends_a_training_is_the_loss_of_its_bags(name: str) -> None:
    quick = {"max_epochs": 9, "bags_per_step": 8, "early_stop": "cumulative"}
    settings = small(name, learning_rate=1e-9, **quick)
    history = fitted(settings, bag_arrays()).history
    assert len(history) == 9  # a loss that is always 0 would end it after stop_count epochs
    assert all(report.metrics["bag_loss"] > 0.3 for report in history)
    loose = small(name, stop_loss=1e3, stop_count=4, **quick)
    assert len(fitted(loose, bag_arrays()).history) == 4


@pytest.mark.parametrize("name", PUBLISHED)
def test_b_no_cell_is_the_bag_because_it_comes_first(name: str) -> None:
    bags = bag_arrays()
    model = fitted(small(name), bags)
    turned = BagArrays(bags.instances, tuple(r[::-1] for r in bags.rows), bags.labels, bags.patients, *NAMES)
    one, other = (score_bags(model.model, model.gaussian, part, CPU)[0].logits for part in (bags, turned))
    torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_c_the_precision_recall_of_a_class_is_that_of_the_class() -> None:
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2], [30, 12, 6])
    p = rng.dirichlet((1, 1, 1), 48)
    p[labels == 1] = (0.0, 1.0, 0.0)  # the second class is always found, the others by chance
    metrics = bag_metrics(labels, p, ("a", "b", "c"))
    assert metrics["auprc_b"] == 1.0
    for number, name in enumerate("abc"):
        expected = average_precision_score(labels == number, p[:, number])
        assert metrics[f"auprc_{name}"] == pytest.approx(expected)


def test_d_the_predicted_class_is_the_most_probable_even_below_one_half() -> None:
    metrics = bag_metrics(np.array([0, 2]), np.array([[0.4, 0.3, 0.3], [0.3, 0.3, 0.4]]), ("a", "b", "c"))
    assert metrics["accuracy"] == 1.0
