from __future__ import annotations

from collections.abc import Callable
from typing import Any

import dask.array as da
import numpy as np
import pandas as pd
import pytest
from napari.components import ViewerModel
from napari.layers import Image, Labels, Shapes
from pytestqt.qtbot import QtBot
from qtpy.QtWidgets import QLabel

from napari_amil.core.base.types import Cells
from napari_amil.plugin.colour.colour_choice import marks_of
from napari_amil.plugin.layers.cell_layer import cells_of
from napari_amil.plugin.layers.rows import record_of
from napari_amil.plugin.panels.score import ScorePanel, unchanged_only
from napari_amil.plugin.window.model_choice import card_text, model_words
from napari_amil.plugin.window.work import Worker

Done = Callable[..., Any]
BOX = np.array([[5.0, 5], [5, 20], [20, 20], [20, 5]])


@pytest.fixture
def panel(qtbot: QtBot, viewer: ViewerModel, worker: Worker) -> ScorePanel:
    panel = ScorePanel(viewer, worker)
    qtbot.addWidget(panel)
    return panel


@pytest.fixture
def scored(panel: ScorePanel, viewer: ViewerModel, image: Image, layer: Shapes, done: Done) -> Shapes:
    """Return the cell layer after one scoring."""
    viewer.add_layer(image)
    viewer.add_layer(layer)
    return done(panel.scored, panel.job.button.click)


def _values(layer: Shapes, name: str) -> np.ndarray:
    return layer.features[name].to_numpy()


def test_a_press_scores_every_cell(scored: Shapes) -> None:
    assert _values(scored, "status").tolist() == ["scored"] * 5
    assert _values(scored, "attention").sum() == pytest.approx(1)
    assert scored.features.columns[-1] == "status"
    assert scored.features.columns.tolist().index("anomaly") > scored.features.columns.tolist().index(
        "overlaps"
    )


def test_the_cells_are_coloured_on_the_scale_that_the_bar_shows(panel: ScorePanel, scored: Shapes) -> None:
    scale = panel.colours.value()
    assert scale is not None
    assert (scale.column, scale.low, scale.high) == ("anomaly_percentile", 50, 100)
    np.testing.assert_allclose(scored.edge_color, scale.edge_rgba(_values(scored, scale.column)), atol=1e-6)


def test_shapes_on_a_whole_slide_are_refused_before_it_is_read(
    panel: ScorePanel, viewer: ViewerModel, done: Done
) -> None:
    finest = da.zeros((24_000, 24_000, 3), dtype=np.uint8, chunks=(2000, 2000, 3))
    viewer.add_image([finest, finest[::16, ::16]], rgb=True, multiscale=True, name="slide")
    panel.cells.set_layer(viewer.add_shapes([BOX]))
    reason = done(panel.errored, panel.job.button.click)
    assert reason.startswith("'slide' is a whole slide; press Find cells on the page Detection")


def test_every_score_can_colour_the_cells(panel: ScorePanel, scored: Shapes) -> None:
    names = [panel.colours.column.itemData(row) for row in range(panel.colours.column.count())]
    assert {"anomaly", "anomaly_percentile", "attention_x_n", "contribution_thalassemia"} <= set(names)
    for name in names:
        panel.colours.setValue(name)
        assert (scored.edge_color[:, 3] == 1).all()
        assert panel.colours.value().column == name


def test_the_scale_is_the_same_in_every_image(
    panel: ScorePanel,
    scored: Shapes,
    viewer: ViewerModel,
    field: np.ndarray,
    cells: Cells,
    done: Done,
    build_layer: Any,
) -> None:
    panel.colours.setValue("anomaly")
    scale = panel.colours.value()
    image = viewer.add_image(field, rgb=True, name="other")
    other = viewer.add_layer(build_layer(cells.take([0, 1]), image))
    done(panel.scored, panel.run)
    assert panel.colours.value() == scale
    panel.colours.high.setValue(scale.high * 2)
    wider = panel.colours.value()
    assert wider.high == pytest.approx(scale.high * 2)
    for layer in (scored, other):
        np.testing.assert_allclose(layer.edge_color, wider.edge_rgba(_values(layer, "anomaly")), atol=1e-6)


