"""Import of optional packages, with the name of the extra that installs them."""

from __future__ import annotations

import importlib
from types import ModuleType

from napari_amil.core.base.errors import MissingExtraError

EXTRAS = {
    "anndata": "h5ad",
    "bioimageio.spec": "bioimageio",
    "distributed": "cluster",
    "h5py": "h5ad",
    "lightning_fabric": "fabric",
    "napari": "gui",
    "onnxruntime": "encoders",
    "openslide": "slides",
    "pyarrow": "parquet",
    "pylibCZIrw.czi": "czi",
    "roifile": "imagej",
    "spatialdata": "spatialdata",
    "spatialdata.models": "spatialdata",
    "spatialdata.transformations": "spatialdata",
    "timm": "encoders",
    "umap": "umap",
    "weasyprint": "pdf",
    "zarr": "large",
}
"""``package -> extra`` of this program that installs an optional package."""


def optional(package: str) -> ModuleType:
    """Return an optional package.

    Raises
    ------
    MissingExtraError
        Naming the extra to install.
    """
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise MissingExtraError(package, EXTRAS[package]) from error
