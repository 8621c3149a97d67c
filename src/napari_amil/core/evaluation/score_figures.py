"""Figures of cell scores: distributions by class, and against control cells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator
from numpy.typing import NDArray

from napari_amil.core.base.columns import column_of
from napari_amil.core.evaluation.figures import COLOURS, CONTROL_COLOUR, panels
from napari_amil.core.evaluation.metrics import NORMAL

N_BINS = 40
BAND = (5, 95)
"""Percentiles of the cells of control bags between which the band lies."""


def draw_distributions(
    cells: pd.DataFrame, classes: Sequence[str], control: str, scores: Sequence[str]
) -> Figure:
    """Return the distribution of each score in the bags of each class (Kazeminia 2022, Figs 3 and 4).

    The grey band holds the middle 90 % of the cells of control bags. Where ``cell_type`` is known,
    abnormal cells are drawn apart from normal ones; each curve encloses the same area.

    Parameters
    ----------
    cells
        One line per cell: ``label``, the scores, and perhaps ``cell_type``.
    """
    figure, axes = panels(
        len(classes), len(scores), (4.6 * len(scores), 0.9 + 1.25 * len(classes)), sharex="col"
    )
    for column, name in enumerate(scores):
        axis = column_of(name)
        bins, logarithmic = score_bins(cells[name].to_numpy(), logarithmic=axis.logarithmic)
        band = _band(cells.loc[cells["label"] == control, name].to_numpy())
        for row, label in enumerate(classes):
            ax = axes[row, column]
            _distribution(ax, cells[cells["label"] == label], name, bins)
            if band is not None:
                ax.axvspan(*np.clip(band, bins[0], bins[-1]), color=CONTROL_COLOUR, alpha=0.18, linewidth=0)
            _scale(ax, bins, logarithmic=logarithmic)
            if not column:
                ax.set_ylabel(label, rotation=0, ha="right", va="center", fontsize=9)
        axes[-1, column].set_xlabel(axis.title, fontsize=9)
    handles, labels = _legend(axes)
    if len(labels) > 1:
        figure.legend(handles, labels, loc="outside upper center", ncols=3, fontsize=8, frameon=False)
    return figure


def draw_against_control(
    groups: Mapping[str, Mapping[str, NDArray[np.float64]]], areas: Mapping[str, float]
) -> Figure:
    """Return one histogram per score of some groups of cells, such as unseen and control (Fig. 5).

    Parameters
    ----------
    groups
        ``group -> score -> (n_cells,)``; the first group is drawn in grey.
    areas
        ``score -> ROC area`` of the last group against the first, for the titles.
    """
    names = list(next(iter(groups.values())))
    figure, axes = panels(1, len(names), (3.6 * len(names), 3.4))
    colours = (CONTROL_COLOUR, COLOURS[0], COLOURS[1])
    for ax, name in zip(axes[0], names, strict=True):
        axis = column_of(name)
        everything = np.concatenate([scores[name] for scores in groups.values()])
        bins, logarithmic = score_bins(everything, logarithmic=axis.logarithmic)
        for colour, (group, scores) in zip(colours, groups.items(), strict=False):
            _histogram(ax, scores[name], bins, colour, f"{group} ({np.isfinite(scores[name]).sum()})")
        _scale(ax, bins, logarithmic=logarithmic)
        ax.set_xlabel(axis.title.replace(": ", ":\n").replace(" (", "\n("), fontsize=9)
        ax.set_title(f"ROC area {areas[name]:.3f}" if np.isfinite(areas[name]) else "", fontsize=9)
    axes[0, 0].set_ylabel("density of cells", fontsize=9)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(labels), fontsize=8, frameon=False)
    return figure


def score_bins(values: NDArray[np.float64], *, logarithmic: bool) -> tuple[NDArray[np.float64], bool]:
    """Return the edges of the bins, which hold all but half a percent of the values at either end.

    Also returns whether they are logarithmic: only if that is wanted, and the values span a decade.
    """
    known = values[np.isfinite(values)]
    if not len(known):
        return np.linspace(0.0, 1.0, N_BINS + 1), False
    low, high = np.percentile(known, [0.5, 99.5])
    if logarithmic and 0 < 10 * low < high:
        return np.geomspace(low, high, N_BINS + 1), True
    return np.linspace(low, max(high, low + 1e-3), N_BINS + 1), False


def _scale(ax: Axes, bins: NDArray[np.float64], *, logarithmic: bool) -> None:
    """Give an axis the range of the bins, and ticks that can be read."""
    if logarithmic:
        ax.set_xscale("log")
        ax.xaxis.set_major_locator(LogLocator(subs=(1.0, 3.0)))
        ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        ax.xaxis.set_minor_locator(NullLocator())
    else:
        ax.xaxis.set_major_locator(MaxNLocator(5))
    ax.set_xlim(bins[0], bins[-1])
    ax.set_yticks([])


def _band(values: NDArray[np.float64]) -> NDArray[np.float64] | None:
    known = values[np.isfinite(values)]
    return np.percentile(known, BAND) if len(known) else None


def _distribution(ax: Axes, cells: pd.DataFrame, name: str, bins: NDArray[np.float64]) -> None:
    """Draw the cells of one class, abnormal ones apart where their type is known."""
    types = cells["cell_type"].fillna("") if "cell_type" in cells else pd.Series("", index=cells.index)
    kinds = {
        "cells of unknown type": (types == "", COLOURS[0]),
        "normal cells": (types == NORMAL, COLOURS[0]),
        "abnormal cells": ((types != "") & (types != NORMAL), COLOURS[1]),
    }
    for kind, (chosen, colour) in kinds.items():
        if chosen.any():
            _histogram(ax, cells.loc[chosen, name].to_numpy(), bins, colour, kind)


def _histogram(
    ax: Axes, values: NDArray[np.float64], bins: NDArray[np.float64], colour: str, label: str
) -> None:
    """Draw a density; what lies outside the bins is counted in the outermost."""
    known = np.clip(values[np.isfinite(values)], bins[0], bins[-1])
    if not len(known):
        return
    share = np.histogram(known, bins)[0] / len(known)  # bins are equally wide on the axis as it is drawn
    ax.stairs(share, bins, fill=True, color=colour, alpha=0.35)
    ax.stairs(share, bins, color=colour, linewidth=1.2, label=label)


def _legend(axes: NDArray[Any]) -> tuple[list[Artist], list[str]]:
    """Return every kind of curve once."""
    found: dict[str, Artist] = {}
    for ax in axes.flat:
        for handle, label in zip(*ax.get_legend_handles_labels(), strict=True):
            found.setdefault(label, handle)
    return list(found.values()), list(found)