def test_ends_in_the_wrong_order_are_ignored(panel: ScorePanel, scored: Shapes) -> None:
    before = panel.colours.value()
    panel.colours.low.setValue(before.high + 1)
    assert panel.colours.value() == before


def test_fit_takes_the_range_of_this_image(panel: ScorePanel, scored: Shapes) -> None:
    panel.colours.setValue("attention_x_n")
    panel.colours.fit.click()
    values = _values(scored, "attention_x_n")
    scale = panel.colours.value()
    assert values.min() < values.max()
    assert (scale.low, scale.high) == (values.min(), values.max())


def test_the_verdict_is_shown_with_its_probabilities(panel: ScorePanel, scored: Shapes) -> None:
    assert panel.verdict.text() == "thalassemia"
    assert panel.bars.accessibleDescription() == "thalassemia 72%, control 21%, sickle cell 7%"
    assert panel.verdict_detail.text().startswith("Judged from 5 cells. About 30 % of its cells are abnormal")
    assert "30\N{NO-BREAK SPACE}%" in QLabel.text(panel.verdict_detail)  # no line breaks there


def test_an_abstention_is_no_class(panel: ScorePanel, scored: Shapes) -> None:
    record_of(scored).bag |= {"verdict": "abstain"}
    scored.events.features()
    assert panel.verdict.text() == "No verdict"
    assert panel.verdict_caption.text() == "The model abstains"
    assert panel.verdict_detail.text().startswith(
        "No class reaches a probability of 50 %. Judged from 5 cells."
    )


def test_the_verdict_falls_when_a_cell_is_drawn(panel: ScorePanel, scored: Shapes) -> None:
    scored.add(BOX, shape_type="rectangle")
    assert panel.verdict.isHidden()
    assert "score again" in panel.verdict_detail.text()


def test_a_drawn_cell_is_scored_with_the_others(panel: ScorePanel, scored: Shapes, done: Done) -> None:
    scored.add(BOX, shape_type="rectangle")
    done(panel.scored, panel.run)
    assert scored.features["anomaly"].notna().all()
    assert scored.features["cell_id"].tolist() == [1, 2, 3, 4, 5, 6]


def test_a_cell_that_changes_while_it_is_scored_stays_unscored(
    panel: ScorePanel, viewer: ViewerModel, image: Image, layer: Shapes, done: Done
) -> None:
    viewer.add_layer(image)
    viewer.add_layer(layer)
    panel.run()
    layer._data_view.shift(1, np.array([5.0, 0.0]))
    layer.events.data(value=layer.data, action="changed", data_indices=(1,), vertex_indices=((),))
    layer.remove([0])
    done(panel.scored)
    assert layer.features["cell_id"].tolist() == [2, 3, 4, 5]
    assert layer.features["anomaly"].notna().tolist() == [False, True, True, True]
    assert record_of(layer).bag is None
    assert "score again" in panel.verdict_detail.text()


def test_shapes_drawn_from_nothing_can_be_scored(
    panel: ScorePanel, viewer: ViewerModel, field: np.ndarray, done: Done
) -> None:
    viewer.add_image(field, rgb=True, name="smear")
    viewer.add_shapes([BOX, BOX + 40], shape_type="rectangle")
    layer = done(panel.scored, panel.run)
    assert layer.features["cell_id"].tolist() == [1, 2]
    assert layer.features["anomaly"].notna().all()


