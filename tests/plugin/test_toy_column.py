"""A score column that is only registered takes part in everything that scores of cells take part in."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
from napari.components import ViewerModel
from napari.layers import Image, Layer, Shapes
from qtpy.QtCore import Qt

from napari_amil.core.base.column import Column
from napari_amil.core.base.columns import column_of, register, withdraw
from napari_amil.core.base.events import drain
from napari_amil.core.base.settings import VerdictSettings
from napari_amil.core.base.types import BagScore
from napari_amil.core.evaluation.score_figures import draw_distributions
from napari_amil.core.exchange.cell_files import read_cells
from napari_amil.core.exchange.project import read_project, write_project
from napari_amil.core.pipeline.export import FORMATS, export_project
from napari_amil.core.report.page import Section, columns_of
from napari_amil.plugin.cohorts.bag_table import BagModel
from napari_amil.plugin.cohorts.cell_table import open_cells
from napari_amil.plugin.cohorts.gallery_order import GalleryOrder, sorting
from napari_amil.plugin.cohorts.open_results import read_results_folder
from napari_amil.plugin.colour.colour_choice import ColourChoice
from napari_amil.plugin.layers import cell_layer as _layers
from napari_amil.plugin.layers import readers, writers
from napari_amil.plugin.layers.edits import Rescoring
from napari_amil.plugin.layers.journal import journal_of, keep
from napari_amil.plugin.layers.score_words import describe, numbers
from napari_amil.plugin.layers.walk import orders
from napari_amil.worker.protocol.messages import Scored

TOY = Column(
    "granularity",
    "Granularity",
    "How granular the cell is.",
    head="Grains",
    unit="µm",
    low=0,
    decimals=1,
    unusual="low",
    is_score=True,
    ends=(0, 4),
    uses=("evaluate", "draw"),
)
FAMILY = Column(
    "stain_<class>",
    "Stained like <class>",
    "How much more the cell is stained like <class> than the mean cell of its sample.",
    is_score=True,
    needs_sample=True,
    diverging=True,
)
NAMES = ["granularity", "stain_ill"]
ENDS = [(0, 4), (-5, 5)]
BOX = np.array([[60.0, 150.0], [60.0, 170.0], [80.0, 170.0], [80.0, 150.0]])


@pytest.fixture(autouse=True)
def toys() -> Iterator[None]:
    for column in (TOY, FAMILY):
        register(column)
    yield
    for column in (TOY, FAMILY):
        withdraw(column)


@pytest.fixture
def scores(some_scores: pd.DataFrame) -> pd.DataFrame:
    return some_scores.assign(granularity=[2.04, 1.5, np.nan], stain_ill=[-0.5, 0.25, 5.0])


@pytest.fixture
def layer(layer: Shapes, scores: pd.DataFrame) -> Shapes:
    _layers.set_scores(layer, scores)
    return layer


def test_it_is_a_feature_that_colours_the_cells_and_has_its_words(
    layer: Shapes, image: Image, viewer: ViewerModel, qapp: object
) -> None:
    assert layer.features["granularity"].tolist()[::2] == pytest.approx([1.5, np.nan, 2.04], nan_ok=True)
    for one in (image, layer):
        viewer.add_layer(one)
    colours = ColourChoice(viewer)
    colours.offer(layer)
    listed = {colours.column.itemData(i): colours.column.itemText(i) for i in range(colours.column.count())}
    assert [listed[name] for name in NAMES] == ["Granularity", "Stained like ill"]
    for name, (low, high), colormap in zip(NAMES, ENDS, ("plasma", "coolwarm"), strict=True):
        colours.setValue(name)
        scale = colours.value()
        assert scale is not None
        assert (scale.low, scale.high, scale.colormap) == (low, high, colormap)
        values = layer.features[name].to_numpy(float)
        np.testing.assert_allclose(layer.edge_color, scale.edge_rgba(values))
        assert colours.column.toolTip() == column_of(name).meaning


def test_it_is_read_below_the_pointer_and_on_the_card(layer: Shapes) -> None:
    row = layer.features.iloc[4].to_dict()
    lines = ["Granularity 2.0 µm", "Stained like ill -0.5"]
    assert set(lines) < set(describe(row))
    assert set(lines) < set(numbers(row | {"granularity_se": np.nan}))
    assert "Granularity 2.0 µm ± 0.3" in numbers(row | {"granularity_se": 0.3})


def test_galleries_and_cards_are_sorted_by_it(layer: Shapes, image: Image, qapp: object) -> None:
    assert {"Granularity, highest first", "Stained like ill, highest first"} <= {
        order.name for order in orders(layer.features)
    }
    cells = open_cells([image, layer])
    assert set(NAMES) <= set(cells.scores)
    order = GalleryOrder()
    order.offer(cells.scores)
    order.setValue("granularity", highest_first=False)
    assert (order.column.currentText(), order.value()) == ("Granularity", ("granularity", False))
    same = np.array([1.0, 1.0])
    assert sorting("granularity", same, np.array([2.0, 9.0]), highest_first=False).tolist() == [1, 0]
    assert column_of("granularity").text(2.04) == "2.0 µm"


def test_an_edit_blanks_it_and_undo_brings_it_back(layer: Shapes) -> None:
    before = layer.features[NAMES].copy()
    layer._data_view.shift(0, np.array([3.0, 4.0]))
    layer.events.data(value=layer.data, action="changed", data_indices=(0,), vertex_indices=((),))
    assert layer.features["status"][0] == "edited"
    assert layer.features.loc[0, NAMES].isna().all()
    pd.testing.assert_frame_equal(layer.features.loc[1:, NAMES], before.loc[1:])
    journal_of(layer).undo()
    back = layer.features.sort_values("cell_id", ignore_index=True)
    pd.testing.assert_frame_equal(back[NAMES], before)
    layer.add(BOX, shape_type="polygon")
    assert layer.features.loc[5, NAMES].isna().all()


def test_single_cells_are_scored_again_without_what_needs_the_sample(layer: Shapes, tmp_path: Path) -> None:
    layer._data_view.shift(0, np.array([3.0, 4.0]))
    layer.events.data(value=layer.data, action="changed", data_indices=(0,), vertex_indices=((),))
    asked = _layers.cells_of(layer).take([0])
    fresh = pd.DataFrame({"cell_id": [1], "anomaly": [2.0], "granularity": [3.5], "stain_ill": [7.0]})
    fresh.to_csv(tmp_path / "scores.csv", index=False)
    bag = BagScore("smear", "ill", {"ill": 1.0}, 1, 2.0, 0.0, {}, {})
    reply = Scored(
        scores=tmp_path / "scores.csv",
        evidence=tmp_path / "evidence.npz",
        bag=bag,
        control="control",
        verdict_settings=VerdictSettings(),
    )
    Rescoring(layer, asked).finish(reply)
    assert layer.features["status"][0] == "scored"
    assert layer.features["granularity"][0] == 3.5
    assert np.isnan(layer.features["stain_ill"][0])
    assert layer.features.loc[4, NAMES].tolist() == [2.04, -0.5]


@pytest.mark.parametrize("name", ["cells.geojson", "cells.csv"])
def test_it_is_saved_and_opened_again(layer: Shapes, tmp_path: Path, name: str) -> None:
    path = str(tmp_path / name)
    write = writers.write_cells if name.endswith("geojson") else writers.write_table
    write(path, *layer.as_layer_data_tuple()[:2])
    (again,) = [Layer.create(*data) for data in readers.get_reader(path)(path)]
    keep(again)
    pd.testing.assert_frame_equal(again.features[NAMES], layer.features[NAMES])
    again._data_view.shift(0, np.array([3.0, 4.0]))
    again.events.data(value=again.data, action="changed", data_indices=(0,), vertex_indices=((),))
    assert again.features.loc[0, NAMES].isna().all()


def test_tables_and_figures_have_its_head_and_sentence(qapp: object) -> None:
    table = pd.DataFrame({"bag": ["a"], "granularity": [2.0], "label": ["ill"]})
    model = BagModel()
    model.show(table)
    assert model.headerData(1, Qt.Orientation.Horizontal) == "Grains"
    heads = [column.heading for column, _ in columns_of(Section("Cells", table=table, rows="cells"))]
    assert heads == ["Sample", "Grains", "Label"]
    figure = draw_distributions(table, ["ill"], "control", ["granularity"])
    assert figure.axes[0].get_xlabel() == "Granularity"


def test_a_scored_folder_keeps_shows_and_exports_it(scored: Path, tmp_path: Path) -> None:
    project = read_project(scored)
    values = np.arange(len(project.cells)) / 2
    cells = project.cells.assign(granularity=values, stain_ill=-values)
    write_project(replace(project, cells=cells), tmp_path / "toy")
    opened = read_results_folder(tmp_path / "toy")
    assert opened.cells["granularity"].tolist() == values.tolist()
    kinds = [kind for kind in FORMATS if kind != "spatialdata"]  # has an environment of its own
    exported = {kind: drain(export_project(opened.project, kind, tmp_path / kind))[0] for kind in kinds}
    assert pd.read_csv(exported["csv"])["stain_ill"].tolist() == (-values).tolist()
    assert pd.read_parquet(exported["parquet"])["granularity"].tolist() == values.tolist()
    assert anndata.read_h5ad(exported["h5ad"]).obs["granularity"].tolist() == values.tolist()
    for file in (exported["coco"], exported["geojson"] / "0.png.geojson"):
        _, table = next(iter(read_cells(file).values()))
        assert table["stain_ill"].tolist() == (-values[:5]).tolist()
