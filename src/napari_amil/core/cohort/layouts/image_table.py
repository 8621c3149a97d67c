"""Image table: a CSV with one row per image of a bag; the detector finds the cells."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from napari_amil.core.base.tables import header_of
from napari_amil.core.cohort.clinical import acquisition_columns
from napari_amil.core.cohort.layouts.layout import Listing
from napari_amil.core.cohort.layouts.listed import BAG_COLUMNS, listed_bag, read_listed, slides_of

_BOX_WORDS = {"y0", "x0", "y1", "x1", "y", "x", "ymin", "xmin", "ymax", "xmax"}


@dataclass(frozen=True)
class ImageTableLayout:
    """Bags without cells, in the order of the file; an image that a bag lists twice counts once."""

    summary: str = f"an image table (CSV {', '.join(BAG_COLUMNS)}, without boxes)"
    needs: tuple[str, ...] = ("the columns " + ", ".join(BAG_COLUMNS), "the images, relative to the table")
    labels_from: str = "the column 'label'"
    unsupported: str = ""

    def recognises(self, path: Path) -> bool:
        """Return whether a file is a CSV that names bags and images and has no column of boxes."""
        if path.suffix.lower() != ".csv" or not path.is_file():
            return False
        columns = header_of(path)
        return {"bag", "image"} <= set(columns) and not _BOX_WORDS & {name.lower() for name in columns}

    def read(self, path: Path) -> Listing:
        """Return the bags of a table, with their ``fold`` and how they were acquired where it says so."""
        table = read_listed(path, "image table", BAG_COLUMNS)
        acquisition, slides = acquisition_columns(table), slides_of(path, table)
        bags = []
        for name, rows in table.groupby("bag", sort=False):
            images = list(dict.fromkeys(rows["image"]))
            bag = listed_bag(str(name), rows.iloc[0].to_dict(), images, acquisition)
            bags.append(replace(bag, slides={image: slides[image] for image in images if image in slides}))
        return Listing(path.parent, bags)
