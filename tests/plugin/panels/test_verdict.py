"""The picture of the verdict adds up, and its cells can be reached."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from napari.components import ViewerModel
from napari.layers import Image, Shapes
from pytestqt.qtbot import QtBot
from qtpy.QtCore import QPoint, Qt

from napari_amil.plugin.layers.rows import record_of
from napari_amil.plugin.panels.score import ScorePanel
from napari_amil.plugin.panels.verdict import VerdictPanel
from napari_amil.plugin.reasons.contributions import class_contributions, contributions_by_class
from napari_amil.plugin.window.work import Worker

Done = Callable[..., Any]


@pytest.fixture
def panel(qtbot: QtBot, viewer: ViewerModel, worker: Worker) -> VerdictPanel:
    panel = VerdictPanel(viewer, worker)
    qtbot.addWidget(panel)
    return panel


@pytest.fixture
def scored(
    panel: VerdictPanel,
    viewer: ViewerModel,
    image: Image,
    layer: Shapes,
    worker: Worker,
    done: Done,
    qtbot: QtBot,
) -> Shapes:
    score = ScorePanel(viewer, worker)
    qtbot.addWidget(score)
    viewer.add_layer(image)
    viewer.add_layer(layer)
    found = done(score.scored, score.run)
    qtbot.waitUntil(lambda: panel.headline.text() == "thalassemia", timeout=30_000)
    return found


def _bag() -> tuple[dict[str, Any], pd.DataFrame]:
    rng = np.random.default_rng(0)
    table = pd.DataFrame(rng.normal(size=(30, 2)), columns=["contribution_control", "contribution_ill"])
    table.loc[[3, 8]] = np.nan
    sums = table.sum()
    bias = {"control": 0.4, "ill": -1.5}
    return {"bias": bias, "logit": {name: sums[f"contribution_{name}"] + bias[name] for name in bias}}, table


def test_bias_and_contributions_of_a_case_add_up_to_its_logit() -> None:
    bag, table = _bag()
    for case in contributions_by_class(bag, table):
        assert case.bias + sum(value for _, value in case.top) + case.others == pytest.approx(case.logit)
        assert case.bias + case.speaks_for + case.speaks_against == pytest.approx(case.logit)
        assert len(case.top) + case.n_others == 28
        least = min(abs(value) for _, value in case.top)
        rest = table[f"contribution_{case.name}"].drop([row for row, _ in case.top]).abs()
        assert rest.max() <= least
    assert class_contributions("ill", bag, table, most=40).n_others == 0


def test_what_the_panel_shows_adds_up_to_the_logits(panel: VerdictPanel, scored: Shapes) -> None:
    bag = record_of(scored).bag
    for name in ("control", "thalassemia", "sickle cell"):
        panel.sums.classPressed.emit(name)
        shown = sum(step.value for step in panel.waterfall.steps)
        assert shown == pytest.approx(bag["logit"][name], abs=1e-9)
        assert panel.waterfall._total.value == bag["logit"][name]
        by_hand = scored.features[f"contribution_{name}"].sum() + bag["bias"][name]
        assert shown == pytest.approx(by_hand)
        assert panel.waterfall._total.name == f"score of {name}"


def test_verdict_probabilities_and_summary_are_told(panel: VerdictPanel, scored: Shapes) -> None:
    assert panel.caption.text() == "This image looks most like"
    assert panel.bars.accessibleDescription() == "thalassemia 72%, control 21%, sickle cell 7%"
    said = panel.reasons.text().splitlines()
    assert said[0] == (
        "It fits the known classes: 40 % of samples of known classes lie as far from all of them "
        "(novelty p = 0.4)."
    )
    assert said[1] == (
        "Judged from 5 cells. About 30 % of its cells are abnormal (90 % interval 10 % to 50 %). Of control "
        "samples, 2 % score this high on average (sample p = 0.02). For nine in ten new patients the class "
        "is among such a set: thalassemia. 1 of its cells (12 %) is more unusual than chance explains."
    )
    assert said[2] == "For research only."


def test_a_cell_of_the_waterfall_is_chosen_by_mouse_and_by_keyboard(
    panel: VerdictPanel, scored: Shapes, qtbot: QtBot, viewer: ViewerModel
) -> None:
    panel.waterfall.resize(280, panel.waterfall.sizeHint().height())
    steps = panel.waterfall.steps
    assert [step.key is None for step in steps] == [True, *[False] * 5]
    y = int(panel.waterfall._heights()[0] + panel.waterfall._heights()[1] / 2)
    qtbot.mouseClick(panel.waterfall, Qt.MouseButton.LeftButton, pos=QPoint(40, y))
    assert panel.selection.current == steps[1].key
    middle = scored.data_to_world(np.asarray(scored.data[steps[1].key.cell_id - 1]).mean(axis=0))
    assert viewer.scene.camera.center[-2:] == pytest.approx(middle)
    for key in (Qt.Key.Key_Down, Qt.Key.Key_Down, Qt.Key.Key_Down, Qt.Key.Key_Up, Qt.Key.Key_Return):
        qtbot.keyClick(panel.waterfall, key)
    assert panel.selection.current == steps[2].key
    assert set(scored.selected_data) == {steps[2].key.cell_id - 1}


def test_the_deletion_test_tells_what_it_found(panel: VerdictPanel, scored: Shapes, done: Done) -> None:
    assert panel.deletion.chart.isHidden()
    done(panel.deletion.job.finished, panel.deletion.job.button.click)
    assert not panel.deletion.chart.isHidden()
    assert panel.deletion.sentence.text() == (
        "Without the 0 % of cells that contribute most, thalassemia goes from 70 % to 70 %; "
        "without as many random cells to 70 %."
    )
    assert "largest contribution from 70% to 10%" in panel.deletion.chart.accessibleDescription()


def test_a_verdict_falls_with_the_cells_it_was_about(
    panel: VerdictPanel, scored: Shapes, qtbot: QtBot, viewer: ViewerModel
) -> None:
    scored.remove([0])
    qtbot.waitUntil(lambda: "score again" in panel.reasons.text(), timeout=30_000)
    assert panel.headline.isHidden()
    assert panel.waterfall.isHidden()
    viewer.layers.remove(scored)
    assert "Press Find and score in Look at a smear" in panel.reasons.text()


def test_both_themes_are_taken(panel: VerdictPanel, scored: Shapes, viewer: ViewerModel) -> None:
    pictures = []
    for theme in ("dark", "light"):
        viewer.theme = theme
        panel.sums.resize(280, 120)
        panel.waterfall.resize(280, 300)
        pictures.append((panel.sums.grab().toImage(), panel.waterfall.grab().toImage()))
    assert pictures[0][0] != pictures[1][0]
    assert pictures[0][1] != pictures[1][1]
