"""Write a scored cohort as annotated data that scanpy opens.

This program reads no such files, and writes them from memory: the HDF5 library crashes on damaged files and
on a full disk.
"""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from napari_amil.core.base.columns import BOX_COLUMNS
from napari_amil.core.base.files import replacing
from napari_amil.core.base.optional import optional
from napari_amil.core.exchange.project import Project

_CARD = "napari_amil"
OF_BAGS = ("patient", "label", "verdict")
"""Columns of the table of bags that every cell of the bag gets too, so that scanpy colours by them."""


def write_h5ad(project: Project, path: Path) -> None:
    """Write a project as annotated data (`annotated_data`).

    Raises
    ------
    AmilError
        If the file cannot be written.
    MissingExtraError
        If anndata is not installed.
    """
    data, h5py = annotated_data(project), optional("h5py")
    with replacing(path) as partial, warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        with h5py.File("image", "w", driver="core", backing_store=False) as stored:
            optional("anndata").io.write_elem(stored, "/", data)
            stored.flush()
            partial.write_bytes(stored.id.get_file_image())


def annotated_data(project: Project) -> Any:  # noqa: ANN401
    """Return the embeddings as ``X``, the table of cells as ``obs`` and the table of bags as ``uns['bags']``.

    Each cell also has the ``patient``, ``label`` and ``verdict`` of its sample in ``obs``.
    ``obsm['spatial']`` holds the centres x, y in pixels, ``uns['napari_amil']`` the card of the
    project as JSON. Outlines have no place in this format: their boxes are kept.

    Raises
    ------
    MissingExtraError
        If anndata is not installed.
    """
    anndata = optional("anndata")
    own = [name for name in OF_BAGS if name in project.bags and name not in project.cells]
    by_bag = project.bags.drop_duplicates("bag").set_index("bag")[own]
    cells = project.cells.join(by_bag, on="bag")
    names = [
        f"{n}:{bag}/{cell}" for n, (bag, cell) in enumerate(zip(cells["bag"], cells["cell_id"], strict=True))
    ]
    features = [f"z{number}" for number in range(project.embeddings.shape[1])]
    box = cells[BOX_COLUMNS].to_numpy(np.float64)
    data = anndata.AnnData(
        X=np.asarray(project.embeddings, dtype=np.float32),
        obs=_annotated(cells, names),
        var=pd.DataFrame(index=features),
        uns={"bags": _annotated(project.bags, [str(n) for n in range(len(project.bags))])},
        obsm={"spatial": np.stack([box[:, [1, 3]].mean(axis=1), box[:, [0, 2]].mean(axis=1)], axis=1)},
    )
    data.uns[_CARD] = json.dumps(project.card)
    return data


def _annotated(table: pd.DataFrame, names: list[str]) -> pd.DataFrame:
    """Return a table as annotated data takes it: texts as categories, none of them missing."""
    columns = {
        name: table[name].to_numpy()
        if pd.api.types.is_bool_dtype(table[name]) or pd.api.types.is_numeric_dtype(table[name])
        else pd.Categorical([text if isinstance(text, str) else "" for text in table[name]])
        for name in table.columns
    }
    return pd.DataFrame(columns, index=pd.Index(names))
