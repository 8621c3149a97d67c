"""Cells of a cohort on disk, read from the images once and shared by all trainings of a study."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from napari_amil.core.anomaly.channels import reads_pixels
from napari_amil.core.anomaly.scorer import CellInputs
from napari_amil.core.base.columns import BOX_COLUMNS
from napari_amil.core.base.errors import AmilError
from napari_amil.core.base.events import Event, Failed, collecting
from napari_amil.core.base.outputs import failure_table
from napari_amil.core.base.settings import RunSettings
from napari_amil.core.base.types import Cohort
from napari_amil.core.cohort.copies import content_hash
from napari_amil.core.evaluation.ablation import digest
from napari_amil.core.evaluation.comparison import Truth
from napari_amil.core.exchange.tables import load_table, write_table
from napari_amil.core.instances.cell_inputs import cell_inputs
from napari_amil.core.instances.extract import Recipe, field_instances, measured_instances
from napari_amil.core.instances.gather import Gathered, gather, without_cut_cells
from napari_amil.core.instances.sources import Source
from napari_amil.core.mil.batch import BagArrays
from napari_amil.core.mil.covariates import Covariates
from napari_amil.core.mil.instances import pixels_of
from napari_amil.core.morphology.names import MEASUREMENTS

_COVARIATES = "covariates"
"""Column of the bag table: clinical values and acquisition columns as JSON."""
_INSTANCES, _BAGS, _CELLS, _FAILURES = "instances.npy", "bags.csv", "cells.csv", "failures.csv"


@dataclass(frozen=True, eq=False)
class StudyCells:
    """Bags in memory, and where each of their cells is.

    Parameters
    ----------
    bags
        Instances (mapped from the file, not read), rows and labels.
    table
        One line per bag: ``bag``, ``patient``, ``label``, ``n_cells``, ``covariates``.
    cells
        One line per cell of each bag, in the order of ``bags.rows``: ``image``, ``y0`` to ``x1`` and,
        where it is known, ``cell_type``.
    """

    bags: BagArrays
    table: pd.DataFrame
    cells: pd.DataFrame

    def of_types(self, bags: Cohort) -> StudyCells:
        """Return the same cells with the true types that a cohort gives them, by bag, image and box."""
        types = {
            (bag.bag, image, *box): kind
            for bag in bags
            for image, kinds in bag.cell_type.items()
            for box, kind in zip(bag.cells[image].boxes.tolist(), kinds, strict=True)
        }
        names = np.repeat(self.table["bag"].to_numpy(), self.table["n_cells"].to_numpy())
        boxes = self.cells[BOX_COLUMNS].to_numpy(np.float32).T.tolist()
        own = [types.get(key, "") for key in zip(names, self.cells["image"], *boxes, strict=True)]
        return replace(self, cells=self.cells.assign(cell_type=np.array(own, dtype=object)))

    def seen_by(self, settings: RunSettings) -> BagArrays:
        """Return the bags as a model with these settings sees them: with measurements, or without."""
        if settings.model.measured or self.bags.instances.dtype.names is None:
            return self.bags
        return replace(self.bags, instances=pixels_of(self.bags.instances))

    @property
    def inputs(self) -> CellInputs:
        """Measurements of each stored cell, and crops where a channel reads them; empty without either."""
        stored = self.bags.instances
        return CellInputs() if stored.dtype.names is None else cell_inputs(stored)

    @property
    def images(self) -> NDArray[np.str_]:
        """Image of each stored cell, ``(n_instances,)``."""
        names = np.full(len(self.bags.instances), "", dtype=object)
        names[self.cells["row"]] = self.cells["image"]
        return names.astype(np.str_)

    def cells_of(self, bags: NDArray[np.int64]) -> pd.DataFrame:
        """Return the lines of the cells of some bags, bag after bag."""
        ends = np.cumsum([len(rows) for rows in self.bags.rows])
        starts = ends - [len(rows) for rows in self.bags.rows]
        return self.cells.iloc[np.concatenate([np.arange(starts[bag], ends[bag]) for bag in bags])]

    def truth(self) -> Truth:
        """Return labels, patients and cell types."""
        types = self.cells.get("cell_type", pd.Series("", index=self.cells.index)).to_numpy(dtype=str)
        ends = np.cumsum([len(rows) for rows in self.bags.rows])[:-1]
        return Truth(self.bags.labels, self.bags.patients, self.bags.classes, tuple(np.split(types, ends)))


def cells_folder(source: Source, recipe: Recipe, work: Path, *, measured: bool) -> Path:
    """Return the folder for the cells of these bags as this recipe cuts them out (and measures them)."""
    settings, model = recipe.settings, recipe.settings.model
    detector = _fingerprint(recipe)
    seen: list[object] = [model.encoder, settings.bag_level]
    seen += [] if model.cells == "red" else [model.cells]
    seen += [] if model.instance == "crop" else [model.roi_scaling, detector]
    seen += [MEASUREMENTS[model.cells]] if measured else []
    seen += ["crops"] if measured and reads_pixels(model) else []
    stages = [
        getattr(settings, name).model_dump(mode="json") for name in ("normalisation", "detection", "crop")
    ]
    if not all(bag.n_cells for bag in source.cohort):
        stages += [settings.selection.model_dump(mode="json"), detector]
    seen += [[bag.bag for bag in source.cohort if not bag.control_reference]]
    bags = [
        [
            bag.bag,
            bag.patient,
            bag.label,
            bag.clinical,
            bag.acquisition,
            [(n, c.boxes.tolist()) for n, c in bag.cells.items()],
        ]
        for bag in source.cohort
    ]
    files = [
        [name, page, _content(path, path.stat().st_mtime_ns)]
        for name, (path, page) in sorted(source.files.items())
    ]
    return work / f"cells-{model.encoder}-{digest(seen, stages, bags, files)}"


def gather_cells(
    source: Source, recipe: Recipe, folder: Path, *, measured: bool
) -> Generator[Event, None, None]:
    """Read the images and write the encoder's input of every cell into ``folder``, if it is not there.

    Images that could not be used are reported again where it is.
    """
    if folder.exists():
        if (folder / _FAILURES).exists():
            yield from (Failed(*line) for line in load_table(folder / _FAILURES).itertuples(index=False))
        return
    per_cell = measured_instances if measured else field_instances
    failed: list[Failed] = []
    gathered: Gathered = yield from collecting(gather(source, recipe, per_cell), failed)
    gathered = without_cut_cells(gathered)
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir(parents=True)
        np.save(partial / _INSTANCES, gathered.values)
        write_table(_bag_table(gathered), partial / _BAGS)
        write_table(_cell_table(gathered), partial / _CELLS)
        if failed:
            write_table(failure_table(failed), partial / _FAILURES)
        partial.rename(folder)
    except OSError as error:
        raise AmilError(f"Cannot write '{folder}': {error}; check the folder and the free space.") from error


def open_cells(folder: Path, classes: Sequence[str], control: str) -> StudyCells:
    """Return the cells that `gather_cells` wrote."""
    table, cells = load_table(folder / _BAGS), load_table(folder / _CELLS)
    rows = tuple(np.split(cells["row"].to_numpy(np.int64), np.cumsum(table["n_cells"])[:-1]))
    labels = np.array([list(classes).index(label) for label in table["label"]], dtype=np.int64)
    instances = np.load(folder / _INSTANCES, mmap_mode="r")
    records = (json.loads(text) for text in table[_COVARIATES])
    covariates = Covariates.from_records(*zip(*records, strict=True))
    names = tuple(table["patient"]), tuple(classes), control
    reference = table["control_reference"].to_numpy(bool)
    return StudyCells(BagArrays(instances, rows, labels, *names, covariates, reference), table, cells)


def _bag_table(gathered: Gathered) -> pd.DataFrame:
    lines = [
        (
            bag.bag,
            bag.patient,
            bag.label,
            bag.n_cells,
            int(bag.control_reference),
            json.dumps([bag.clinical, bag.acquisition]),
        )
        for bag in gathered.cohort
    ]
    columns = ["bag", "patient", "label", "n_cells", "control_reference", _COVARIATES]
    return pd.DataFrame(lines, columns=columns)


def _cell_table(gathered: Gathered) -> pd.DataFrame:
    parts = []
    for bag, rows in zip(gathered.cohort, gathered.rows, strict=True):
        ends = np.cumsum([len(cells) for cells in bag.cells.values()])[:-1]
        for (image, cells), own in zip(bag.cells.items(), np.split(rows, ends), strict=True):
            part = pd.DataFrame(cells.boxes, columns=BOX_COLUMNS)
            part.insert(0, "image", image)
            part.insert(1, "row", own)
            parts.append(part)
    return pd.concat(parts, ignore_index=True)


@cache
def _content(path: Path, _written_ns: int) -> str:
    """Return the hash of a file's bytes: a copied or mounted cohort is the same one, whatever its dates."""
    return content_hash(path)


def _fingerprint(recipe: Recipe) -> str:
    """Return a short hash of the weights of the detector."""
    if recipe.bundle.detector is None:
        return ""
    total = hashlib.sha256()
    for tensor in recipe.bundle.detector.state_dict().values():
        total.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return total.hexdigest()[:16]
