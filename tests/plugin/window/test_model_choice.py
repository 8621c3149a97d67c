from __future__ import annotations

from pytestqt.qtbot import QtBot
from qtpy.QtCore import QCoreApplication
from qtpy.QtWidgets import QScrollArea

from napari_amil.plugin.window.model_choice import ModelChoice, model_words
from napari_amil.plugin.window.work import Worker


def test_classes_have_the_names_that_people_know() -> None:
    words = model_words({"scorer": {"control": "control"}}, ["control", "scd_like", "thal_like"])
    assert (
        words
        == "It tells apart control, sickle-cell-like, thalassaemia-like, and compares cells with control."
    )


def test_the_card_is_no_wider_than_the_panel(qtbot: QtBot, worker: Worker) -> None:
    choice = ModelChoice(worker)
    qtbot.addWidget(choice)
    choice.card.setText("few words, then one of many letters: " + 90 * "f")
    choice.about.button.setChecked(True)
    choice.resize(280, 300)
    choice.show()
    QCoreApplication.processEvents()
    (page,) = choice.findChildren(QScrollArea)
    assert choice.card.width() <= page.viewport().width()