def test_labels_of_another_program_are_scored(
    panel: ScorePanel, viewer: ViewerModel, image: Image, field: np.ndarray, done: Done
) -> None:
    viewer.add_layer(image)
    labels = np.zeros(field.shape[:2], np.int32)
    labels[20:40, 20:45], labels[100:120, 60:90], labels[140:160, 0:20] = 7, 3, 9
    drawn = viewer.add_layer(Labels(labels, name="Cellpose"))
    assert panel.cells.layer() is drawn
    layer = done(panel.scored, panel.job.button.click)
    assert isinstance(layer, Shapes)
    assert panel.cells.layer() is layer
    assert layer.name == "cells of Cellpose"
    assert not drawn.visible
    np.testing.assert_allclose(layer.scale, image.scale)
    assert layer.features["cell_id"].tolist() == [3, 7, 9]
    assert layer.features["touches_border"].tolist() == [False, False, True]
    assert layer.features[["y0", "x0", "y1", "x1"]].to_numpy().tolist()[1] == [20, 20, 40, 45]
    assert layer.features["anomaly"].notna().any()


@pytest.mark.parametrize(
    ("labels", "reason"),
    [
        (np.ones((50, 60), np.int32), "'Cellpose' have 60 x 50 pixels, but the image 200 x 160"),
        (np.zeros((160, 200), np.int32), "'Cellpose' labels no cell"),
    ],
)
def test_labels_that_do_not_fit_are_refused_in_words(
    panel: ScorePanel, viewer: ViewerModel, image: Image, done: Done, labels: np.ndarray, reason: str
) -> None:
    viewer.add_layer(image)
    viewer.add_layer(Labels(labels, name="Cellpose"))
    assert reason in done(panel.errored, panel.job.button.click)


@pytest.mark.parametrize("case", ["nothing", "no cell", "no image", "image closed"])
def test_what_is_missing_is_said(
    panel: ScorePanel, viewer: ViewerModel, image: Image, layer: Shapes, case: str
) -> None:
    said = {
        "nothing": "press Find and score",
        "no cell": "no cell to score",
        "no image": "no image below",
        "image closed": "was closed",
    }
    if case == "no cell":
        viewer.add_layer(image)
        viewer.add_layer(layer)
        layer.remove(list(range(5)))
    elif case == "no image":
        viewer.add_shapes([BOX], shape_type="rectangle")
    elif case == "image closed":
        viewer.add_layer(layer)
    panel.run()
    assert said[case] in panel.job.notice.text()
    assert not panel.job.is_running


def test_a_cell_under_the_pointer_is_described(
    panel: ScorePanel, scored: Shapes, viewer: ViewerModel
) -> None:
    y, x = scored.data_to_world((30, 90))
    panel.hover.look_at((y, x))
    assert panel.cell_text.text().splitlines()[0].startswith("Cell 2: more unusual than")
    assert viewer.status == panel.cell_text.text().splitlines()[0]
    panel.hover.look_at(scored.data_to_world((150, 190)))
    assert panel.cell_text.text() == "Point at a cell to read what is known about it."


def test_the_line_about_the_cell_outlasts_naparis_own(
    panel: ScorePanel, scored: Shapes, viewer: ViewerModel
) -> None:
    panel.hover.look_at(scored.data_to_world((30, 90)))
    said = viewer.status
    viewer.status = "smear [30 90]: 0"
    assert viewer.status == said
    panel.hover.look_at(scored.data_to_world((150, 190)))
    viewer.status = "smear [150 190]: 0"
    assert viewer.status == "smear [150 190]: 0"


def test_the_pointer_finds_no_cell_in_a_hidden_layer(panel: ScorePanel, scored: Shapes) -> None:
    scored.visible = False
    panel.hover.look_at(scored.data_to_world((30, 90)))
    assert panel.cell_text.text().startswith("Point at")


def test_both_themes_are_taken(panel: ScorePanel, scored: Shapes, viewer: ViewerModel) -> None:
    pictures = []
    for theme in ("dark", "light"):
        viewer.theme = theme
        pictures.append(panel.colours.bar.grab().toImage())
        panel.bars.grab()
    assert pictures[0] != pictures[1]


