"""Pre-train an encoder of cells on smears without labels, and write it as a file that a model can use."""

from __future__ import annotations

import time
import warnings
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from numpy.typing import NDArray

from napari_amil.core.anomaly.reconstruction.network_training import TrainingFiles, train_network
from napari_amil.core.base.errors import AmilError, SettingsError
from napari_amil.core.base.events import STOP_FILE, Event, TrainingBegan
from napari_amil.core.base.files import file_sha256, replacing
from napari_amil.core.base.outputs import environment, write_json, write_text
from napari_amil.core.base.types import Cells
from napari_amil.core.instances.extract import Recipe, in_order, instance_blocks
from napari_amil.core.instances.field_blocks import PreparedField
from napari_amil.core.instances.gather import cohort_hash, gather, without_cut_cells
from napari_amil.core.instances.sources import Source
from napari_amil.core.pipeline.run_folder import in_run_folder
from napari_amil.core.training.contrastive import NAME, ContrastiveSettings, ContrastiveTraining

ENCODER, SETTINGS, ROWS = "encoder.pt", "encoder.yaml", "rows.yaml"
_FEWEST_CELLS = 200


@dataclass(frozen=True)
class Pretrained:
    """A pre-trained encoder.

    Parameters
    ----------
    encoder
        TorchScript file from crops to features.
    settings
        YAML with which ``train`` puts a model on it.
    n_cells
        Cells that taught it.
    """

    encoder: Path
    settings: Path
    n_cells: int


def pretrain(
    source: Source, recipe: Recipe, out: Path, wanted: ContrastiveSettings
) -> Generator[Event, None, Pretrained]:
    """Train an encoder on all whole cells of a source, whatever their labels (`ContrastiveTraining`).

    The run folder holds ``encoder.pt`` (TorchScript), ``encoder.yaml`` for ``train --settings``,
    ``rows.yaml`` for ``ablate --more-rows``, ``run.yaml``, ``checkpoint.safetensors``, ``events.jsonl`` and
    ``metrics.json``. The same command goes on where it was stopped; an encoder is written even then.

    Parameters
    ----------
    recipe
        The detector, and the crops for which the encoder is made.

    Raises
    ------
    AmilError
        If there are under 200 whole cells, the model sees no crops, or a run of other settings or cells lies
        in the folder.
    """
    return (yield from in_run_folder(_pretrain(source, recipe, out, wanted), out))


def _pretrain(
    source: Source, recipe: Recipe, out: Path, wanted: ContrastiveSettings
) -> Generator[Event, None, Pretrained]:
    started = time.monotonic()
    if recipe.settings.model.instance != "crop":
        raise SettingsError("Only an encoder of crops can be pre-trained; set model.encoder to 'crop'.")
    gathered = without_cut_cells((yield from gather(source, recipe, _crops)))
    rows = np.unique(np.concatenate(gathered.rows))
    crops = torch.from_numpy(gathered.values[rows])
    if len(crops) < _FEWEST_CELLS:
        raise AmilError(
            f"There are {len(crops)} whole cells, and pre-training needs {_FEWEST_CELLS}; add smears."
        )
    _claim(out, wanted, cohort_hash(gathered))
    seed = recipe.settings.training.seed
    torch.manual_seed(seed)
    training = ContrastiveTraining(wanted, crops).to(recipe.device)
    files = TrainingFiles(out / "checkpoint.safetensors", out / STOP_FILE)
    yield TrainingBegan(f"an encoder of {len(crops):,} cells", 1, 1)
    yield from train_network(NAME, training, crops, seed, files)
    _write_encoder(training, out / ENCODER, recipe.settings.crop.size_px)
    model = _on_encoder(out / ENCODER, recipe.settings.crop.size_px)
    write_text(yaml.safe_dump({"model": model}, sort_keys=False), out / SETTINGS)
    row = {f"model.{name}": value for name, value in model.items()}
    write_text(yaml.safe_dump({"pretrained": row}, sort_keys=False), out / ROWS)
    done = {"n_cells": len(crops), "n_images": len(source.files), "sha256": file_sha256(out / ENCODER)}
    write_json(done | {"seconds": round(time.monotonic() - started)}, out / "metrics.json")
    return Pretrained(out / ENCODER, out / SETTINGS, len(crops))


def _crops(seen: PreparedField, cells: Cells, recipe: Recipe) -> NDArray[Any]:
    """Return the crops ``(n_cells, 3, size, size)`` uint8 of a field."""
    return in_order(list(instance_blocks(seen, cells, recipe, measured=False)))


def _claim(out: Path, wanted: ContrastiveSettings, cells: str) -> None:
    """Store settings and cells of the training; refuse to resume with different ones."""
    text = yaml.safe_dump(wanted.model_dump(mode="json"), sort_keys=False) + f"# cells {cells}\n"
    before = out / "run.yaml"
    if (out / "checkpoint.safetensors").exists() and before.exists() and before.read_text("utf-8") != text:
        raise SettingsError(
            f"The run in '{out}' was made with other settings or cells (run.yaml); use those, or another "
            "folder."
        )
    write_text(text, before)
    write_json(environment(), out / "environment.json")


def _write_encoder(training: ContrastiveTraining, path: Path, size_px: int) -> None:
    """Write the encoder, from crops 0 to 1 to features, as TorchScript on the CPU."""
    net = training.net.cpu().eval()
    with warnings.catch_warnings(), replacing(path) as partial, torch.no_grad():
        warnings.simplefilter("ignore")  # PyTorch calls the format deprecated
        torch.jit.trace(net, torch.rand(2, 3, size_px, size_px)).save(str(partial))


def _on_encoder(encoder: Path, size_px: int) -> dict[str, Any]:
    """Return the settings of a model on this encoder."""
    return {
        "encoder": "external",
        "external_file": str(encoder.resolve()),
        "external_size_px": size_px,
        "external_mean": [0.0, 0.0, 0.0],
        "external_std": [1.0, 1.0, 1.0],
    }
