"""The glossary is in alphabetical order, explains each term in a sentence or two, and its links work."""

from __future__ import annotations

from pytestqt.qtbot import QtBot
from qtpy.QtCore import QUrl

from napari_amil.plugin.window.glossary import GlossaryDialog, glossary

REQUIRED = (
    "Abstain, Anomaly, Anomaly percentile, Attention, Attention x n, Bag, Calibration, Contribution, "
    "Control, Drift, Embedding, Fold, Instance, Novelty, Patient, Pool weight, Typical diameter, Verdict, "
    "p-value, q-value"
)


def test_the_terms_are_there_in_alphabetical_order() -> None:
    terms = list(glossary())
    assert set(REQUIRED.split(", ")) <= set(terms)
    assert terms == sorted(terms, key=str.casefold)


def test_every_meaning_is_one_to_three_sentences() -> None:
    for term, meaning in glossary().items():
        assert meaning.endswith("."), term
        assert "\n" not in meaning, term
        assert 1 <= meaning.count(". ") + 1 <= 3, term


def test_a_link_scrolls_to_its_term(qtbot: QtBot) -> None:
    dialog = GlossaryDialog(["Verdict"])
    qtbot.addWidget(dialog)
    dialog.show()
    bar = dialog.text.verticalScrollBar()
    assert bar is not None
    assert bar.value() == 0
    dialog.text.anchorClicked.emit(QUrl("#verdict"))
    assert bar.value() > 0
