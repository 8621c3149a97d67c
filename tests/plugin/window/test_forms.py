from __future__ import annotations

import pytest
from pytestqt.qtbot import QtBot
from qtpy.QtCore import QPoint, QPointF, Qt
from qtpy.QtGui import QWheelEvent
from qtpy.QtWidgets import QApplication, QCheckBox, QComboBox, QDoubleSpinBox, QLabel, QLineEdit, QSpinBox

from napari_amil.core.base import settings as stages
from napari_amil.core.base.errors import SettingsError
from napari_amil.plugin.window.forms import PER_CENT, SettingsForm

STAGES = [
    kind
    for kind in vars(stages).values()
    if isinstance(kind, type)
    and issubclass(kind, stages.Settings)
    and kind not in (stages.Settings, stages.RunSettings)
]


def _form(qtbot: QtBot, kind: type[stages.Settings], *names: str) -> SettingsForm:
    form = SettingsForm(kind, {name: name for name in names or kind.model_fields})
    qtbot.addWidget(form)
    return form


@pytest.mark.parametrize("kind", STAGES)
def test_every_stage_has_a_form_that_starts_with_its_defaults(
    qtbot: QtBot, kind: type[stages.Settings]
) -> None:
    assert _form(qtbot, kind).value() == kind()


@pytest.mark.parametrize("kind", STAGES)
def test_every_field_says_what_it_means(qtbot: QtBot, kind: type[stages.Settings]) -> None:
    form = _form(qtbot, kind)
    for name, info in kind.model_fields.items():
        assert form.editor(name).toolTip() == info.description != ""
        assert form.editor(name).accessibleName() == name


def test_editors_fit_the_types_of_their_fields(qtbot: QtBot) -> None:
    form = _form(qtbot, stages.ModelSettings)
    assert isinstance(form.editor("encoder"), QComboBox)
    assert isinstance(form.editor("latent_dim"), QSpinBox)
    assert isinstance(form.editor("sic"), QCheckBox)
    assert isinstance(form.editor("bag_head"), QLineEdit)


def test_bounds_come_from_the_field(qtbot: QtBot) -> None:
    form = _form(qtbot, stages.DetectionSettings)
    cap, diameter = form.editor("max_cells"), form.editor("cell_diameter_px")
    assert isinstance(cap, QSpinBox)
    assert (cap.minimum(), cap.maximum()) == (1, 20000)
    assert isinstance(diameter, QDoubleSpinBox)
    assert diameter.suffix() == " px"
    diameter.setValue(1e9)
    assert form.value().cell_diameter_px == pytest.approx(1999.9)
    diameter.setValue(4.0)
    assert form.value().cell_diameter_px == pytest.approx(4.1)


def test_an_optional_number_can_be_automatic(qtbot: QtBot) -> None:
    form = _form(qtbot, stages.DetectionSettings)
    box = form.editor("cell_diameter_px")
    assert isinstance(box, QDoubleSpinBox)
    assert box.text() == "automatic"
    form.setValue(stages.DetectionSettings(cell_diameter_px=41.5))
    assert form.value().cell_diameter_px == 41.5
    box.setValue(box.minimum())
    assert form.value().cell_diameter_px is None


def test_setting_a_value_is_heard_once_and_only_if_it_differs(qtbot: QtBot) -> None:
    form = _form(qtbot, stages.SelectionSettings)
    heard: list[bool] = []
    form.valueChanged.connect(lambda: heard.append(True))
    form.setValue(stages.SelectionSettings())
    assert heard == []
    wanted = stages.SelectionSettings(min_score=0.7, min_diameter=0.5, keep_border=False)
    form.setValue(wanted)
    assert heard == [True]
    assert form.value() == wanted


def test_fields_that_are_not_shown_keep_their_values(qtbot: QtBot) -> None:
    form = _form(qtbot, stages.SelectionSettings, "min_score")
    form.setValue(stages.SelectionSettings(max_overlap=0.25))
    assert form.value().max_overlap == 0.25


def test_what_the_class_refuses_is_refused_in_its_words(qtbot: QtBot) -> None:
    form = _form(qtbot, stages.ModelSettings, "bag_head")
    line = form.editor("bag_head")
    assert isinstance(line, QLineEdit)
    line.setText("64, 32")
    assert form.value().bag_head == (64, 32)
    line.setText("64, many")
    with pytest.raises(SettingsError, match="bag_head"):
        form.value()


def test_folded_settings_open_on_a_press(qtbot: QtBot) -> None:
    form = SettingsForm(stages.DetectionSettings, {}, {"max_cells": "Most cells"})
    qtbot.addWidget(form)
    assert form.more.content.isHidden()
    form.more.button.click()
    assert not form.more.content.isHidden()
    assert form.value() == stages.DetectionSettings()


def test_scrolling_over_a_field_does_not_change_it(qtbot: QtBot) -> None:
    form = _form(qtbot, stages.DetectionSettings, "max_cells")
    box = form.editor("max_cells")
    turn = QWheelEvent(
        QPointF(5, 5),
        QPointF(5, 5),
        QPoint(0, 0),
        QPoint(0, 120),
        Qt.MouseButton.NoButton,
        Qt.KeyboardModifier.NoModifier,
        Qt.ScrollPhase.NoScrollPhase,
        False,
    )
    QApplication.sendEvent(box, turn)
    assert form.value().max_cells == stages.DetectionSettings().max_cells


def test_a_share_is_shown_in_per_cent_and_other_numbers_with_their_unit(qtbot: QtBot) -> None:
    form = SettingsForm(
        stages.SelectionSettings,
        {"min_score": ("Certainty from", PER_CENT), "min_diameter": ("Diameter from", "times typical")},
    )
    qtbot.addWidget(form)
    assert form.value() == stages.SelectionSettings()
    form.editor("min_score").setValue(70)
    assert form.value().min_score == 0.7
    form.setValue(stages.SelectionSettings(min_score=0.25))
    assert form.editor("min_score").value() == 25
    said = [label.text() for label in form.findChildren(QLabel)]
    assert said == ["Certainty from", "%", "Diameter from", "times typical"]
    counted = SettingsForm(stages.DetectionSettings, {"max_cells": ("Most cells", "cells")})
    qtbot.addWidget(counted)
    assert counted.editor("max_cells").text() == "2,000 cells"
