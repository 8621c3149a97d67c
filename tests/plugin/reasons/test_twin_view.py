"""The chosen cell is shown beside its twin, and the differences of all cells lie over the image."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Image, Shapes
from pytestqt.qtbot import QtBot

from napari_amil.plugin.layers.cell_layer import cells_of
from napari_amil.plugin.layers.twins import HOTTEST, has_network, twins_of
from napari_amil.plugin.panels.cell_card import CellCard
from napari_amil.plugin.panels.score import ScorePanel
from napari_amil.plugin.window.work import Worker

Done = Callable[..., Any]


@pytest.fixture
def scored(
    qtbot: QtBot, viewer: ViewerModel, worker: Worker, image: Image, layer: Shapes, done: Done
) -> Shapes:
    """Scored cells, as by a model with a network."""
    panel = ScorePanel(viewer, worker)
    qtbot.addWidget(panel)
    viewer.add_layer(image)
    viewer.add_layer(layer)
    found: Shapes = done(panel.scored, panel.run)
    return found


@pytest.fixture
def card(qtbot: QtBot, viewer: ViewerModel, worker: Worker, scored: Shapes) -> CellCard:
    card = CellCard(viewer, worker)
    qtbot.addWidget(card)
    card.show()
    scored.selected_data = {1}
    return card


def with_network(layer: Shapes) -> None:
    layer.features = layer.features.assign(anomaly_ra_percentile=50.0)


def heat_layers(viewer: ViewerModel) -> list[Image]:
    return [layer for layer in viewer.layers if isinstance(layer, Image) and "difference" in layer.name]


def test_redrawing_is_offered_for_cells_that_a_network_scored(card: CellCard, scored: Shapes) -> None:
    assert not has_network(scored.features.columns)
    assert card.twin.isHidden()
    with_network(scored)
    card.refresh()
    assert not card.twin.isHidden()
    assert not any(picture.has_picture for picture in card.twin.pictures)


def test_twin_and_difference_of_the_chosen_cell_are_shown(
    card: CellCard, scored: Shapes, viewer: ViewerModel, done: Done
) -> None:
    with_network(scored)
    card.refresh()
    done(card.twin.job.finished, card.twin.run)
    assert [picture.has_picture for picture in card.twin.pictures] == [True, True, False]
    cell_id = int(scored.features["cell_id"][1])
    twins = twins_of(scored)
    assert twins is not None
    twin = twins.of(scored, cell_id)
    assert twin is not None
    assert (twin.twin == 140).all()
    assert float(twin.heat[0, 0]) == pytest.approx(cell_id / 100)
    plain, warm = twin.warmed(0.0), twin.warmed(1.0)
    assert (plain == 120).all()
    assert (warm[4:] == 120).all()
    assert (warm[:4] != 120).any()
    card.twin.opacity.setValue(0)
    shown = card.twin.pictures[1]._image
    assert shown is not None
    assert shown.pixelColor(0, 0).getRgb()[:3] == (120, 120, 120)

    (heat,) = heat_layers(viewer)
    y0, x0, y1, x1 = cells_of(scored).boxes[1].astype(int)
    assert heat.data[(y0 + y1) // 2, (x0 + x1) // 2] == pytest.approx(cell_id / 100)
    assert np.isnan(heat.data[0, 0])
    assert tuple(heat.contrast_limits) == (0.0, HOTTEST)
    np.testing.assert_allclose(heat.scale, scored.scale[-2:])
    done(card.twin.job.finished, card.twin.run)
    assert heat_layers(viewer) == [heat]


def test_a_cell_that_was_moved_since_has_no_twin(
    card: CellCard, scored: Shapes, viewer: ViewerModel, done: Done
) -> None:
    with_network(scored)
    card.refresh()
    done(card.twin.job.finished, card.twin.run)
    twins = twins_of(scored)
    assert twins is not None
    data = [corners.copy() for corners in scored.data]
    data[1] = data[1] + 7.0
    scored.data = data
    assert twins.of(scored, int(scored.features["cell_id"][1])) is None
    assert twins.of(scored, int(scored.features["cell_id"][0])) is not None
