"""Draw every detection on 20 fields of five diseases, so that a person can count what is wrong.

Usage: python docs/make_detection_sheet.py DISEASES [--bundle FILE] [--fields FOLDER]

Writes ``docs/images/detections.jpg``, the 20 fields side by side. ``--fields`` writes each field at
full size as well, with the number of every cell: these are the pictures to count in.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
from PIL import Image as PillowImage
from PIL import ImageDraw

from napari_amil.core.base.events import drain
from napari_amil.core.base.types import Cells, Image
from napari_amil.core.evaluation.contact_sheet import contact_sheet
from napari_amil.core.pipeline import Recipe, detect_field, load_bundle, pick_device, read_image

FIELDS = (
    *(f"he/sampleA00{number}.JPG" for number in ("01", "10", "20", "30")),
    *(f"hs/{number}.JPG" for number in (1, 3, 5, 10)),
    *(f"iron_deficiency_anemia/Iron_deficiency_anemia_{number}.JPG" for number in (1, 2, 11, 16)),
    *(f"megaloblastic_anemia/Megaloblastic_anemia_{number}.JPG" for number in (1, 2, 11, 16)),
    *(f"thalassemia/Thalassemia_{number}.JPG" for number in (1, 2, 11, 16)),
)
"""The fields, below ``diseases``; fixed before anybody looked at their detections."""
_TARGET = Path(__file__).parent / "images" / "detections.jpg"
_WHOLE, _CUT = (0, 90, 255), (255, 140, 0)
_COLUMNS, _SIDE_PX = 4, 480


def drawn(image: Image, cells: Cells, *, numbered: bool) -> PillowImage.Image:
    """Return a field with the outline of every cell: blue, orange where the border cuts it."""
    picture = PillowImage.fromarray(image)
    pen = ImageDraw.Draw(picture)
    width = 2 if max(image.shape) > 1000 else 1
    for row, outline in enumerate(cells.outlines):
        colour = _CUT if cells.touches_border[row] else _WHOLE
        corners = [(float(x), float(y)) for y, x in outline]
        pen.line([*corners, corners[0]], fill=colour, width=width)
        if numbered:
            y, x = outline.mean(axis=0)
            pen.text((x, y), str(row + 1), fill=colour, anchor="mm")
    return picture


def square(picture: PillowImage.Image) -> Image:
    """Return a picture in a white square of the side that the sheet has for one field."""
    picture.thumbnail((_SIDE_PX, _SIDE_PX), PillowImage.Resampling.LANCZOS)
    canvas = PillowImage.new("RGB", (_SIDE_PX, _SIDE_PX * 3 // 4), (255, 255, 255))
    canvas.paste(picture)
    return np.asarray(canvas)


def main() -> None:
    """Write the sheet and say how many cells each field has."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("--bundle", type=Path)
    parser.add_argument("--fields", type=Path)
    chosen = parser.parse_args()
    recipe = Recipe.from_bundle(load_bundle(chosen.bundle), None, pick_device("auto"))
    pictures, captions = [], []
    for name in FIELDS:
        image = read_image(chosen.data / name)
        cells = drain(detect_field(image, recipe)).select(recipe.settings.selection)
        captions.append(f"{name}: {len(cells)} cells")
        sys.stdout.write(f"{captions[-1]}, {int(cells.touches_border.sum())} cut by the border\n")
        if chosen.fields:
            chosen.fields.mkdir(parents=True, exist_ok=True)
            large = drawn(image, cells, numbered=True)
            large.save(chosen.fields / f"{name.replace('/', '-').removesuffix('.JPG')}.png")
        pictures.append(square(drawn(image, cells, numbered=False)))
    sheet = contact_sheet(pictures, captions, _COLUMNS, "Every detection on 20 fields, as found")
    PillowImage.fromarray(sheet).save(_TARGET, quality=75)
    sys.stdout.write(f"The sheet is {_TARGET}\n")


if __name__ == "__main__":
    main()
