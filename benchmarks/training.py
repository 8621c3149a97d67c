"""Training throughput in bags per second: this engine against the published way of computing, in one process.

Usage: python benchmarks/training.py [COHORT] [--hold-out-fold F] [--threads 2] [--epochs 5] [--precision P]

COHORT is a folder or a cell list; without it a made-up cohort serves. Cells are read once, as feature maps
of the starter detector. Every row trains the network of the published code (`amil-code`: three convolutions,
500 dimensions, attention, pooling, both classifiers) on the same bags:

* published: PyTorch's convolutions, one bag a step, SciPy's Mahalanobis distance cell by cell, scikit-learn's
  GaussianMixture on the embeddings of all control bags every fifth epoch, as the published code has it;
* amil-code: the same training by this engine; and with 16 bags a step;
* recommended: the recommended training, in which the encoder first learns from single cells and then rests,
  so that bags are made from embeddings. Counted are the bags of the whole training over all of its time, the
  epochs over single cells and the embedding of every cell included; and, in the row below, from the first
  epoch over bags on.

The final fit of the Gaussian and its calibration, the same for all, are left out. The recommended schedule is
run whole, the others for --epochs epochs. The ratio to the first row counts; run it on a quiet machine.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from scipy.spatial.distance import mahalanobis
from sklearn.mixture import GaussianMixture
from torch import Tensor

from napari_amil.core.base.events import EpochReport, drain
from napari_amil.core.base.presets import preset
from napari_amil.core.base.settings import RunSettings
from napari_amil.core.cohort.folds import split
from napari_amil.core.cohort.layouts.registry import read_cohort
from napari_amil.core.cohort.synth import SynthCohortSettings, write_synthetic_cohort
from napari_amil.core.instances.extract import Recipe, field_instances
from napari_amil.core.instances.gather import gather
from napari_amil.core.instances.sources import cohort_source
from napari_amil.core.mil.batch import BagArrays, RaggedBatch
from napari_amil.core.mil.loss import amil_loss, sic_weight
from napari_amil.core.mil.model import AmilModel
from napari_amil.core.model.bundle import load_bundle
from napari_amil.core.training.loop import fit_model

CPU = torch.device("cpu")
PUBLISHED = "published way of computing"
MANY_BAGS = 16


def read_bags(path: Path, held_out_fold: int | None, settings: RunSettings) -> BagArrays:
    """Return the training bags of a cohort, their cells as feature maps of the starter detector."""
    source = cohort_source(read_cohort(path))
    if held_out_fold is not None:
        source = replace(source, cohort=split(source.cohort, held_out_fold)[0])
    recipe = Recipe.for_training(load_bundle(), settings, CPU)
    gathered = drain(gather(source, recipe, field_instances))
    classes = gathered.cohort.classes
    labels = np.array([classes.index(bag.label) for bag in gathered.cohort])
    patients = tuple(bag.patient for bag in gathered.cohort)
    return BagArrays(gathered.values, gathered.rows, labels, patients, classes, gathered.cohort.control)


def published_epochs(bags: BagArrays, settings: RunSettings) -> Iterator[float]:
    """Train as the published code computes; yield the mean loss of each epoch."""
    training = settings.training
    torch.manual_seed(training.seed)
    model = AmilModel(settings.model, len(bags.classes), bags.instances.shape[1])
    optimiser = torch.optim.Adam(model.parameters(), training.learning_rate)
    mixture = GaussianMixture(1, covariance_type="full", init_params="random", random_state=0)
    for epoch in range(training.max_epochs):
        if epoch % training.refit_every == 0:
            healthy = [convolved(model, bags.batch([bag])) for bag in control_bags(bags)]
            mixture.fit(torch.cat(healthy).detach().numpy())
        mean, precision = mixture.means_[0], mixture.precisions_[0]
        losses = []
        for bag in torch.randperm(len(bags)).tolist():
            batch = bags.batch([bag])
            z = convolved(model, batch)
            d = torch.tensor([mahalanobis(cell, mean, precision) for cell in z.detach().numpy()])
            output = model.aggregate(z, batch.lengths, d)
            loss = amil_loss(output, label_of(bags, bag), batch.lengths, sic_weight(epoch), training.loss)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            losses.append(loss.item())
        yield sum(losses) / len(losses)


def convolved(model: AmilModel, batch: RaggedBatch) -> Tensor:
    """Return the embeddings by convolutions, as the published code writes them."""
    z: Tensor = model.encoder.project(model.encoder.convolutions(batch.instances.pixels.float()))
    return z


def control_bags(bags: BagArrays) -> list[int]:
    """Return the numbers of the control bags."""
    return np.flatnonzero(bags.labels == bags.control_label).tolist()


def label_of(bags: BagArrays, bag: int) -> Tensor:
    """Return the label of one bag, ``(1,)``."""
    return torch.from_numpy(bags.labels[bag : bag + 1])


def time_published(bags: BagArrays, settings: RunSettings) -> float:
    """Return the bags per second of the published way of computing."""
    start = time.perf_counter()
    for epoch, loss in enumerate(published_epochs(bags, settings)):
        print(f"  epoch {epoch + 1}: loss {loss:.4f}, {time.perf_counter() - start:.1f} s", flush=True)
    return len(bags) * settings.training.max_epochs / (time.perf_counter() - start)


def time_engine(bags: BagArrays, settings: RunSettings) -> tuple[float, float]:
    """Return the bags per second of the whole training, and from the first epoch over bags on."""
    start = first = end = time.perf_counter()
    for event in fit_model(bags, settings, CPU):
        if isinstance(event, EpochReport):
            end = time.perf_counter()
            if "bag_loss" not in event.metrics:
                first = end
            print(f"  epoch {event.epoch + 1}: loss {event.train_loss:.4f}, {end - start:.1f} s", flush=True)
    seen = len(bags) * settings.training.max_epochs
    return seen / (end - start), seen / (end - first)


def plans(epochs: int, precision: str) -> dict[str, RunSettings]:
    """Return the settings of each row, all with the network of the published code."""
    code = preset("amil-code").changed({"training": {"max_epochs": epochs, "early_stop": "none"}})
    recommended = preset("recommended")
    resting = code.changed(
        {
            "model": {"orientations": recommended.model.orientations},
            "training": recommended.training.model_dump(mode="json") | {"validation_fraction": 0},
        }
    )
    many = code.changed({"training": {"bags_per_step": MANY_BAGS}})
    rows = {PUBLISHED: code, "amil-code": code, f"amil-code, {MANY_BAGS} bags a step": many}
    rows |= {"recommended training": resting}
    if precision != "32":
        rows |= {
            f"{name}, {precision}": settings.changed({"training": {"precision": precision}})
            for name, settings in list(rows.items())[2:]
        }
    return rows


def measure(bags: BagArrays, rows: dict[str, RunSettings]) -> dict[str, float]:
    """Return the bags per second of every row."""
    speed = {}
    for name, settings in rows.items():
        print(name, flush=True)
        if name == PUBLISHED:
            speed[name] = time_published(bags, settings)
            continue
        whole, of_bags = time_engine(bags, settings)
        speed[name] = whole
        if settings.training.cell_epochs:
            speed[f"{name}: epochs over bags"] = of_bags
    return speed


def main(arguments: list[str] | None = None) -> None:
    """Print one row per way of training, in bags per second and as ratio to the published way."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("cohort", type=Path, nargs="?", help="without it a made-up cohort")
    parser.add_argument("--hold-out-fold", type=int)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--precision", choices=("32", "bf16-mixed"), default="32", help="adds rows")
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args(arguments)
    torch.set_num_threads(chosen.threads)
    with tempfile.TemporaryDirectory() as folder:
        path = chosen.cohort or write_synthetic_cohort(Path(folder) / "cohort", SynthCohortSettings())
        bags = read_bags(path, chosen.hold_out_fold, preset("amil-code"))
    speed = measure(bags, plans(chosen.epochs, chosen.precision))
    n_cells = sum(len(rows) for rows in bags.rows)
    n_distinct = len(np.unique(np.concatenate(bags.rows)))
    print(f"{len(bags)} bags, {n_cells} cells ({n_distinct} distinct), {chosen.threads} threads")
    for name, value in speed.items():
        print(f"{name:48} {value:8.1f} bags/s  {value / speed[PUBLISHED]:6.1f} x")
    if chosen.json:
        chosen.json.write_text(json.dumps(speed, indent=2), encoding="utf-8")


if __name__ == "__main__":
    main()
