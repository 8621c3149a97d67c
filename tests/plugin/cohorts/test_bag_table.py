"""The columns of a table are as wide as their texts, so that more of them fit into a narrow panel."""

from __future__ import annotations

import pandas as pd
from pytestqt.qtbot import QtBot

from napari_amil.plugin.cohorts.bag_table import BagFilter, BagModel, row_view


def test_columns_are_as_wide_as_their_texts(qtbot: QtBot) -> None:
    model, rows = BagModel(rows="clusters"), BagFilter()
    rows.setSourceModel(model)
    view = row_view(rows, "Clusters", "")
    qtbot.addWidget(view)
    model.show(pd.DataFrame({"cluster": [1, 2], "note": ["a", "a note that is far longer " * 9]}))
    number, note = view.columnWidth(0), view.columnWidth(1)
    assert number < 90 < note <= 140
