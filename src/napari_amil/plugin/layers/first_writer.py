"""The writers of cells stand before napari's own, which saves outlines alone and drops every score."""

from __future__ import annotations

from npe2 import PluginManager

from napari_amil.plugin.window.preferences import PLUGIN


def stand_first() -> None:
    """Let napari offer and choose the writers of this plugin before others for the same kind of layer.

    npe2 ranks writers of one kind by the order in which it met their plugins, which the disk decides, and its
    manifest knows no priority; so the list itself is sorted. Shapes that are no cells are handed on to
    napari's writer, and are saved as ever. Where npe2 keeps its list elsewhere, nothing is done.
    """
    writers = getattr(getattr(PluginManager.instance(), "_contrib", None), "_writers", None)
    if isinstance(writers, list):
        writers.sort(key=lambda entry: entry[-1].plugin_name != PLUGIN)
