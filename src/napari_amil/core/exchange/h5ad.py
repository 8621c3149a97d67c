"""A scored cohort as annotated data that scanpy opens, and back."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from napari_amil.core.base.columns import BOX_COLUMNS
from napari_amil.core.base.files import decoding, replacing
from napari_amil.core.base.optional import optional
from napari_amil.core.base.types import box_outline
from napari_amil.core.exchange.project import Project

_CARD = "napari_amil"
OF_BAGS = ("patient", "label", "verdict")
"""Columns of the table of bags that every cell of the bag gets too, so that scanpy colours by them."""
_MOST_COMPRESSION = 1100  # deflate reaches 1032


def write_h5ad(project: Project, path: Path) -> None:
    """Write a project as annotated data (`annotated_data`).

    Raises
    ------
    AmilError
        If the file cannot be written.
    MissingExtraError
        If anndata is not installed.
    """
    data = annotated_data(project)
    with replacing(path) as partial, warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        data.write_h5ad(partial)


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


def read_h5ad(path: Path) -> Project:
    """Return the project that `write_h5ad` wrote; the box of a cell is its outline.

    Raises
    ------
    AmilError
        If the file cannot be read or was not written by this program.
    MissingExtraError
        If anndata is not installed.
    """
    anndata = optional("anndata")
    with decoding(path, "is no h5ad file of this program"):
        _check_claims(path)
        data = anndata.read_h5ad(path)
        card: dict[str, Any] = json.loads(data.uns[_CARD])
        bags, cells = _plain(data.uns["bags"]), _plain(data.obs)
        cells = cells.drop(columns=[name for name in OF_BAGS if name in cells and name in bags])
        boxes: NDArray[np.float32] = cells[BOX_COLUMNS].to_numpy(np.float32)
        outlines = tuple(box_outline(box) for box in boxes)
        return Project(cells, bags, np.asarray(data.X, dtype=np.float32), outlines, card)


def _check_claims(path: Path) -> None:
    """Refuse a file with an array that claims far more bytes than the file holds."""
    h5py = optional("h5py")
    most = _MOST_COMPRESSION * path.stat().st_size

    def check(name: str, item: Any) -> None:  # noqa: ANN401
        if isinstance(item, h5py.Dataset) and item.size and item.size * item.dtype.itemsize > most:
            raise ValueError(f"'{name}' claims more numbers than the file holds")

    with h5py.File(path, "r") as stored:
        stored.visititems(check)


def _annotated(table: pd.DataFrame, names: list[str]) -> pd.DataFrame:
    """Return a table as annotated data takes it: texts as categories, none of them missing."""
    columns = {
        name: table[name].to_numpy()
        if pd.api.types.is_bool_dtype(table[name]) or pd.api.types.is_numeric_dtype(table[name])
        else pd.Categorical([text if isinstance(text, str) else "" for text in table[name]])
        for name in table.columns
    }
    return pd.DataFrame(columns, index=pd.Index(names))


def _plain(table: pd.DataFrame) -> pd.DataFrame:
    """Return an annotated table as it was; a missing text is empty."""
    plain = table.reset_index(drop=True)
    texts = [name for name in plain if isinstance(plain[name].dtype, pd.CategoricalDtype)]
    return plain.astype(dict.fromkeys(texts, object))
