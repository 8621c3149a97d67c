"""Menu entries of the manifest: undo, redo, next unsure cell, and sample images."""

from __future__ import annotations

from typing import Any

from napari.layers import Shapes
from napari.utils.notifications import show_info
from napari.viewer import Viewer

from napari_amil.core.base.types import Image
from napari_amil.core.cohort import samples
from napari_amil.plugin.layers.care import look_after
from napari_amil.plugin.layers.cell_layer import cell_layers
from napari_amil.plugin.layers.journal import journal_of
from napari_amil.plugin.window.viewer import unwrapped

_NO_CELLS = "There are no cells yet: find some with 'Look at a smear', or open a file with cells."
LayerData = tuple[Image, dict[str, Any], str]


def undo(viewer: Viewer) -> None:
    """Undo the last change of the cells, as Ctrl-Z does."""
    journal = journal_of(_cells(viewer))
    show_info(journal.undo() if journal is not None else _NO_CELLS)


def redo(viewer: Viewer) -> None:
    """Do the last undone change of the cells again, as Ctrl-Shift-Z does."""
    journal = journal_of(_cells(viewer))
    show_info(journal.redo() if journal is not None else _NO_CELLS)


def next_unsure_cell(viewer: Viewer) -> None:
    """Choose the most unsure cell that was not looked at yet and fly to it, as the key N does."""
    layer = _cells(viewer)
    if layer is None:
        show_info(_NO_CELLS)
    elif not look_after(viewer).go_on(layer):
        show_info("There is no other unsure cell.")


def _cells(viewer: Viewer) -> Shapes | None:
    """Return the active cell layer, else the topmost one that is seen."""
    model = unwrapped(viewer)
    layers = cell_layers(model.layers)
    active = model.layers.selection.active
    if active in layers:
        return active
    return next((layer for layer in reversed(layers) if layer.visible), None)


def synthetic_smear() -> list[LayerData]:
    """Return the made-up smear as an image layer."""
    return [(samples.synthetic_field().image, {"name": "made-up smear", "rgb": True}, "image")]


def real_smear() -> list[LayerData]:
    """Return the real field that comes with the program as an image layer."""
    return [(samples.shipped_field(), {"name": f"Chula {samples.REAL_FILE}", "rgb": True}, "image")]
