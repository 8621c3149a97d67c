"""Base classes of the panels, and the search for another panel of the window."""

from __future__ import annotations

from typing import Any, ClassVar, TypeVar

from napari.components import ViewerModel
from napari.viewer import Viewer
from qtpy.QtCore import QEvent, QObject, QSize, Qt, Signal
from qtpy.QtGui import QShowEvent
from qtpy.QtWidgets import QApplication, QFrame, QScrollArea, QSizePolicy, QVBoxLayout, QWidget

from napari_amil.plugin.window.docks import DockCare, dock_of, open_panel
from napari_amil.plugin.window.follow import LayerCombo
from napari_amil.plugin.window.glossary import GlossaryLink
from napari_amil.plugin.window.job import JobBar
from napari_amil.plugin.window.model_choice import ModelChoice
from napari_amil.plugin.window.viewer import unwrapped

_NARROWEST_PX, _WIDEST_PX = 290, 400
_UNSETTLED_PX = 80
SMEAR_TITLE = "Look at a smear"
"""Name of the panel that finds and scores cells, from which all others open."""


class Panel(QWidget):
    """Base of every panel.

    Parameters
    ----------
    napari_viewer
        The window's viewer, as napari hands it over.
    """

    TITLE: ClassVar[str]
    """Name of the panel in the menu, the same as in the manifest."""
    IN_PANEL: ClassVar[str] = ""
    """Name of the panel that this one is a page of; it is not in the menu itself."""
    TERMS: ClassVar[tuple[str, ...]]
    """Terms of the glossary that the panel shows."""

    def __init__(self, napari_viewer: Viewer | ViewerModel) -> None:
        super().__init__()
        # napari adds a stretch below whatever does not ask for the height of its dock
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Expanding)
        self._viewer = unwrapped(napari_viewer)
        self._frame = QVBoxLayout(self)
        self._frame.setContentsMargins(0, 0, 0, 0)
        self._frame.setSpacing(0)
        self.help = GlossaryLink(self.TERMS, self)
        self._frame.addWidget(self.help)
        self._dock_care = DockCare(self, self.TITLE)

    def showEvent(self, event: QShowEvent | None) -> None:  # noqa: N802 - Qt's manner
        """Become a tab beside the other panels when a dock shows the panel first."""
        super().showEvent(event)
        if self._is_page():
            return
        window: Any = self.window()
        self._dock_care.settle([panel for panel in window.findChildren(Panel) if panel is not self])

    def minimumSizeHint(self) -> QSize:  # noqa: N802 - Qt's manner
        """Return the size of the content; next to nothing while the dock lies below another one, no tab yet.

        napari shows a dock there first, and a window too low for both would grow beyond a small screen.
        """
        hint = super().minimumSizeHint()
        waits = not self._is_page() and dock_of(self) is not None and not self._dock_care.is_settled
        return QSize(hint.width(), min(hint.height(), _UNSETTLED_PX)) if waits else hint

    def _is_page(self) -> bool:
        """Return whether the panel is a page of another one, whose dock is not its own."""
        parent = self.parentWidget()
        while parent is not None and not isinstance(parent, Panel):
            parent = parent.parentWidget()
        return parent is not None

    def _scrolling_layout(self) -> QVBoxLayout:
        """Return the layout of a content that scrolls on a small screen."""
        content = QWidget()
        self._show_content(content)
        return scrolling(content)

    def _filling_layout(self) -> QVBoxLayout:
        """Return the layout of a content that takes the whole height of the panel."""
        content = QWidget()
        self._show_content(content)
        layout = QVBoxLayout(content)
        layout.setContentsMargins(10, 8, 10, 8)
        layout.setSpacing(6)
        return layout

    def _show_content(self, content: QWidget) -> None:
        """Show ``content`` above the link to the glossary."""
        self._frame.insertWidget(0, content, 1)


def scrolling(page: QWidget) -> QVBoxLayout:
    """Give ``page`` a content that scrolls on a small screen, and return the layout of the content."""
    content = _Content()
    layout = QVBoxLayout(content)
    layout.setContentsMargins(10, 8, 10, 8)
    layout.setSpacing(8)
    area = _Column()
    area.setWidget(content)
    area.setWidgetResizable(True)
    area.setFrameShape(QFrame.Shape.NoFrame)
    area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
    outer = QVBoxLayout(page)
    outer.setContentsMargins(0, 0, 0, 0)
    outer.addWidget(area)
    return layout


class _Content(QWidget):
    """Asks for the height of all its parts, so that none lies over another.

    A scroll area asks for the height at a width, in which Qt leaves out the least height of parts that take
    what is left.
    """

    def heightForWidth(self, width: int) -> int:  # noqa: N802 - Qt's manner
        """Return the height in pixels that the parts need at a width."""
        layout = self.layout()
        least = layout.minimumHeightForWidth(width) if layout is not None else 0
        return max(super().heightForWidth(width), least)


class _Column(QScrollArea):
    """Scrolls up and down, and asks for the width that its content needs, so that nothing is cut off."""

    def minimumSizeHint(self) -> QSize:  # noqa: N802 - Qt's manner
        """Return a width between `_NARROWEST_PX` and `_WIDEST_PX`; any height will do."""
        content, bar = self.widget(), self.verticalScrollBar()
        needed = content.minimumSizeHint().width() if content is not None else 0
        needed += bar.sizeHint().width() if bar is not None else 0
        return QSize(min(max(needed, _NARROWEST_PX), _WIDEST_PX), super().minimumSizeHint().height())

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:  # noqa: N802
        """Ask for another width when the content needs one, as when buttons appear."""
        if event is not None and event.type() == QEvent.Type.LayoutRequest:
            self.updateGeometry()
        return super().eventFilter(watched, event)


class ModelPanel(Panel):
    """A panel that works with a model; other panels may choose the model."""

    model: ModelChoice


class DetectingPanel(ModelPanel):
    """A panel that finds cells."""

    TITLE = "Detect cells"
    IN_PANEL = SMEAR_TITLE
    TERMS = ("Candidate", "Detection score", "Outline", "Typical diameter")


class ScoringPanel(ModelPanel):
    """A panel that scores the cells of one layer; other panels may start it."""

    TITLE = "Score cells"
    IN_PANEL = SMEAR_TITLE
    TERMS = (
        "Anomaly",
        "Anomaly percentile",
        "Attention x n",
        "Contribution",
        "Novelty",
        "q-value",
        "Verdict",
    )
    scored = Signal(object)
    """The cell layer, after every scoring."""
    errored = Signal(str)
    cells: LayerCombo
    job: JobBar

    def run(self) -> None:
        """Score the cells of the chosen layer."""
        raise NotImplementedError


P = TypeVar("P", bound=Panel)


def find_or_open_panels(widget: QWidget, viewer: ViewerModel, kind: type[P]) -> list[P]:
    """Return the panels of a kind in the window of ``widget``; one is opened if there is none.

    Raises
    ------
    AmilError
        If there is no window to open one in.
    """
    found = open_panels(widget, kind)
    if not found:
        open_panel(viewer, kind.IN_PANEL or kind.TITLE)
        found = open_panels(widget, kind)
    return found


def open_panels(widget: QWidget, kind: type[P]) -> list[P]:
    """Return the open panels of a kind: those in the window of ``widget``, else those of any window."""
    window: Any = widget.window()
    found: list[P] = window.findChildren(kind)
    if not found:  # one of the two may float in a window of its own
        found = [panel for top in QApplication.topLevelWidgets() for panel in top.findChildren(kind)]
    return found
