"""Every reader refuses at once what is no regular file."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from napari_amil.core.base.errors import AmilError
from napari_amil.core.base.files import read_json, regular_file
from napari_amil.core.base.settings import RunSettings
from napari_amil.core.base.tables import read_table
from napari_amil.core.detection.network import build_detector, load_coco_weights
from napari_amil.core.evaluation.ablation import read_rows
from napari_amil.core.exchange.cell_files import read_cells
from napari_amil.core.exchange.geojson import read_geojson
from napari_amil.core.exchange.h5ad import read_h5ad
from napari_amil.core.exchange.labels import read_label_image
from napari_amil.core.exchange.shapes import read_shapes
from napari_amil.core.exchange.tables import load_table
from napari_amil.core.exchange.voc import read_voc
from napari_amil.core.images.fields import open_field
from napari_amil.core.images.read import n_pages, read_image
from napari_amil.core.model.bundle import load_bundle, read_card
from napari_amil.core.training.checkpoint import read_checkpoint

pytestmark = pytest.mark.skipif(os.name == "nt", reason="named pipes have no path on Windows")


def _open_field(path: Path) -> None:
    with open_field(path):
        pass


READERS: dict[str, tuple[Callable[[Path], object], str]] = {
    "image": (read_image, "field.png"),
    "field": (_open_field, "field.tif"),
    "pages": (n_pages, "field.tif"),
    "table": (read_table, "cells.csv"),
    "parquet": (load_table, "cells.parquet"),
    "json": (read_json, "cells.json"),
    "geojson": (read_geojson, "cells.geojson"),
    "cells": (read_cells, "cells.csv"),
    "shapes": (read_shapes, "shapes.csv"),
    "voc": (read_voc, "field.xml"),
    "labels": (read_label_image, "field_labels.png"),
    "h5ad": (read_h5ad, "cells.h5ad"),
    "settings": (RunSettings.from_yaml, "run.yaml"),
    "rows": (read_rows, "rows.yaml"),
    "card": (read_card, "bundle.safetensors"),
    "bundle": (load_bundle, "bundle.safetensors"),
    "checkpoint": (read_checkpoint, "checkpoint.safetensors"),
    "weights": (lambda path: load_coco_weights(build_detector("light"), path), "coco.pth"),
}


@pytest.mark.parametrize("name", READERS)
def test_a_named_pipe_and_a_folder_are_refused_at_once(name: str, tmp_path: Path) -> None:
    read, filename = READERS[name]
    pipe, folder = tmp_path / filename, tmp_path / "folder" / filename
    os.mkfifo(pipe)
    folder.mkdir(parents=True)
    with pytest.raises(AmilError, match=r"is a named pipe, not a file; give an? (image )?file\.$") as refused:
        read(pipe)
    assert str(pipe) in str(refused.value)
    with pytest.raises(AmilError, match="is a folder, not a file"):
        read(folder)


def test_devices_and_sockets_are_refused_and_files_and_nothing_are_not(tmp_path: Path) -> None:
    with pytest.raises(AmilError, match="'/dev/null' is a device, not a file"):
        regular_file(Path("/dev/null"))
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        with pytest.raises(AmilError, match="is a socket"):
            regular_file(tmp_path / "s")
    (tmp_path / "file").write_text("")
    (tmp_path / "link").symlink_to(tmp_path / "file")
    for path in (tmp_path / "file", tmp_path / "link", tmp_path / "nothing"):
        assert regular_file(path) == path
