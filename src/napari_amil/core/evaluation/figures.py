"""Figures of bags and tables, safe for colour-blind readers, as PNG and SVG."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, cast

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.text import Text
from numpy.typing import NDArray
from sklearn import metrics

from napari_amil.core.base.files import replacing

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7F7F7F", "#000000")
"""Okabe and Ito's palette: it can be told apart with every common colour blindness."""
CONTROL_COLOUR = "#7F7F7F"
DPI = 150
Shared = Literal["none", "all", "row", "col"] | bool
"""Whether axes share their scale: ``sharex``, ``sharey``."""


def class_colours(classes: Sequence[str], control: str) -> dict[str, str]:
    """Return a colour for each class; the control class is grey."""
    others = [name for name in classes if name != control]
    hues = [colour for colour in COLOURS if colour != CONTROL_COLOUR]
    return {control: CONTROL_COLOUR} | {name: hues[i % len(hues)] for i, name in enumerate(others)}


def panels(
    n_rows: int, n_columns: int, size: tuple[float, float], **shared: Shared
) -> tuple[Figure, NDArray[Any]]:
    """Return a figure of ``(n_rows, n_columns)`` axes, ``size`` being width and height in inches of all."""
    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    sharex, sharey = shared.get("sharex", False), shared.get("sharey", False)
    axes = figure.subplots(n_rows, n_columns, squeeze=False, sharex=sharex, sharey=sharey)
    for ax in axes.flat:
        ax.spines[["top", "right"]].set_visible(False)
    return figure, axes


def save_figure(figure: Figure, stem: Path) -> None:
    """Write ``<stem>.png`` and ``<stem>.svg``; the same figure gives the same files.

    Names of classes and samples are shown as they are, a dollar sign too.

    Raises
    ------
    AmilError
        If they cannot be written.
    """
    for text in figure.findobj(Text):
        text.set_parse_math(False)
    with mpl.rc_context({"text.parse_math": False, "svg.fonttype": "none", "svg.hashsalt": stem.name}):
        with replacing(stem.with_name(f"{stem.name}.png")) as partial:
            figure.savefig(partial, format="png", dpi=DPI, metadata={"Software": None})
        with replacing(stem.with_name(f"{stem.name}.svg")) as partial:
            figure.savefig(partial, format="svg", metadata={"Date": None})


def draw_rows(table: pd.DataFrame, reference: str) -> Figure:
    """Return accuracy and macro ROC area of every row of an ablation, with 95 % intervals over patients."""
    titles = {"accuracy": "Accuracy of bags", "macro_auroc": "Macro one-vs-rest ROC area"}
    figure, axes = panels(1, 2, (9.0, 1.3 + 0.28 * len(table)), sharey=True)
    for ax, (name, title) in zip(axes[0], titles.items(), strict=True):
        _points(ax, table, name, errors=(f"{name}_low", f"{name}_high"))
        here = table.loc[table["row"] == reference, name]
        if len(here):
            ax.axvline(here.iloc[0], color=COLOURS[1], linewidth=0.8, linestyle="--", zorder=0)
        ax.set_xlabel(f"{title}\n(mean over runs, 95 % interval over patients)")
    return figure


def draw_auprc(table: pd.DataFrame, classes: Sequence[str]) -> Figure:
    """Return the area under the precision-recall curve of every class and row (Kazeminia 2022, Fig. 2)."""
    figure, axes = panels(1, len(classes), (1.6 + 1.8 * len(classes), 1.3 + 0.28 * len(table)), sharey=True)
    for ax, name in zip(axes[0], classes, strict=True):
        key = f"auprc_{name}"
        deviation = table[f"{key}_sd"]
        shown = table.assign(low=table[key] - deviation, high=table[key] + deviation)
        _points(ax, shown, key, errors=("low", "high"))
        ax.set_title(name, fontsize=10)
        ax.set_xlim(0, 1.03)
    figure.supxlabel("Area under the precision-recall curve (mean ± deviation over runs)", fontsize=10)
    return figure


