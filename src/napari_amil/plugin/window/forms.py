"""A settings class as a form: one editor per field, with bounds, unit and help text."""

from __future__ import annotations

import json
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from pydantic.fields import FieldInfo
from qtpy.QtCore import QEvent, QObject, Qt, Signal
from qtpy.QtWidgets import (
    QAbstractSpinBox,
    QCheckBox,
    QComboBox,
    QDoubleSpinBox,
    QFormLayout,
    QLabel,
    QLineEdit,
    QSizePolicy,
    QSpinBox,
    QToolButton,
    QVBoxLayout,
    QWidget,
)
from superqt import QLabeledDoubleSlider

from napari_amil.core.base.encoders import NameOf
from napari_amil.core.base.settings import Settings

_SLIDER_SPAN = 10.0
"""A number between two bounds that are no farther apart than this is set with a slider."""
_UNBOUNDED = 1e6
_SHORTEST_CHOICE = 16  # characters that a narrow panel shows at least
_UNITS = {"_px": "px", "_um": "µm"}
PER_CENT = "%"
"""Unit of a share, which the form shows times a hundred."""
Label = str | tuple[str, str]
"""Title of a field, and the unit of its number if the name of the field does not end with it."""
S = TypeVar("S", bound=Settings)


@dataclass(frozen=True)
class Editor:
    """One widget with the two functions that read and write its value."""

    widget: QWidget
    get: Callable[[], Any]
    set: Callable[[Any], None]
    changed: Any


@dataclass(frozen=True)
class Bounds:
    """Lowest and highest value that an editor offers."""

    low: float
    high: float

    @classmethod
    def from_field(cls, info: FieldInfo, step: float) -> Bounds:
        """Read the bounds of a field; an open bound moves inwards by ``step``."""
        low, high = -_UNBOUNDED, _UNBOUNDED
        for mark in info.metadata:
            match mark:
                case Ge(ge=bound):
                    low = _number(bound)
                case Gt(gt=bound):
                    low = _number(bound) + step
                case Le(le=bound):
                    high = _number(bound)
                case Lt(lt=bound):
                    high = _number(bound) - step
        return cls(low, high)


def _number(bound: Any) -> float:  # noqa: ANN401 - annotated types know only that it can be compared
    return float(bound)


def make_editor(
    name: str, info: FieldInfo, blank: str, unit: str = "", called: Mapping[Any, str] | None = None
) -> Editor:
    """Return the editor that fits the type of a field, with ``unit`` behind its number.

    ``called`` has the words for choices whose own names are codes.

    Raises
    ------
    TypeError
        If no editor knows the type.
    """
    kind, optional = _without_none(info.annotation)
    if get_origin(kind) is Literal:
        return _combo_editor(get_args(kind), called or {})
    if registered := [mark for mark in info.metadata if isinstance(mark, NameOf)]:
        return _combo_editor(registered[0].names(), called or {})
    if kind is bool:
        box = QCheckBox()
        return Editor(box, box.isChecked, box.setChecked, box.toggled)
    if kind is int and not optional:
        return _int_editor(Bounds.from_field(info, 1), unit)
    if kind is float and unit == PER_CENT and not optional:
        return _share_editor(Bounds.from_field(info, 0.01))
    if kind in (int, float):
        unit = unit or next((unit for end, unit in _UNITS.items() if name.endswith(end)), "")
        return _float_editor(info, blank if optional else None, unit)
    if kind is str:
        line = QLineEdit()
        return Editor(line, line.text, line.setText, line.textChanged)
    if get_origin(kind) is tuple:
        return _list_editor()
    if get_origin(kind) is dict:
        return _json_editor()
    raise TypeError(f"No editor knows the type of the setting '{name}': {info.annotation}.")


def _without_none(annotation: Any) -> tuple[Any, bool]:  # noqa: ANN401
    """Return the type without its None, and whether None was allowed."""
    if get_origin(annotation) in (Union, types.UnionType):
        kinds = [kind for kind in get_args(annotation) if kind is not type(None)]
        return kinds[0], len(kinds) < len(get_args(annotation))
    return annotation, False


def _combo_editor(choices: tuple[Any, ...], called: Mapping[Any, str]) -> Editor:
    combo = QComboBox()
    for choice in choices:
        combo.addItem(called.get(choice, str(choice)), choice)
    combo.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
    combo.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
    combo.setMinimumContentsLength(_SHORTEST_CHOICE)  # the list that opens shows long choices whole
    quiet_wheel(combo)
    return Editor(
        combo,
        combo.currentData,
        lambda v: combo.setCurrentIndex(combo.findData(v)),
        combo.currentIndexChanged,
    )


def _int_editor(bounds: Bounds, unit: str) -> Editor:
    box = QSpinBox()
    box.setSuffix(f" {unit}" if unit else "")
    box.setRange(int(bounds.low), int(bounds.high))
    box.setGroupSeparatorShown(True)
    quiet_wheel(box)
    return Editor(box, box.value, box.setValue, box.valueChanged)


