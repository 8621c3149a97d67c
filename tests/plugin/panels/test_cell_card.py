"""The card says of one cell what the layer and the worker know, and walks from cell to cell."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Image, Shapes
from napari.utils.shortcuts import default_shortcuts
from pytestqt.qtbot import QtBot

from napari_amil.core.base.types import Cells
from napari_amil.plugin.colour.hover import hover_of
from napari_amil.plugin.layers.rows import record_of
from napari_amil.plugin.layers.selection import CellKey
from napari_amil.plugin.layers.walk import NEXT_KEY, PREVIOUS_KEY, walk_of
from napari_amil.plugin.panels.cell_card import CellCard
from napari_amil.plugin.panels.score import ScorePanel
from napari_amil.plugin.reasons.charts import AGAINST
from napari_amil.plugin.window.work import Worker

Done = Callable[..., Any]


@pytest.fixture
def score(qtbot: QtBot, viewer: ViewerModel, worker: Worker) -> ScorePanel:
    panel = ScorePanel(viewer, worker)
    qtbot.addWidget(panel)
    return panel


@pytest.fixture
def card(qtbot: QtBot, viewer: ViewerModel, worker: Worker) -> CellCard:
    card = CellCard(viewer, worker)
    qtbot.addWidget(card)
    card.show()
    return card


@pytest.fixture
def scored(score: ScorePanel, viewer: ViewerModel, image: Image, layer: Shapes, done: Done) -> Shapes:
    viewer.add_layer(image)
    viewer.add_layer(layer)
    return done(score.scored, score.run)


def _by_anomaly(layer: Shapes) -> list[int]:
    table = layer.features.sort_values("anomaly", ascending=False, kind="stable")
    return table["cell_id"].tolist()


def test_the_cell_under_the_pointer_is_told(card: CellCard, scored: Shapes) -> None:
    card.hover.look_at(scored.data_to_world((30, 90)))
    percentile = scored.features["anomaly_percentile"][1]
    assert card.headline.text() == f"More unusual than {percentile:.1f} % of control cells"
    assert "Cell 2 of smear.png, under the pointer" in card.place.text()
    assert card.words.text().splitlines() == ["• Longer than 99 % of control cells", "• Cell 2"]
    contribution = scored.features["contribution_thalassemia"][1]
    assert f"thalassemia {contribution:+.2f}" in card.voices.accessibleDescription()
    assert f"Distance from control cells {scored.features['anomaly'][1]:.3g}" in card.figures.text()


def test_the_bars_of_all_cells_have_one_scale(card: CellCard, scored: Shapes, qtbot: QtBot) -> None:
    columns = [name for name in scored.features if name.startswith("contribution_")]
    scored.features = scored.features.assign(**dict.fromkeys(columns, 0.01))
    scored.features.loc[1, columns[0]] = -4.0
    card._on_later()
    painted = []
    for place in ((30, 30), (30, 90)):
        card.hover.look_at(scored.data_to_world(place))
        picture = card.voices.grab().toImage()
        blue = [x for x in range(picture.width()) if picture.pixelColor(x, 8) == AGAINST]
        painted.append(len(blue) / picture.width())
    assert painted[0] == 0.0
    assert painted[1] > 0.1
    assert card.voices._reach == 4.0


def test_the_picture_is_the_cell_in_the_image(card: CellCard, scored: Shapes, field: np.ndarray) -> None:
    card.hover.look_at(scored.data_to_world((30, 90)))
    grabbed = card.picture._image
    side = grabbed.width()
    assert side == np.ceil(1.9 * 24)
    corner = np.floor(np.array([30 + 30, 90 + 90]) / 2 - side / 2).astype(int)
    middle = grabbed.pixelColor(side // 2, side // 2).getRgb()[:3]
    raw = field[corner[0] + side // 2, corner[1] + side // 2]
    assert middle == tuple(
        np.rint(raw.astype(float) * 240 / 230).astype(int)
    )  # the background of 230 becomes white
    assert card.picture._outline.boundingRect().center().x() == pytest.approx(side / 2, abs=1)


def test_a_chosen_cell_stays_whatever_the_pointer_crosses(card: CellCard, scored: Shapes) -> None:
    scored.selected_data = {3}
    assert card.key == CellKey("smear.png", 4)
    card.hover.look_at(scored.data_to_world((30, 90)))
    assert card.key == CellKey("smear.png", 4)
    assert "Cell 4 of smear.png, chosen" in card.place.text()
    card.hover.let_go()
    assert card.key == CellKey("smear.png", 2)
    assert "Cell 2 of smear.png, under the pointer" in card.place.text()
    card.hover.look_at(scored.data_to_world((150, 190)))
    assert card.headline.text() == ""
    assert not card.picture.has_picture


def test_next_and_previous_walk_by_the_chosen_order(
    card: CellCard, scored: Shapes, viewer: ViewerModel, qtbot: QtBot
) -> None:
    qtbot.waitUntil(lambda: card.order.count() > 4, timeout=30_000)
    ranked = _by_anomaly(scored)
    walked = []
    for _ in range(6):
        card.after.click()
        walked.append(card.selection.current.cell_id)
    assert walked == [*ranked, ranked[0]]
    card.before.click()
    assert card.selection.current.cell_id == ranked[-1]
    assert set(scored.selected_data) == {ranked[-1] - 1}
    for order, first in (("Least sure detection first", 5), ("By number", 1)):
        card.order.setCurrentIndex(card.order.findText(order))
        card.order.activated.emit(card.order.currentIndex())
        assert card.selection.current.cell_id == first
    middle = scored.data_to_world(np.asarray(scored.data[0]).mean(axis=0))
    assert viewer.scene.camera.center[-2:] == pytest.approx(middle)
    assert ", 1 of 5" in card.place.text()


def test_the_keys_collide_with_nothing_and_belong_to_the_viewer(
    viewer: ViewerModel, worker: Worker, qtbot: QtBot
) -> None:
    taken = {str(key) for keys in default_shortcuts.values() for key in keys}
    assert {PREVIOUS_KEY, NEXT_KEY} & taken == set()
    walk_of(viewer), hover_of(viewer)
    before = dict(viewer.keymap)
    card = CellCard(viewer, worker)
    with qtbot.waitSignal(card.destroyed, timeout=30_000):
        card.deleteLater()
    assert dict(viewer.keymap) == before


def test_the_key_on_the_canvas_is_next(card: CellCard, scored: Shapes, viewer: ViewerModel) -> None:
    for key, pressed in dict(viewer.keymap).items():
        if str(key) == NEXT_KEY:
            pressed(viewer)
    assert card.selection.current.cell_id == _by_anomaly(scored)[0]


def test_control_cells_and_likes_stand_in_rows(
    card: CellCard, scored: Shapes, qtbot: QtBot, viewer: ViewerModel
) -> None:
    qtbot.waitUntil(lambda: card.order.count() > 4, timeout=30_000)
    with qtbot.waitSignal(card.likes.shown, timeout=30_000):
        card.next()
    assert [picture.has_picture for picture in card.controls.pictures] == [True] * 4 + [False]
    assert "Control cell of b.png. Its look differs by 2.5" in card.controls.pictures[2].toolTip()
    (row,) = card.likes.rows
    assert row.heading.text() == "Most alike in images called thalassemia"
    assert [picture.has_picture for picture in row.pictures] == [True] * 4 + [False]
    record_of(scored).bag |= {"verdict": "abstain"}
    with qtbot.waitSignal(card.likes.shown, timeout=30_000):
        card.next()
    assert row.heading.text() == "Most alike in images without a verdict"
    before = card.key
    row.pictures[0].click()
    assert card.key is not None
    assert card.key != before
    assert card.selection.keys == {card.key}


def test_a_cell_without_scores_says_why(
    card: CellCard, viewer: ViewerModel, image: Image, layer: Shapes
) -> None:
    viewer.add_layer(image)
    viewer.add_layer(layer)
    layer.selected_data = {0}
    assert card.headline.text() == "not scored yet"
    assert card.voices_heading.isHidden()
    assert card.controls.isHidden()


def test_a_closed_image_leaves_the_words(
    card: CellCard, scored: Shapes, viewer: ViewerModel, image: Image
) -> None:
    viewer.layers.remove(image)
    scored.selected_data = {1}
    assert card.headline.text().startswith("More unusual than")
    assert not card.picture.has_picture
    viewer.layers.remove(scored)
    card.refresh()
    assert card.headline.text() == ""


def test_both_themes_are_taken_and_a_second_card_opens(
    card: CellCard, scored: Shapes, viewer: ViewerModel, worker: Worker, qtbot: QtBot
) -> None:
    second = CellCard(viewer, worker)
    qtbot.addWidget(second)
    second.show()
    scored.selected_data = {1}
    assert second.headline.text() == card.headline.text() != ""
    pictures = []
    for theme in ("dark", "light"):
        viewer.theme = theme
        pictures.append(card.voices.grab().toImage())
    assert pictures[0] != pictures[1]


def test_a_hidden_card_does_nothing_until_it_is_shown(
    scored: Shapes, viewer: ViewerModel, worker: Worker, qtbot: QtBot, cells: Cells
) -> None:
    card = CellCard(viewer, worker)
    qtbot.addWidget(card)
    scored.selected_data = {1}
    assert card.headline.text() == ""
    card.show()
    qtbot.waitUntil(lambda: card.headline.text().startswith("More unusual"), timeout=30_000)
