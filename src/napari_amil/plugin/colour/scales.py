"""The colour scales of one viewer: one per score for all images and panels, and the drawing style."""

from __future__ import annotations

from dataclasses import replace

from qtpy.QtCore import QCoreApplication, QObject, Signal

from napari_amil.plugin.layers.colour_scale import CellStyle, ColourScale
from napari_amil.plugin.window.user_settings import remember, remembered
from napari_amil.plugin.window.viewer import PerViewer

_KIND, _OPACITY = "colour/style", "colour/opacity"


class ColourScales(QObject):
    """Colour scale of each score; every scale that is handed out has the style that cells are drawn in.

    It is asked as a dictionary is, so that a panel keeps it in place of one.
    """

    changed = Signal(object)
    """The `ColourScale` that was chosen last."""
    styleChanged = Signal(object)  # noqa: N815 - Qt's manner
    """The `CellStyle` that was chosen last."""

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._scales: dict[str, ColourScale] = {}
        self._style = _last_style()
        self.current: ColourScale | None = None

    @property
    def style(self) -> CellStyle:
        """Style that cells are drawn in."""
        return self._style

    def set_style(self, style: CellStyle) -> None:
        """Draw cells in ``style`` from now on."""
        if style != self._style:
            self._style = style
            remember(_KIND, style.kind)
            remember(_OPACITY, style.opacity)
            self._scales = {name: replace(scale, style=style) for name, scale in self._scales.items()}
            if self.current is not None:
                self.current = replace(self.current, style=style)
            self.styleChanged.emit(style)

    def get(self, column: str) -> ColourScale | None:
        """Return the scale of a score, None if it has none yet."""
        return self._scales.get(column)

    def setdefault(self, column: str, scale: ColourScale) -> ColourScale:
        """Return the scale of a score, which is ``scale`` if it had none."""
        return self._scales.setdefault(column, replace(scale, style=self._style))

    def __getitem__(self, column: str) -> ColourScale:
        return self._scales[column]

    def __setitem__(self, column: str, scale: ColourScale) -> None:
        """Show ``scale``; emits ``changed`` if it differs from the one that was shown."""
        scale = replace(scale, style=self._style)
        self._scales[column] = scale
        if scale != self.current:
            self.current = scale
            self.changed.emit(scale)


def _last_style() -> CellStyle:
    try:
        return CellStyle(remembered(_KIND, CellStyle().kind), remembered(_OPACITY, CellStyle().opacity))
    except ValueError:
        return CellStyle()


scales_of = PerViewer(lambda _: ColourScales(QCoreApplication.instance()))
"""The colour scales of a viewer; every panel of it gets the same ones."""
