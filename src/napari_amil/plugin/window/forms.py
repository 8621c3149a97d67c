"""A settings class as a form: one editor a field, with its bounds, unit and help text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Generic, TypeVar

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QCheckBox, QFormLayout, QLabel, QToolButton, QVBoxLayout, QWidget

from napari_amil.core.base.settings import Settings
from napari_amil.plugin.window.editors import Editor, make_editor

S = TypeVar("S", bound=Settings)


class SettingsForm(QWidget, Generic[S]):
    """A form for one settings class.

    Parameters
    ----------
    kind
        The settings class; every value that the form returns was validated by it.
    shown
        ``field -> label`` of the fields that are always seen, in this order.
    folded
        ``field -> label`` of the fields behind "More settings"; fields in neither keep their values.
    blank
        What an empty optional number is called.
    """

    valueChanged = Signal()  # noqa: N815 - Qt's manner, as in every widget with a value

    def __init__(
        self,
        kind: type[S],
        shown: Mapping[str, str],
        folded: Mapping[str, str] | None = None,
        blank: str = "automatic",
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self._kind = kind
        self._base = kind()
        self._editors: dict[str, Editor] = {}
        self._loading = False
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(self._rows(shown, blank))
        if folded:
            self.more = Folded("More settings")
            self.more.body.addLayout(self._rows(folded, blank))
            layout.addWidget(self.more)
        self.setValue(self._base)

    def value(self) -> S:
        """Return the settings as they stand in the form.

        Raises
        ------
        SettingsError
            If a field holds something that the settings class refuses.
        """
        return self._kind.parse(
            self._base.model_dump() | {name: e.get() for name, e in self._editors.items()}
        )

    def setValue(self, settings: S) -> None:  # noqa: N802 - Qt's manner
        """Show ``settings``; emits ``valueChanged`` once if anything differs."""
        before = {name: editor.get() for name, editor in self._editors.items()}
        self._base, self._loading = settings, True
        for name, editor in self._editors.items():
            editor.set(getattr(settings, name))
        self._loading = False
        if before != {name: editor.get() for name, editor in self._editors.items()}:
            self.valueChanged.emit()

    def editor(self, name: str) -> QWidget:
        """Return the widget of one field."""
        return self._editors[name].widget

    def _rows(self, fields: Mapping[str, str], blank: str) -> QFormLayout:
        rows = QFormLayout()
        rows.setContentsMargins(0, 0, 0, 0)
        rows.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        rows.setRowWrapPolicy(QFormLayout.RowWrapPolicy.WrapLongRows)
        for name, label in fields.items():
            info = self._kind.model_fields[name]
            editor = make_editor(name, info, blank)
            editor.widget.setObjectName(name)
            editor.widget.setToolTip(info.description or "")
            editor.widget.setAccessibleName(label)
            editor.widget.setAccessibleDescription(info.description or "")
            editor.changed.connect(self._on_editor_changed)
            self._editors[name] = editor
            if isinstance(editor.widget, QCheckBox):
                editor.widget.setText(label)
                rows.addRow(editor.widget)
            else:
                caption = QLabel(label)
                caption.setToolTip(info.description or "")
                caption.setBuddy(editor.widget)
                rows.addRow(caption, editor.widget)
        return rows

    def _on_editor_changed(self, *_: object) -> None:
        if not self._loading:
            self.valueChanged.emit()


class Folded(QWidget):
    """A part of a panel that stays closed until its heading is pressed."""

    def __init__(self, title: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.button = QToolButton()
        self.button.setText(title)
        self.button.setCheckable(True)
        self.button.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        self.button.setArrowType(Qt.ArrowType.RightArrow)
        self.button.setStyleSheet("QToolButton { border: none; background: transparent; padding: 3px 0px; }")
        self.content = QWidget()
        self.content.setVisible(False)
        self.body = QVBoxLayout(self.content)
        self.body.setContentsMargins(12, 0, 0, 4)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(2)
        layout.addWidget(self.button)
        layout.addWidget(self.content)
        self.button.toggled.connect(self._on_toggled)

    def _on_toggled(self, is_open: bool) -> None:
        self.button.setArrowType(Qt.ArrowType.DownArrow if is_open else Qt.ArrowType.RightArrow)
        self.content.setVisible(is_open)
