"""Draw what the detector finds on fields of two other microscopes: red cells, cut ones, and white cells.

Usage: python docs/make_microscope_sheet.py DATA [--bundle FILE]

DATA holds ``other_microscopes``. Writes ``docs/images/microscopes.jpg``; the fields have odd numbers, which
taught nothing.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from make_detection_sheet import drawn, square
from PIL import Image as PillowImage
from PIL import ImageDraw

from napari_amil.core.base.events import drain
from napari_amil.core.evaluation.contact_sheet import contact_sheet
from napari_amil.core.pipeline import Recipe, detect_field, load_bundle, pick_device, read_image

FIELDS = ("pbc/001.jpg", "pbc/085.jpg", "w575/001.jpg", "w575/085.jpg")
_TARGET = Path(__file__).parent / "images" / "microscopes.jpg"
_NUCLEATED = (200, 0, 120)


def main() -> None:
    """Write the sheet and say how many cells each field has."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("--bundle", type=Path)
    chosen = parser.parse_args()
    red = Recipe.from_bundle(load_bundle(chosen.bundle), None, pick_device("auto"))
    looking_for_white = red.settings.changed({"detection": {"cells": "white"}})
    white = Recipe.from_bundle(red.bundle, looking_for_white, red.device)
    pictures, captions = [], []
    for name in FIELDS:
        image = read_image(chosen.data / "other_microscopes" / name)
        found = drain(detect_field(image, red))
        cells = found.select(red.settings.selection)
        picture = drawn(image, cells, numbered=False)
        nucleated = drain(detect_field(image, white)).select(red.settings.selection)
        pen = ImageDraw.Draw(picture)
        for outline in nucleated.outlines:
            corners = [(float(x), float(y)) for y, x in outline]
            pen.line([*corners, corners[0]], fill=_NUCLEATED, width=2)
        captions.append(f"{name}: {len(cells)} red, {len(nucleated)} white, {found.diameter_px:.0f} px")
        sys.stdout.write(f"{captions[-1]}\n")
        pictures.append(square(picture))
    sheet = contact_sheet(pictures, captions, 4, "Found on two other microscopes, with no setting")
    PillowImage.fromarray(sheet).save(_TARGET, quality=75)
    sys.stdout.write(f"The sheet is {_TARGET}\n")


if __name__ == "__main__":
    main()
