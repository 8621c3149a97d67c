"""Figures show the numbers that they were given, and the same numbers give the same files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import PIL.Image
import pytest

from napari_amil.core.base.errors import AmilError
from napari_amil.core.evaluation.figures import (
    CONTROL_COLOUR,
    class_colours,
    draw_auprc,
    draw_confusions,
    draw_curves,
    draw_rows,
    save_figure,
)
from napari_amil.core.evaluation.score_figures import draw_against_control, draw_distributions, score_bins

CLASSES = ("control", "ill")
TABLE = pd.DataFrame(
    {
        "row": ["recommended", "other"],
        "accuracy": [0.9, 0.8],
        "accuracy_low": [0.85, 0.7],
        "accuracy_high": [0.95, 0.9],
        "macro_auroc": [0.97, 0.9],
        "macro_auroc_low": [0.95, 0.85],
        "macro_auroc_high": [0.99, 0.95],
        "auprc_control": [0.9, 0.7],
        "auprc_control_sd": [0.01, 0.02],
        "auprc_ill": [0.8, np.nan],
        "auprc_ill_sd": [0.01, np.nan],
    }
)


def test_rows_stand_from_top_to_bottom_with_their_intervals() -> None:
    ax = draw_rows(TABLE, "recommended").axes[0]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["recommended", "other"]
    points = ax.lines[0]
    np.testing.assert_array_equal(points.get_xdata(), [0.9, 0.8])
    np.testing.assert_array_equal(points.get_ydata(), [1, 0])
    low, high = ax.collections[0].get_segments()[1][:, 0]
    assert (low, high) == (0.7, 0.9)


def test_every_class_has_its_panel() -> None:
    figure = draw_auprc(TABLE, CLASSES)
    assert [ax.get_title() for ax in figure.axes] == ["control", "ill"]
    np.testing.assert_array_equal(figure.axes[1].lines[0].get_xdata(), [0.8, np.nan])


def test_a_confusion_matrix_shows_numbers_and_leaves_out_zeros() -> None:
    figure = draw_confusions(
        {"one": np.array([[3, 0], [1, 2]]), "two": np.array([[2.5, 0.5], [0, 0]])}, CLASSES
    )
    assert [[text.get_text() for text in ax.texts] for ax in figure.axes] == [["3", "1", "2"], ["2.5", "0.5"]]


def test_curves_name_their_areas() -> None:
    labels = np.array([0, 0, 1, 1])
    p = np.array([[0.9, 0.1, 0.0], [0.4, 0.6, 0.0], [0.45, 0.55, 0.0], [0.1, 0.9, 0.0]])
    roc, precision = draw_curves(labels, p, ("control", "ill", "absent"), "control").axes
    assert [text.get_text() for text in roc.get_legend().get_texts()] == ["control (0.750)", "ill (0.750)"]
    assert precision.get_legend().get_texts()[1].get_text() == "ill (0.833)"


def test_distributions_keep_kinds_of_cells_apart() -> None:
    cells = pd.DataFrame(
        {
            "label": ["control"] * 50 + ["ill"] * 50,
            "cell_type": ["normal"] * 75 + ["burr"] * 25,
            "anomaly": np.linspace(0, 9, 100),
            "attention_x_n": np.geomspace(0.01, 10, 100),
        }
    )
    figure = draw_distributions(cells, CLASSES, "control", ["anomaly", "attention_x_n"])
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["normal cells", "abnormal cells"]
    assert figure.axes[0].get_xscale() == "linear"
    assert figure.axes[1].get_xscale() == "log"


def test_histograms_carry_the_area_of_the_score() -> None:
    groups = {"control": {"anomaly": np.arange(10.0)}, "new": {"anomaly": np.arange(5.0, 20.0)}}
    (ax,) = draw_against_control(groups, {"anomaly": 0.85}).axes
    assert ax.get_title() == "ROC area 0.850"
    heights = [patch.get_data().values.sum() for patch in ax.patches]
    assert heights == pytest.approx([1.0] * 4)


def test_bins_hold_nearly_all_values() -> None:
    edges, logarithmic = score_bins(np.append(np.linspace(1, 2, 999), 1e6), logarithmic=True)
    assert not logarithmic
    assert edges[-1] < 3
    assert score_bins(np.geomspace(0.01, 1, 99), logarithmic=True)[1]
    assert len(score_bins(np.array([np.nan]), logarithmic=True)[0]) == len(edges)


def test_the_control_class_is_grey() -> None:
    colours = class_colours(("b", "control", *"acdefghij"), "control")
    assert colours["control"] == CONTROL_COLOUR
    assert CONTROL_COLOUR not in [colours[name] for name in "abcdefghij"]


def test_the_same_figure_gives_the_same_files(tmp_path: Path) -> None:
    for name in ("first", "second"):
        save_figure(draw_rows(TABLE, "recommended"), tmp_path / name / "rows.v1")
    for suffix in ("png", "svg"):
        first, second = ((tmp_path / name / f"rows.v1.{suffix}").read_bytes() for name in ("first", "second"))
        assert first == second
    assert "recommended" in (tmp_path / "first" / "rows.v1.svg").read_text(encoding="utf-8")
    with PIL.Image.open(tmp_path / "first" / "rows.v1.png") as picture:
        assert picture.size[0] > 1000
    (tmp_path / "file").write_text("")
    with pytest.raises(AmilError, match=r"Cannot write .*rows.png"):
        save_figure(draw_rows(TABLE, "recommended"), tmp_path / "file" / "rows")


@pytest.mark.parametrize("name", ["cost $5", "$a$ and $b_1$", r"$\frac{$", "100 %"])
def test_names_are_shown_as_they_are(tmp_path: Path, name: str) -> None:
    save_figure(draw_confusions({name: np.eye(2, dtype=int)}, ["control", name]), tmp_path / "confusion")
    assert (tmp_path / "confusion.svg").read_text().count(f">{name}<") >= 2
