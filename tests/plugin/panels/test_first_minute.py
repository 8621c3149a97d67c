"""The first minute, Look at a smear and the Cell card: tooltips everywhere, and no word without a meaning."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from napari.components import ViewerModel
from pytestqt.qtbot import QtBot
from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QAbstractButton,
    QAbstractSpinBox,
    QComboBox,
    QLabel,
    QListWidget,
    QTabWidget,
    QWidget,
)

from napari_amil.plugin.panels.cell_card import CellCard
from napari_amil.plugin.panels.smear import SmearPanel
from napari_amil.plugin.reasons.thumbnail import Thumbnail
from napari_amil.plugin.window.glossary import glossary
from napari_amil.plugin.window.panel import Panel
from napari_amil.plugin.window.work import Worker

KINDS = (QAbstractButton, QAbstractSpinBox, QComboBox, QLabel, QListWidget, Thumbnail)
FORMS = {
    "Abnormal": r"abnormal",
    "Calibration": r"calibrat\w*",
    "Interval": r"interval",
    "Stands out": r"stands? out",
    "Typical diameter": r"(typical )?diameter",
    "q-value": r"q-value|q = ",
    "p-value": r"p-value|\bp = ",
    "Novelty": r"novelty( p\b)?",
    "Anomaly": r"anomal(y|ies|ous)",
}
"""How terms of the glossary are written in a sentence, where not by their own name."""
EVERYDAY = {"Bag", "Fold", "Held out", "Patient"}
"""Terms whose word has an ordinary meaning too, or never stands in this panel without one."""
CODE = re.compile(
    r"\b(SIC|logits?|bags?|instances?|shrinkage|ablation|bias|foreign|latent|tensors?|bundle|\w+_\w+)\b"
)


@pytest.fixture
def panels(qtbot: QtBot, viewer: ViewerModel, worker: Worker) -> tuple[SmearPanel, CellCard]:
    both = SmearPanel(viewer, worker), CellCard(viewer, worker)
    for panel in both:
        qtbot.addWidget(panel)
        panel.show()
    return both


def _controls(panel: Panel) -> Iterator[QWidget]:
    """Yield what is seen of a panel; of the pages of the first panel the open one."""
    page = panel.pages.currentWidget() if isinstance(panel, SmearPanel) else panel
    for part in page.findChildren(QWidget):
        if isinstance(part, KINDS) and part.isVisible() and not isinstance(part.parent(), QListWidget):
            yield part


def _text(part: QWidget) -> str:
    return str(getattr(part, "text", str)())


def _said(panel: Panel) -> str:
    """Return all words of a panel, those of its tooltips, its tabs and its lists."""
    said = [words for part in _controls(panel) for words in (_text(part), part.toolTip())]
    for tabs in panel.findChildren(QTabWidget):
        for number in range(tabs.count()):
            said += [tabs.tabText(number), tabs.tabToolTip(number)]
    for combo in panel.findChildren(QComboBox):
        if combo.isVisible():
            said += [combo.itemText(row) for row in range(combo.count())]
    for cells in panel.findChildren(QListWidget):
        for row in range(cells.count()):
            said += [cells.item(row).text(), cells.item(row).toolTip()]
    return "\n".join(said)


def _check(panel: Panel) -> None:
    for part in _controls(panel):
        assert part.toolTip(), f"{type(part).__name__} '{_text(part)}' has no tooltip"
    for tabs in panel.findChildren(QTabWidget):
        assert all(tabs.tabToolTip(number) for number in range(tabs.count()))
    _check_words(panel)


def _check_words(panel: Panel) -> None:
    said = _said(panel)
    assert CODE.findall(said) == []
    used = set()
    longest_first = sorted(glossary(), key=lambda term: (-len(term), term))
    for term in longest_first:  # "Attention x n" is not "Attention", and "novelty p" is no p-value of a cell
        pattern = FORMS.get(term, rf"\b{re.escape(term)}s?\b")
        said, n_found = re.subn(pattern, "", said, flags=re.IGNORECASE)
        used |= {term} if n_found else set()
    assert used - EVERYDAY - set(panel.TERMS) == set()
    for term in panel.TERMS:
        assert term in glossary()


def test_all_of_the_first_minute_has_a_tooltip_and_its_words_are_in_the_glossary(
    panels: tuple[SmearPanel, CellCard],
    viewer: ViewerModel,
    field: np.ndarray,
    done: Callable[..., Any],
    qtbot: QtBot,
) -> None:
    smear, card = panels
    for panel in panels:
        _check(panel)
    viewer.add_image(field, rgb=True, name="field")
    qtbot.waitUntil(smear.job.isVisible)
    _check(smear)
    done(smear.detect.detected, smear.detect.run)
    qtbot.waitUntil(lambda: "not scored" in smear.summary.detail.text())
    _check(smear)
    done(smear.finished, smear.job.button.click)
    for page in reversed(range(smear.pages.count())):
        smear.pages.setCurrentIndex(page)
        _check_words(smear)
    _check(smear)
    smear.cells.list.setCurrentRow(0)
    qtbot.waitUntil(lambda: card.headline.text() != "")
    for panel in panels:
        _check(panel)


def test_the_tooltip_of_a_choice_names_the_layer_and_what_it_is_for(
    panels: tuple[SmearPanel, CellCard], viewer: ViewerModel, field: np.ndarray
) -> None:
    viewer.add_image(field, rgb=True, name="a long name that is cut")
    assert panels[0].image.toolTip() == "a long name that is cut\nThe image whose cells are looked at."
    assert panels[0].image.itemData(0, Qt.ItemDataRole.UserRole) is viewer.layers[0]
