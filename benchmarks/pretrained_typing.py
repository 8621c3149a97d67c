"""Cell types from an encoder of crops: a pre-trained one, an untrained one and that of the starter.

Usage: python -m benchmarks.pretrained_typing CHULA_SLIDES --encoder pre/encoder.pt [--scored FOLDER]

The cells are those of `benchmarks.cell_typing`, at the boxes of the data set. Every slide of the fold is
predicted by the type classifier from the features of ``--names`` random cells of each type on all other
slides: of the encoder alone, and of the encoder with the named measurements. Macro F1 over the types; mean
and standard deviation over the draws.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from benchmarks.cell_typing import Cells as Named
from benchmarks.cell_typing import macro_f1
from napari_amil.core.base.columns import BOX_COLUMNS
from napari_amil.core.base.types import Cells
from napari_amil.core.cell_types.features import parts_of
from napari_amil.core.encoders.crop import CropEncoder
from napari_amil.core.images.fields import open_field
from napari_amil.core.instances.extract import Recipe, in_order, instance_blocks, prepare
from napari_amil.core.model.bundle import load_bundle
from napari_amil.core.training.contrastive import ContrastiveSettings, feature_encoder

Embed = Callable[[Tensor], Tensor]


def crops_of(folder: Path, table: pd.DataFrame, recipe: Recipe) -> Tensor:
    """Return the crops ``(n_cells, 3, size, size)`` uint8 of the rows of a table, in its order."""
    found = np.empty(len(table), dtype=object)
    for image, rows in table.groupby("image").indices.items():
        cells = Cells(table.iloc[rows][BOX_COLUMNS].to_numpy(np.float32))
        with open_field(folder / str(image)) as field:
            blocks = list(instance_blocks(prepare(field, recipe), cells, recipe, measured=False))
        found[rows] = list(in_order(blocks))
    return torch.from_numpy(np.stack(list(found)))


@torch.inference_mode()
def embedded(crops: Tensor, embed: Embed) -> np.ndarray:
    """Return features ``(n_cells, d)``."""
    return torch.cat([embed(part.float() / 255) for part in crops.split(256)]).numpy()


def encoders(path: Path, recipe: Recipe) -> dict[str, Embed]:
    """Return the encoders that are compared."""
    torch.manual_seed(0)
    starter = next(m for m in recipe.bundle.need_scorer().model.modules() if isinstance(m, CropEncoder))
    return {
        "untrained": feature_encoder(ContrastiveSettings()).eval(),
        "pre-trained": torch.jit.load(str(path)).eval(),
        "starter (labels of bags)": starter.eval(),
    }


def main() -> None:
    """Print a line for each encoder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--encoder", type=Path, required=True)
    parser.add_argument("--scored", type=Path, default=Path("typed"), help="as of benchmarks.cell_typing")
    parser.add_argument("--fold", type=int, nargs="+", default=[2])
    parser.add_argument("--names", type=int, default=20)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    bundle = load_bundle(None)
    recipe = Recipe.from_bundle(bundle, None, torch.device("cpu"))
    named = Named(options.data, options.scored, None)
    crops = crops_of(options.data / "images", named.table, recipe)
    measured = parts_of(named.features)["measurements"]
    for name, embed in encoders(options.encoder, recipe).items():
        z = embedded(crops, embed)
        line = f"{name:26} {z.shape[1]:4}"
        for values in (z, np.column_stack([z, named.values[:, measured]])):
            cells = SimpleNamespace(
                names=named.names,
                values=values,
                features=tuple(f"z{number}" for number in range(values.shape[1])),
                slides=named.slides,
                folds=named.folds,
            )
            how = "other", options.names, "even"
            scores = [macro_f1(cells, options.fold, "all", how, seed) for seed in range(options.seeds)]
            line += f"  {np.mean(scores):.3f} {np.std(scores):.3f}"
        print(line, flush=True)


if __name__ == "__main__":
    main()
