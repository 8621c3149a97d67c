"""Mixed precision and several processes give the training that one process in 32 bits gives."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from napari_amil.core.base.errors import AmilError, DeviceError, MissingExtraError
from napari_amil.core.base.events import EpochReport, drain
from napari_amil.core.base.presets import preset
from napari_amil.core.base.settings import RunSettings
from napari_amil.core.mil.batch import BagArrays
from napari_amil.core.mil.instances import Instances
from napari_amil.core.mil.model import AmilModel
from napari_amil.core.training import engine as _engine
from napari_amil.core.training.engine import (
    Engine,
    FabricEngine,
    check_compute,
    embed_in_parts,
    start_fabric,
)
from napari_amil.core.training.loop import FittedModel, fit_model
from napari_amil.core.training.ranks import on_ranks
from napari_amil.core.training.state import ScorerTraining
from napari_amil.core.training.steps import score_bags

CPU = torch.device("cpu")
PUBLISHED = preset("amil-code").changed(
    {
        "model": {"latent_dim": 12, "attention_dim": 4, "sic_head": [4]},
        "training": {"max_epochs": 3, "bags_per_step": 12, "learning_rate": 1e-3},
    }
)
CROPS = RunSettings.model_validate(
    {"model": {"width": 8, "latent_dim": 4, "orientations": 1, "measurement_columns": 0}}
).model


def changed(**training: object) -> RunSettings:
    return PUBLISHED.changed({"training": training})


@pytest.fixture(scope="module")
def bags() -> BagArrays:
    """Twelve bags of five feature maps of two classes, of which one has brighter cells."""
    rng = np.random.default_rng(0)
    maps = rng.normal(size=(60, 4, 14, 14)).astype(np.float16)
    maps[30:] += 0.5
    labels = np.arange(12) % 2
    rows = tuple(rng.choice(30, 5, replace=False) + 30 * label for label in labels)
    patients = tuple(f"{label}-{number % 6}" for number, label in enumerate(labels))
    return BagArrays(maps, rows, labels, patients, ("control", "ill"), "control")


def trained(bags: BagArrays, settings: RunSettings, checkpoint: Path | None = None) -> FittedModel:
    fitted: FittedModel = drain(fit_model(bags, settings, CPU, checkpoint))
    return fitted


def losses(fitted: FittedModel) -> list[float]:
    return [report.train_loss for report in fitted.history]


def test_32_bits_on_one_device_need_no_fabric(bags: BagArrays, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lightning_fabric", None)
    assert type(ScorerTraining(bags, PUBLISHED, CPU).engine) is Engine
    with pytest.raises(MissingExtraError, match=r"'lightning_fabric'.*napari-amil\[fabric\]"):
        trained(bags, changed(precision="bf16-mixed"))
    with pytest.raises(MissingExtraError, match=r"napari-amil\[fabric\]"):
        trained(bags, changed(devices=2))


RESTING = {"cell_epochs": 2, "train_encoder_on_bags": False, "views": 1, "augment": True}


@pytest.mark.parametrize("training", [{}, RESTING], ids=["encoder on bags", "resting encoder"])
def test_half_precision_learns_what_single_precision_learns(
    bags: BagArrays, training: dict[str, object]
) -> None:
    settings = PUBLISHED.changed({"model": {"roundness": 0.9}, "training": training})
    single = trained(bags, settings)  # round, or dead dimensions would magnify every bit
    half = trained(bags, settings.changed({"training": {"precision": "bf16-mixed"}}))
    assert losses(half) != losses(single)
    assert losses(half) == pytest.approx(losses(single), rel=0.02)
    for name, weights in half.model.state_dict().items():
        assert weights.dtype == single.model.state_dict()[name].dtype == torch.float32
    (one, d), (other, d_half) = (score_bags(fit.model, fit.gaussian, bags, CPU) for fit in (single, half))
    torch.testing.assert_close(one.logits.softmax(1), other.logits.softmax(1), rtol=0, atol=0.02)
    assert float(torch.corrcoef(torch.stack((d, d_half)))[0, 1]) > 0.99


def test_only_the_encoder_computes_in_half_precision(bags: BagArrays) -> None:
    state = ScorerTraining(bags, changed(precision="bf16-mixed"), CPU)
    state.refit(bags)
    batch = bags.batch([0, 1, 2])
    seen: dict[str, torch.Tensor] = {}

    def compute() -> tuple[torch.Tensor]:
        seen["z"] = state.embed(batch.instances)
        output = state.model.aggregate(seen["z"].detach(), batch.lengths, state.gaussian.distance(seen["z"]))
        seen["logits"] = output.logits
        return (seen["z"].mean() + 0 * output.logits.sum(),)

    weights = {name: value.clone() for name, value in state.model.state_dict().items()}
    state.descend(compute)
    assert seen["z"].dtype == seen["logits"].dtype == torch.float32
    state.model.load_state_dict(weights)
    exact = state.model.embed(batch.instances)
    assert not torch.equal(exact, seen["z"])
    torch.testing.assert_close(exact, seen["z"], rtol=0.05, atol=0.01)
    again = state.model.aggregate(seen["z"], batch.lengths, state.gaussian.distance(seen["z"]))
    assert torch.equal(again.logits, seen["logits"])


def test_an_interrupted_training_in_half_precision_goes_on(bags: BagArrays, tmp_path: Path) -> None:
    settings, path = changed(precision="bf16-mixed"), tmp_path / "checkpoint.safetensors"
    work = fit_model(bags, settings, CPU, path)
    next(event for event in work if isinstance(event, EpochReport) and event.epoch == 1)
    work.close()
    resumed, whole = trained(bags, settings, path), trained(bags, settings)
    assert losses(resumed) == losses(whole)
    torch.testing.assert_close(resumed.model.state_dict(), whole.model.state_dict(), rtol=0, atol=0)


def test_what_is_not_to_be_had_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DeviceError, match="'16-mixed' needs cuda, not cpu; choose 'bf16-mixed' or '32'"):
        start_fabric(changed(precision="16-mixed").training, CPU)
    with pytest.raises(DeviceError, match="On mps there is one device"):
        check_compute(changed(precision="bf16-mixed").training, torch.device("mps"))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(DeviceError, match="3 devices are wanted, but 2 are here"):
        check_compute(changed(devices=3).training, torch.device("cuda"))


def test_every_process_takes_as_many_bags_of_a_step() -> None:
    chosen = torch.tensor([7, 8, 9, 4, 5])
    engine = object.__new__(FabricEngine)
    shares = []
    for rank in range(3):
        engine.fabric = SimpleNamespace(world_size=3, global_rank=rank)
        shares.append(engine.own(chosen).tolist())
    assert shares == [[7, 4], [8, 5], [9, 7]]
    assert engine.own(chosen[:1]).tolist() == [7]


def test_two_processes_train_like_one(bags: BagArrays, tmp_path: Path) -> None:
    """A step of all bags: the mean of two gradients is the gradient of the whole."""
    path = tmp_path / "checkpoint.safetensors"
    one, two = trained(bags, PUBLISHED), trained(bags, changed(devices=2), path)
    assert path.exists()
    assert losses(two) == pytest.approx(losses(one), rel=1e-4)
    torch.testing.assert_close(two.model.state_dict(), one.model.state_dict(), rtol=1e-2, atol=1e-4)
    assert len(trained(bags, changed(devices=2), path).history) == 3


@pytest.mark.parametrize("rank", [0, 1])
def test_what_goes_wrong_in_a_process_is_said_here(rank: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(Path(__file__).parent)  # the processes take it over
    work = import_module("failing_work").fail
    with pytest.raises(AmilError, match=f"Process {rank} has no cells"):
        drain(on_ranks(changed(devices=2).training, CPU, work, rank))


def test_a_large_step_is_embedded_in_parts_with_the_same_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    model = AmilModel(CROPS, 2)
    cells = Instances(torch.rand(25, 3, 32, 32))
    weight = next(model.encoder.parameters())
    seen: list[int] = []
    model.encoder.register_forward_pre_hook(lambda _, given: seen.append(len(given[0])))

    def gradient() -> tuple[torch.Tensor, torch.Tensor]:
        z = embed_in_parts(model, cells)
        weight.grad = None
        z.square().sum().backward()
        assert weight.grad is not None
        return z.detach(), weight.grad.clone()

    model.eval()  # so that batch normalisation is the same for all parts
    whole, at_once = gradient()
    monkeypatch.setattr(_engine, "_MOST_PIXELS", 8 * 32 * 32)
    seen.clear()
    in_parts, accumulated = gradient()
    torch.testing.assert_close(in_parts, whole)
    torch.testing.assert_close(accumulated, at_once, rtol=1e-4, atol=1e-5)
    assert sorted(seen) == [6, 6, 6, 6, 6, 6, 7, 7]  # forward, and once more for the gradient


def test_batch_normalisation_counts_each_part_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_engine, "_MOST_PIXELS", 8 * 32 * 32)
    model = AmilModel(CROPS, 2)
    cells = Instances(torch.rand(25, 3, 32, 32))
    layer = next(module for module in model.modules() if isinstance(module, torch.nn.BatchNorm2d))
    assert layer.running_mean is not None
    z = embed_in_parts(model.train(), cells)
    forward = layer.running_mean.clone()
    z.sum().backward()
    torch.testing.assert_close(layer.running_mean, forward)
    assert layer.momentum == 0.1
