"""How a score is distributed in the cells of groups of samples, above the band that holds control cells."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from napari_amil.core.base.columns import column_of

BAND = (5, 95)
"""Percentiles of the cells of control samples between which the band lies."""
N_BINS = 40
_BAND_COLOUR = "#7F7F7F"


@dataclass(frozen=True)
class Look:
    """Colours of the theme: of letters and lines, of the ground, and of the curves."""

    text: str
    back: str
    curve: str = "#0072B2"


@dataclass(frozen=True, eq=False)
class Distributions:
    """Histograms of one score.

    Parameters
    ----------
    names
        Of the groups, from top to bottom.
    bins
        ``(n_bins + 1,)`` edges, which hold all but half a percent of the values at either end.
    shares
        For each group the share of its cells in each bin; what lies beyond is in the outermost.
    counts
        Cells of each group that have the score.
    medians
        Of each group.
    band
        5th and 95th percentile of the cells of control samples, None without any.
    logarithmic
        Whether the bins are.
    """

    names: tuple[str, ...]
    bins: NDArray[np.float64]
    shares: tuple[NDArray[np.float64], ...]
    counts: tuple[int, ...]
    medians: tuple[float, ...]
    band: tuple[float, float] | None
    logarithmic: bool

    @classmethod
    def of(
        cls, values: pd.Series, group: pd.Series, names: Sequence[str], is_control: NDArray[np.bool_]
    ) -> Distributions:
        """Return how ``values`` are distributed in each of the groups ``names``; NaN is left out.

        Parameters
        ----------
        values, group, is_control
            Of each cell; the name of the values is that of the score.
        """
        x = values.to_numpy(np.float64)
        known = x[np.isfinite(x)]
        low, high = np.percentile(known, [0.5, 99.5]) if len(known) else (0.0, 1.0)
        logarithmic = column_of(str(values.name)).logarithmic and 0 < 10 * low < high
        high = max(high, low + 1e-3)
        spread = np.geomspace if logarithmic else np.linspace
        bins = np.asarray(spread(low, high, N_BINS + 1), dtype=np.float64)
        parts = [x[(group == name).to_numpy() & np.isfinite(x)] for name in names]
        shares = tuple(
            np.histogram(np.clip(part, bins[0], bins[-1]), bins)[0] / max(len(part), 1) for part in parts
        )
        control = x[is_control & np.isfinite(x)]
        band = (float(np.percentile(control, BAND[0])), float(np.percentile(control, BAND[1])))
        medians = tuple(float(np.median(part)) if len(part) else float("nan") for part in parts)
        return cls(
            tuple(names),
            bins,
            shares,
            tuple(map(len, parts)),
            medians,
            band if len(control) else None,
            logarithmic,
        )


def draw(found: Distributions, title: str, figure: Figure, look: Look) -> list[Axes]:
    """Draw one row per group into ``figure`` and return the axes from top to bottom.

    The grey band holds the middle 90 % of the cells of control samples; a tick marks the median; each
    curve encloses the same area.
    """
    figure.clear()
    figure.set_facecolor(look.back)
    axes = figure.subplots(len(found.names), 1, sharex=True, squeeze=False)[:, 0]
    for ax, name, share, count, median in zip(
        axes, found.names, found.shares, found.counts, found.medians, strict=True
    ):
        ax.set_facecolor(look.back)
        if found.band is not None:
            ax.axvspan(
                *np.clip(found.band, found.bins[0], found.bins[-1]),
                color=_BAND_COLOUR,
                alpha=0.25,
                linewidth=0,
            )
        ax.stairs(share, found.bins, fill=True, color=look.curve, alpha=0.45)
        ax.stairs(share, found.bins, color=look.curve, linewidth=1.2)
        if np.isfinite(median):
            ax.axvline(
                np.clip(median, found.bins[0], found.bins[-1]), color=look.text, linewidth=1, ymax=0.35
            )
        if found.logarithmic:
            ax.set_xscale("log")
        ax.set_xlim(found.bins[0], found.bins[-1])
        ax.set_yticks([])
        ax.set_ylabel(f"{name}\n{count:,}", rotation=0, ha="right", va="center", fontsize=8, color=look.text)
        ax.tick_params(colors=look.text, labelsize=8)
        for side, spine in ax.spines.items():
            spine.set_visible(side == "bottom")
            spine.set_color(look.text)
    axes[-1].set_xlabel(title, fontsize=9, color=look.text)
    return list(axes)
