"""The problems of a cohort, the grave ones first, each with its remedy and a way to go on all the same."""

from __future__ import annotations

from collections.abc import Sequence

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QCheckBox, QVBoxLayout, QWidget

from napari_amil.plugin.window.theme import wrapped
from napari_amil.worker.protocol.messages import Problem

_MARKS = {"error": "#d64545", "warning": "#e3b617", "": "#3fa66b"}
_MOST = 12
"""Problems that are shown; more would be a wall of text."""


class ProblemList(QWidget):
    """What is wrong with a cohort."""

    changed = Signal()
    """A problem was accepted, or is no longer."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._boxes: dict[str, QCheckBox] = {}
        self._rows: list[QWidget] = []
        self.texts: list[str] = []
        self._layout = QVBoxLayout(self)
        self._layout.setContentsMargins(0, 0, 0, 0)
        self._layout.setSpacing(4)
        self.setAccessibleName("Problems of the cohort")

    def clear(self) -> None:
        """Show nothing; what was accepted is forgotten."""
        self._boxes, self.texts = {}, []
        for row in self._rows:
            self._layout.removeWidget(row)
            row.deleteLater()
        self._rows = []

    def say(self, text: str, severity: str = "") -> None:
        """Show one sentence alone."""
        self.clear()
        self._add(text, severity)

    def show_problems(self, problems: Sequence[Problem]) -> None:
        """Show problems; what was accepted stays so."""
        accepted = self.allowed()
        self.clear()
        if not problems:
            self._add("No problem was found: images, patients, classes and folds fit together.", "")
        grave = [problem.kind for problem in problems if problem.severity == "error"]
        for problem in problems[:_MOST]:
            self._add(problem.message, problem.severity)
            if problem.severity == "error":
                grave.remove(problem.kind)
                if problem.kind not in grave:  # below the last of its kind
                    self._add_box(problem.kind, is_accepted=problem.kind in accepted)
        if len(problems) > _MOST:
            self._add(f"{len(problems) - _MOST} more: 'napari-amil check' lists them all.", "warning")
        for kind in dict.fromkeys(grave):
            self._add_box(kind, is_accepted=kind in accepted)
        self.changed.emit()

    def refused(self) -> list[str]:
        """Return the kinds of grave problems that were not accepted."""
        return [kind for kind, box in self._boxes.items() if not box.isChecked()]

    def allowed(self) -> tuple[str, ...]:
        """Return the kinds of grave problems that were accepted."""
        return tuple(kind for kind, box in self._boxes.items() if box.isChecked())

    def _add(self, text: str, severity: str) -> None:
        label = wrapped(text)
        label.setStyleSheet(
            f"QLabel {{ border-left: 3px solid {_MARKS[severity]}; padding: 1px 0px 1px 8px; }}"
        )
        label.setAccessibleName(f"{severity or 'good'}: {text}")
        self.texts.append(text)
        self._insert(label)

    def _add_box(self, kind: str, *, is_accepted: bool) -> None:
        box = QCheckBox("Train in spite of this")
        box.setToolTip(f"The same as --allow {kind} on the command line; results may be wrong.")
        box.setChecked(is_accepted)
        box.toggled.connect(self.changed)
        self._boxes[kind] = box
        self._insert(box)

    def _insert(self, row: QWidget) -> None:
        self._rows.append(row)
        self._layout.addWidget(row)
