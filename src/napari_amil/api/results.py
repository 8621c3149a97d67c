"""Results of a scoring: tables of cells and samples, outlines, embeddings, figures and exports."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray

from napari_amil.api.detection import one_of
from napari_amil.api.models import Place
from napari_amil.api.progress import Finished
from napari_amil.core import pipeline
from napari_amil.core.base.columns import column_of
from napari_amil.core.base.errors import AmilError


@dataclass(frozen=True, eq=False)
class Results:
    """Scores of cells and of samples.

    Parameters
    ----------
    project
        Tables, embeddings, outlines and card as the window and the command line keep them.
    failures
        ``source, reason`` of inputs that could not be used.
    """

    project: pipeline.Project
    failures: pd.DataFrame = field(default_factory=lambda: pipeline.failure_table([]))

    @property
    def cells(self) -> pd.DataFrame:
        """One row per cell: sample (``bag``), ``image``, box in pixels, and its scores."""
        return self.project.cells

    @property
    def bags(self) -> pd.DataFrame:
        """One row per sample: ``bag``, ``verdict``, probability of each class, and what it rests on."""
        return self.project.bags

    @property
    def outlines(self) -> list[NDArray[np.float32]]:
        """One polygon ``(n_points, 2)`` y, x in pixels per row of `cells`."""
        return list(self.project.outlines)

    @property
    def embeddings(self) -> NDArray[np.float32]:
        """``(n_cells, k)`` embedding of each row of `cells`."""
        return self.project.embeddings

    @property
    def card(self) -> dict[str, Any]:
        """Origin of the scores: model, settings, images, versions; plain JSON values."""
        return dict(self.project.card)

    @property
    def images(self) -> list[str]:
        """Names of the images that have cells."""
        return [str(name) for name in self.cells["image"].unique()]

    def __len__(self) -> int:
        return len(self.cells)

    def __repr__(self) -> str:
        lost = f", {len(self.failures)} failures" if len(self.failures) else ""
        return (
            f"Results({len(self)} cells of {len(self.bags)} samples on {len(self.images)} images{lost}; "
            "see .cells, .bags, .draw())"
        )

    def draw(self, image: str | None = None, by: str = "anomaly_percentile") -> Figure:
        """Return a figure of an image whose cells are coloured by a column.

        Parameters
        ----------
        image
            Its name; may be left out where there is one image.
        by
            A column of numbers of `cells`.

        Raises
        ------
        AmilError
            If there is no such image or column, or the image can no longer be read.
        """
        name = one_of(image, self.images)
        if by not in self.cells or not pd.api.types.is_numeric_dtype(self.cells[by]):
            numbers = self.cells.select_dtypes("number").columns
            raise AmilError(f"'{by}' is no column of numbers; colour by one of {', '.join(numbers)}.")
        cells, table = self.project.image_cells(name)
        picture = pipeline.read_image(*self.project.image_file(name))
        values = table[by].to_numpy(np.float64)
        return pipeline.draw_cells(picture, cells.outlines, values, column_of(by))

    def export(self, out: Place, kind: str) -> list[Path]:
        """Write the cells for another program and return the files, or the folder of one file per image.

        Parameters
        ----------
        out
            Folder.
        kind
            ``csv``, ``parquet``, ``geojson`` (QuPath), ``coco``, ``h5ad`` (scanpy), ``spatialdata``,
            ``labels``, ``imagej``, ``labelme`` or ``yolo``.
        """
        finished = Finished()
        written = finished.run(pipeline.export_project(self.project, kind, Path(out)))
        finished.warn()
        return written

    def report(self, out: Place) -> list[Path]:
        """Write self-contained HTML pages of the cohort and of every sample, and return them."""
        finished, folder = Finished(), pipeline.make_folder(Path(out))
        written = finished.run(
            pipeline.write_reports(self.project, folder, self.bags["bag"].tolist(), found=None, pdf=False)
        )
        finished.warn()
        return [Path(path) for path in written]


def load_results(folder: Place) -> Results:
    """Return the results in a folder that `score`, `evaluate` or the command line wrote.

    Raises
    ------
    AmilError
        If the folder holds no results, or damaged ones.
    """
    project = pipeline.read_project(Path(folder))
    failed = project.card.get("failed", {})
    rows = [tuple(line) for lines in failed.values() for line in lines]
    return Results(project, pd.DataFrame(rows, columns=["source", "reason"]))