def _share_editor(bounds: Bounds) -> Editor:
    """Return a slider in per cent for a share of 0 to 1."""
    slider = _slider(Bounds(100 * bounds.low, 100 * bounds.high), 0, PER_CENT)
    return Editor(
        slider,
        lambda: round(slider.value()) / 100,
        lambda share: slider.setValue(100 * share),
        slider.valueChanged,
    )


def _slider(bounds: Bounds, decimals: int, unit: str) -> Any:  # noqa: ANN401 - of superqt, without types
    slider: Any = QLabeledDoubleSlider(Qt.Orientation.Horizontal)
    slider.setDecimals(decimals)
    slider.setRange(bounds.low, bounds.high)
    slider.setSingleStep(10.0**-decimals)
    if unit:
        slider.layout().addWidget(QLabel(unit))
    quiet_wheel(slider)
    return slider


def _float_editor(info: FieldInfo, blank: str | None, unit: str) -> Editor:
    default = info.default if isinstance(info.default, float) else 1.0
    decimals = 1 if unit in _UNITS.values() else 2 if default == 0 or abs(default) >= 0.01 else 6
    step = 10.0**-decimals
    bounds = Bounds.from_field(info, step)
    if blank is None and bounds.high - bounds.low <= _SLIDER_SPAN and decimals == 2:
        slider = _slider(bounds, decimals, unit)
        return Editor(slider, lambda: round(slider.value(), decimals), slider.setValue, slider.valueChanged)
    box = QDoubleSpinBox()
    box.setDecimals(decimals)
    box.setSingleStep(10 * step)
    box.setRange(bounds.low, bounds.high)
    box.setSuffix(f" {unit}" if unit else "")
    quiet_wheel(box)
    if blank is None:
        return Editor(box, box.value, box.setValue, box.valueChanged)
    empty = round(bounds.low - 1, decimals)
    box.setMinimum(empty)
    box.setSpecialValueText(blank)

    def read() -> float | None:
        return None if box.value() <= empty else max(box.value(), bounds.low)

    return Editor(box, read, lambda v: box.setValue(empty if v is None else v), box.valueChanged)


def _list_editor() -> Editor:
    """Return an editor for a tuple of numbers, written with commas."""
    line = QLineEdit()

    def read() -> tuple[Any, ...]:
        return tuple(part.strip() for part in line.text().split(",") if part.strip())

    def write(values: tuple[Any, ...]) -> None:
        line.setText(", ".join(f"{value:g}" if isinstance(value, float) else str(value) for value in values))

    return Editor(line, read, write, line.textChanged)


def _json_editor() -> Editor:
    """Return an editor for settings by name, written as JSON; a text that is none is kept for the check."""
    line = QLineEdit()
    line.setPlaceholderText('{"ra": {"steps": 2000}}')

    def read() -> Any:  # noqa: ANN401
        try:
            return json.loads(line.text() or "{}")
        except ValueError:
            return line.text()

    def write(values: dict[str, Any]) -> None:
        line.setText(json.dumps(values) if values else "")

    return Editor(line, read, write, line.textChanged)


class _WheelFilter(QObject):
    """Leaves the mouse wheel to the scrolling panel unless the widget was chosen first."""

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:  # noqa: N802
        if event is None or not isinstance(watched, QWidget):
            return False
        if event.type() == QEvent.Type.Wheel and not watched.hasFocus():
            event.ignore()
            return True
        return False


def quiet_wheel(widget: QWidget) -> None:
    """Keep ``widget`` from changing its value while the panel is scrolled over it."""
    widget.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
    widget.installEventFilter(_WheelFilter(widget))
    if isinstance(widget, QAbstractSpinBox):
        widget.setKeyboardTracking(False)


class SettingsForm(QWidget, Generic[S]):
    """A form for one settings class.

    Parameters
    ----------
    kind
        The settings class; every value that the form returns was validated by it.
    shown
        ``field -> label`` (or label and unit) of the fields that are always seen, in this order.
    folded
        ``field -> label`` of the fields behind "More settings"; fields in neither keep their values.
    blank
        Text for an empty optional number.
    called
        ``field -> choice -> words`` of choices whose own names are codes.
    """

    valueChanged = Signal()  # noqa: N815 - Qt's manner, as in every widget with a value

    def __init__(
        self,
        kind: type[S],
        shown: Mapping[str, Label],
        folded: Mapping[str, Label] | None = None,
        blank: str = "automatic",
        called: Mapping[str, Mapping[Any, str]] | None = None,
    ) -> None:
        super().__init__()
        self._kind, self._called = kind, called or {}
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

    def _rows(self, fields: Mapping[str, Label], blank: str) -> QFormLayout:
        rows = QFormLayout()
        rows.setContentsMargins(0, 0, 0, 0)
        rows.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        rows.setRowWrapPolicy(QFormLayout.RowWrapPolicy.WrapLongRows)
        for name, called in fields.items():
            label, unit = (called, "") if isinstance(called, str) else called
            info = self._kind.model_fields[name]
            editor = make_editor(name, info, blank, unit, self._called.get(name))
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
