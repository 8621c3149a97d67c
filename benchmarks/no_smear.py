"""Warnings on images without a stained smear, beside those on images with one.

Usage: python -m benchmarks.no_smear DATA [--images 10] [--bundle FILE] [--json FILE]

DATA holds ``other_microscopes`` and ``chula_slides``. No smears are the photographs, textures and texts that
scikit-image brings along, and the frames of unstained cells in a channel; smears are images with an odd
number of ``pbc`` and ``w575``, and of fold 2 of ``chula_slides``. "warned" is the share that is taken for no
smear, "no cell" the share in which no cell is found; "score" are the extremes of the mean detection score,
which decides.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import skimage

from napari_amil.core.base.events import drain
from napari_amil.core.images.fields import as_field
from napari_amil.core.instances.drift import no_smear
from napari_amil.core.instances.extract import prepare
from napari_amil.core.instances.field_note import FieldNote, field_note
from napari_amil.core.instances.find_cells import detect_prepared
from napari_amil.core.pipeline import Recipe, load_bundle, pick_device, read_image

PHOTOGRAPHS = (
    *("astronaut", "brick", "camera", "chelsea", "coffee", "coins", "grass", "gravel", "ihc", "moon"),
    *("motorcycle_left", "page", "text"),
)
_PICTURES = Path(skimage.__file__).parent / "data"


def sets(data: Path, n_images: int) -> Iterator[tuple[str, Sequence[Path]]]:
    """Yield the images of each set."""
    yield "photographs and text", [_PICTURES / f"{name}.png" for name in PHOTOGRAPHS]
    others = data / "other_microscopes"
    yield "unstained", _spread(sorted((others / "unstained").iterdir()), n_images)
    for name in ("pbc", "w575"):
        odd = [path for path in sorted((others / name).glob("*.jpg")) if int(path.stem) % 2]
        yield name, _spread(odd, n_images)
    bags = pd.read_csv(data / "chula_slides" / "bags.csv")
    held_out = sorted(bags.loc[bags["fold"] == 2, "image"].unique())
    yield "chula_slides", [data / "chula_slides" / name for name in _spread(held_out, n_images)]


def _spread(items: Sequence[Any], number: int) -> Sequence[Any]:
    return items[:: max(len(items) // number, 1)][:number]


def note_of(path: Path, recipe: Recipe) -> FieldNote | None:
    """Return the statistics of an image; None without a cell."""
    seen, candidates = drain(detect_prepared(prepare(as_field(read_image(path)), recipe), recipe))
    cells = candidates.select(recipe.settings.selection)
    return field_note(seen, cells) if len(cells) else None


def main(arguments: list[str] | None = None) -> None:
    """Print one row per set."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--images", type=int, default=10, help="images of each set")
    parser.add_argument("--bundle", type=Path)
    parser.add_argument("--json", type=Path)
    wanted = parser.parse_args(arguments)
    recipe = Recipe.from_bundle(load_bundle(wanted.bundle), None, pick_device("auto"))
    results: dict[str, dict[str, float]] = {}
    for name, images in sets(wanted.data, wanted.images):
        notes = [note_of(path, recipe) for path in images]
        found = [note for note in notes if note is not None]
        row = {
            "images": len(images),
            "warned": sum(bool(no_smear([note])) for note in found) / len(images),
            "no_cell": 1 - len(found) / len(images),
        }
        if found:
            scores = np.array([note.score for note in found])
            row |= {"score_least": float(scores.min()), "score_most": float(scores.max())}
        results[name] = row
        print(f"{name:22}", *(f"{key} {value:.3g}" for key, value in row.items()), flush=True)
    if wanted.json:
        wanted.json.write_text(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()
