"""Detections of single images, kept while a folder is worked on, so that a stopped run goes on."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from napari_amil.core.base.arrays import read_arrays
from napari_amil.core.base.errors import AmilError
from napari_amil.core.base.files import decoding, file_sha256, json_sha256, replacing
from napari_amil.core.base.outputs import environment, make_folder
from napari_amil.core.base.types import Cells
from napari_amil.core.images.read import ImageSource
from napari_amil.core.instances.extract import Recipe
from napari_amil.core.model.card import starter_path

FOLDER = "detected"
_FIELDS = ("boxes", "detection_score", "area_px", "touches_border", "overlaps", "cell_id")

Detection = tuple[tuple[int, int], Cells]
"""Height and width of an image, and its cells."""


@dataclass(frozen=True)
class KeptDetections:
    """Folder of the stored detections of images, and a hash of bundle, settings and environment."""

    folder: Path
    made_by: str

    @classmethod
    def beside(cls, out: Path, recipe: Recipe, bundle: Path | None) -> KeptDetections:
        """Return the store in ``out`` for detections with a bundle file; None is the starter."""
        settings = recipe.settings.model_dump(mode="json")
        made_by = json_sha256([file_sha256(bundle or starter_path()), settings, environment()])
        return cls(make_folder(out / FOLDER), made_by)

    def read(self, source: ImageSource) -> Detection | None:
        """Return the stored detections of an image; None if there are none or the image has changed."""
        try:
            with decoding(self._place(source), "is damaged", "it is made anew"):
                arrays = read_arrays(self._place(source))
                ends = np.cumsum(arrays["sizes"])[:-1]
                outlines = tuple(np.split(arrays["points"], ends)) if len(arrays["sizes"]) else ()
                height, width = arrays["shape"].tolist()
                fields: dict[str, Any] = {name: arrays[name] for name in _FIELDS}
                return (height, width), Cells(outlines=outlines, **fields)
        except AmilError:
            return None

    def write(self, source: ImageSource, found: Detection) -> None:
        """Store the detections of an image."""
        cells = found[1]
        points = np.concatenate([*cells.outlines, np.empty((0, 2), np.float32)])
        sizes = np.array([len(outline) for outline in cells.outlines], dtype=np.int64)
        arrays = {"points": points, "sizes": sizes, "shape": np.array(found[0])}
        arrays |= {name: getattr(cells, name) for name in _FIELDS}
        with replacing(self._place(source)) as partial, partial.open("wb") as stream:
            np.savez(stream, allow_pickle=False, **arrays)

    def drop(self) -> None:
        """Remove everything that is kept."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _place(self, source: ImageSource) -> Path:
        status = source.path.stat() if source.path.exists() else None
        seen = status and [status.st_size, status.st_mtime_ns]
        of_image = json_sha256([self.made_by, source.name, str(source.path.resolve()), source.page, seen])
        return self.folder / f"{of_image[:32]}.npz"