def draw_confusions(matrices: Mapping[str, NDArray[Any]], classes: Sequence[str]) -> Figure:
    """Return one confusion matrix per row: share of the bags of each true class, and their number.

    Parameters
    ----------
    matrices
        ``title -> (n_classes, n_classes)`` numbers of bags, true class by predicted class; means over
        runs need not be whole.
    """
    n_columns = min(len(matrices), 4)
    n_rows = math.ceil(len(matrices) / n_columns)
    side = 1.0 + 0.52 * len(classes)
    figure, axes = panels(
        n_rows, n_columns, (0.6 + side * n_columns, 0.7 + side * n_rows), sharex=True, sharey=True
    )
    cast(ConstrainedLayoutEngine, figure.get_layout_engine()).set(h_pad=0.12)
    for ax in axes.flat[len(matrices) :]:
        ax.set_axis_off()
    for number, (title, matrix) in enumerate(matrices.items()):
        ax = axes.flat[number]
        _confusion(ax, np.asarray(matrix, dtype=np.float64), classes)
        ax.set_title(title, fontsize=9)
        if number + n_columns >= len(matrices):  # nothing below: the labels stand here
            ax.tick_params(labelbottom=True)
    figure.supxlabel("predicted class", fontsize=10)
    figure.supylabel("true class", fontsize=10)
    return figure


def draw_curves(
    labels: NDArray[np.int64], probabilities: NDArray[Any], classes: Sequence[str], control: str
) -> Figure:
    """Return ROC and precision-recall curves of every class against the rest; bags that lack it give none."""
    figure, ((roc, precision),) = panels(1, 2, (10.0, 4.4))
    colours = class_colours(classes, control)
    for number, name in enumerate(classes):
        positive, score = labels == number, probabilities[:, number]
        if positive.all() or not positive.any():
            continue
        style = {"color": colours[name], "linewidth": 1.6}
        x, y, _ = metrics.roc_curve(positive, score)
        roc.plot(x, y, label=f"{name} ({metrics.roc_auc_score(positive, score):.3f})", **style)
        y, x, _ = metrics.precision_recall_curve(positive, score)
        area = metrics.average_precision_score(positive, score)
        precision.step(x, y, where="post", label=f"{name} ({area:.3f})", **style)
    roc.plot([0, 1], [0, 1], color="#BBBBBB", linewidth=0.8, linestyle="--", zorder=0)
    roc.set(
        xlabel="False positive rate", ylabel="True positive rate", title="ROC, one class against the rest"
    )
    precision.set(
        xlabel="Recall", ylabel="Precision", title="Precision and recall, one class against the rest"
    )
    for ax in (roc, precision):
        ax.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.02))
        if ax.get_legend_handles_labels()[0]:
            ax.legend(title="class (area)", fontsize=8, title_fontsize=8, frameon=False)
    return figure


def _points(ax: Axes, table: pd.DataFrame, name: str, errors: tuple[str, str]) -> None:
    """Draw one point per row of a table, the first at the top, with a bar from one column to another."""
    place = np.arange(len(table))[::-1]
    ax.hlines(place, table[errors[0]], table[errors[1]], color=COLOURS[0], linewidth=1.6)
    ax.plot(table[name], place, "o", color=COLOURS[0], markersize=4.5)
    ax.set_yticks(place, table["row"], fontsize=9)
    ax.set_ylim(-0.7, len(table) - 0.3)
    ax.grid(axis="x", color="#DDDDDD", linewidth=0.6)
    ax.set_axisbelow(True)


def _confusion(ax: Axes, matrix: NDArray[np.float64], classes: Sequence[str]) -> None:
    """Draw one confusion matrix."""
    share = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1e-9)
    ax.imshow(share, cmap="Blues", vmin=0, vmax=1)
    ax.spines[:].set_visible(False)
    for (row, column), value in np.ndenumerate(matrix):
        if value:
            text = f"{value:.0f}" if float(value).is_integer() else f"{value:.1f}"
            dark = share[row, column] > 0.55
            ax.text(
                column, row, text, ha="center", va="center", fontsize=8, color="white" if dark else "black"
            )
    ax.set_xticks(range(len(classes)), classes, rotation=45, ha="right", rotation_mode="anchor", fontsize=8)
    ax.set_yticks(range(len(classes)), classes, fontsize=8)