def test_the_card_of_the_model_can_be_read(panel: ScorePanel, qtbot: QtBot) -> None:
    panel.model.about.button.click()
    qtbot.waitUntil(lambda: "Name: tiny" in panel.model.card.text(), timeout=30_000)
    panel.model.setValue("/somewhere/mine.safetensors")
    assert panel.model.value() == "/somewhere/mine.safetensors"
    assert panel.model.combo.currentText() == "mine.safetensors"
    panel.model.setValue(None)
    assert panel.model.value() is None


def test_a_card_is_plain_text() -> None:
    card = {"trained_on": ["a", "b"], "results": {"auc": 0.912345, "n_folds": 3}, "ok": True, "note": None}
    assert card_text(card).splitlines() == [
        "Trained on: a, b",
        "Results:",
        "   Auc: 0.9123",
        "   Number of folds: 3",
        "Ok: yes",
        "Note: none",
    ]


def test_a_card_is_told_in_sentences() -> None:
    scores = {"accuracy": 0.96, "n_bags": 98.0, "balanced_accuracy": 0.86, "cell_auroc_anomaly": 0.946}
    card = {
        "data": "some smears",
        "held_out": "fold 2",
        "scorer": {"control": "control", "n_patients": {"control": 15, "ill": 6}, "n_cells": 2983},
        "results": {"scores": scores, "detection": {"recall": 0.99, "precision": 0.97}},
        "intended_use": "For research only.",
    }
    assert model_words(card, ["control", "ill"]).splitlines() == [
        "Made from some smears.",
        "It tells apart control, ill, and compares cells with control. "
        "It learned from 2,983 cells of 21 patients.",
        "Measured on fold 2.",
        "Called rightly: 96 % of 98 samples (mean over the classes 86 %).",
        "Abnormal against normal cells: area under the ROC 0.95.",
        "Cells found: 99 %; of what is found 97 % are cells.",
        "For research only.",
    ]
    assert model_words({}, []) == "It finds cells and does not score them."


def test_the_colour_bar_marks_percentiles_and_q(panel: ScorePanel, scored: Shapes) -> None:
    table = scored.features.assign(anomaly_q=[0.01, 0.2, 0.04, 0.6, 0.9], anomaly=[9.0, 2.0, 6.0, 1.0, 0.5])
    table["attention_x_n"] = [0.0, 1.0, 2.0, 3.0, 4.0]
    scored.features = table
    marks = marks_of(scored, "anomaly")
    assert marks.levels == ((50.0, 1.0), (95.0, 3.0), (99.0, 5.0))
    assert marks.threshold == 6.0
    assert marks.levels_caption() == "Lines: 50, 95 and 99 % of control cells lie below"
    assert marks_of(scored, "attention_x_n").levels[0] == (50.0, 2.0)
    assert marks_of(scored, "attention_x_n").threshold is None
    q = marks_of(scored, "anomaly_q")
    assert (q.levels, q.threshold, q.is_above) == ((), 0.05, False)
    panel.colours.setValue("anomaly")
    assert "Cells above 6 have q < 0.05" in panel.colours.bar.accessibleDescription()
    with_marks = panel.colours.bar.grab().toImage()
    scored.features = table.assign(anomaly_q=0.5)
    panel.colours.refresh_bar()
    assert marks_of(scored, "anomaly").threshold is None
    assert panel.colours.bar.grab().toImage() != with_marks


def test_only_scores_of_unchanged_cells_count(cells: Cells, some_scores: pd.DataFrame) -> None:
    moved = Cells(cells.boxes + np.array([[0, 0, 0, 0], *[[1, 1, 1, 1]] * 4]), cell_id=cells.cell_id)
    assert unchanged_only(some_scores, cells, moved)["cell_id"].tolist() == [1]


def test_the_layer_remembers_the_verdict_when_another_is_chosen(
    panel: ScorePanel, scored: Shapes, viewer: ViewerModel
) -> None:
    viewer.add_shapes([BOX], shape_type="rectangle")
    assert panel.verdict.isHidden()
    viewer.layers.selection.active = scored
    assert panel.verdict.text() == "thalassemia"
    assert not panel.verdict.isHidden()
    assert record_of(scored).bag["n_cells"] == len(cells_of(scored))
