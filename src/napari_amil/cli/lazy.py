"""Heavy modules, imported on first use: ``napari-amil --help`` must not wait for torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from napari_amil.core import pipeline
    from napari_amil.core.base import events
else:
    events = lazy_loader.load("napari_amil.core.base.events", suppress_warning=True)
    pipeline = lazy_loader.load("napari_amil.core.pipeline", suppress_warning=True)

__all__ = ["events", "pipeline"]
