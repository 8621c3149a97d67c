"""What the whole chain says of control images that were left out in turn: p-values, novelty, intervals.

Usage: python -m benchmarks.null_chain DATA [--sets chula_slides pbc] [--images 30] [--figure STEM]

Each control image is left out once: the model is calibrated on the others (``calibrate``), and the image is
scored with it, from its pixels on. If all holds, p-values of its cells and its ``novelty_p`` are uniform, and
the interval of ``abnormal_share`` holds 0. ``chula_slides``: the control fields of fold 2, which taught
nothing; they are of one slide, so that images are the units, and some of their cells are labelled as
abnormal. ``pbc``: images of ``other_microscopes/pbc`` with an odd number, about five cells each. Uniformity
is told by the Kolmogorov-Smirnov distance; its p takes cells and images for independent, which cells of one
image are not.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.stats import kstest

from napari_amil.core.base.events import drain
from napari_amil.core.evaluation.figures import COLOURS, CONTROL_COLOUR, panels, save_figure
from napari_amil.core.instances.executor import Finished, messages_of
from napari_amil.core.instances.sources import Source, open_source
from napari_amil.core.pipeline import Recipe, load_bundle, pick_device
from napari_amil.core.pipeline.recalibrate import calibrate
from napari_amil.core.scoring.score import Scored, score_source


class Remembering:
    """Runs the work on each field once; one that comes again has the values of before."""

    def __init__(self) -> None:
        self._known: dict[str, Any] = {}

    def run(
        self, work: Callable[[Any], Generator[Any, None, Any]], items: Sequence[Any]
    ) -> Iterator[tuple[int, Finished[Any]]]:
        """Yield the end of the work on every field; its other messages are dropped."""
        for number, item in enumerate(items):
            if item[0] not in self._known:
                *_, self._known[item[0]] = messages_of(work, item)
            yield number, self._known[item[0]]


def control_images(data: Path, name: str, count: int) -> tuple[list[Path], dict[str, float]]:
    """Return control images that taught nothing, and their labelled shares of abnormal cells, if known."""
    if name == "chula_slides":
        fields = pd.read_csv(data / name / "fields.csv")
        fields = fields[(fields["fold"] == 2) & (fields["label"] == "control")].head(count)
        shares = dict(zip(fields["image"].str.split("/").str[-1], fields["abnormal_share"], strict=True))
        return [data / name / image for image in fields["image"]], shares
    numbered = {int(path.stem): path for path in (data / "other_microscopes" / name).glob("*.jpg")}
    odd = [numbered[number] for number in sorted(numbered) if number % 2]
    return odd[:: max(len(odd) // count, 1)][:count], {}


def part_of(source: Source, names: Sequence[str]) -> Source:
    """Return the bags of some images."""
    bags = tuple(bag for bag in source.cohort if bag.bag in names)
    return Source(replace(source.cohort, bags=bags), {name: source.files[name] for name in names})


def left_out(source: Source, recipe: Recipe) -> Iterator[tuple[str, Scored]]:
    """Yield each image with its scores by a model that is calibrated on the others."""
    remembered = replace(recipe, executor=Remembering())
    for name in source.files:
        others = part_of(source, [other for other in source.files if other != name])
        bundle = drain(calibrate(others, remembered)).bundle
        yield (
            name,
            drain(score_source(part_of(source, [name]), Recipe.from_bundle(bundle, None, recipe.device))),
        )


def row_of(scored: Scored) -> dict[str, float]:
    """Return what is said of a left-out image."""
    p = scored.cells["anomaly_p"].dropna().to_numpy()
    bag = scored.bags.iloc[0]
    test = kstest(p, "uniform")
    found = {"cells": len(p), "p<0.05": (p < 0.05).mean(), "ks": test.statistic, "ks_p": test.pvalue}
    names = ("novelty_p", "sample_p", "abnormal_share", "abnormal_share_low", "abnormal_share_high")
    return found | {name: float(bag[name]) for name in names}


@dataclass(frozen=True)
class Found:
    """What is said of the left-out images of a set: p-values of their cells by image, and a row each."""

    cells: dict[str, NDArray[np.float64]]
    table: pd.DataFrame

    @property
    def every_p(self) -> NDArray[np.float64]:
        """The p-values of all cells."""
        return np.concatenate(list(self.cells.values()))


def draw(found: Mapping[str, Found]) -> Figure:
    """Return a row for each set: p-values of cells and of images, and intervals of shares."""
    figure, axes = panels(len(found), 3, (9.0, 2.8 * len(found)))
    for (name, one), row in zip(found.items(), axes, strict=True):
        _draw_p(row[0], row[1], one)
        _draw_intervals(row[2], one.table)
        row[0].set(title=f"{name}: cells of {len(one.table)} images")
    return figure


def _draw_p(for_cells: Axes, for_images: Axes, found: Found) -> None:
    grey = {"color": CONTROL_COLOUR, "alpha": 0.6, "linewidth": 0.8}
    for p in found.cells.values():
        for_cells.plot(*_steps(p), **grey, label="an image")
    for_cells.plot(*_steps(found.every_p), color=COLOURS[0], linewidth=2, label="all")
    for_cells.legend(*_last_two(for_cells), frameon=False, loc="lower right")
    for_cells.set(xlabel="anomaly_p", ylabel="share at or below")
    for name, mark, colour in (("novelty_p", "o", COLOURS[1]), ("sample_p", "s", COLOURS[2])):
        for_images.plot(*_steps(found.table[name]), mark, color=colour, markersize=4, label=name)
    for_images.set(title="images", xlabel="p")
    for_images.legend(frameon=False, loc="upper left")
    for ax in (for_cells, for_images):
        ax.plot([0, 1], [0, 1], color="black", linewidth=0.8, linestyle="--")
        ax.set(xlim=(0, 1), ylim=(0, 1))


def _draw_intervals(ax: Axes, table: pd.DataFrame) -> None:
    rows = np.arange(len(table))
    ax.hlines(rows, table["abnormal_share_low"], table["abnormal_share_high"], color=COLOURS[0], linewidth=2)
    ax.plot(table["abnormal_share"], rows, "o", markersize=4, color=COLOURS[0], label="estimate")
    if table["labelled"].notna().any():
        ax.plot(table["labelled"], rows, "d", markersize=4, color=COLOURS[1], label="labelled by eye")
    ax.set(
        title="abnormal_share, 90 % interval", xlabel="share", ylabel="image", yticks=[], xlim=(-0.02, 1.02)
    )
    ax.legend(frameon=False, loc="lower right")


def _steps(p: Iterable[float]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return sorted p-values, and which share is at or below each."""
    values = np.sort(np.asarray(list(p)))
    return values, (np.arange(len(values)) + 0.5) / len(values)


def _last_two(ax: Axes) -> tuple[list[Artist], list[str]]:
    handles, labels = ax.get_legend_handles_labels()
    return handles[-2:], labels[-2:]


def measure(data: Path, name: str, count: int, recipe: Recipe) -> Found:
    """Print a line for each left-out image of a set, and return what is said of all."""
    images, labelled = control_images(data, name, count)
    source = open_source(images, recipe.bundle.settings.control, "images")
    cells, rows = {}, []
    for image, scored in left_out(source, recipe):
        cells[image] = scored.cells["anomaly_p"].dropna().to_numpy()
        rows.append({"image": image, "labelled": labelled.get(image, np.nan), **row_of(scored)})
        print(" ".join(f"{key} {_short(value)}" for key, value in rows[-1].items()), flush=True)
    return Found(cells, pd.DataFrame(rows))


def main(arguments: list[str] | None = None) -> None:
    """Print one line an image, and what holds over all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--sets", nargs="+", choices=("chula_slides", "pbc"), default=["chula_slides", "pbc"])
    parser.add_argument("--images", type=int, default=30, help="at most, of each set")
    parser.add_argument("--bundle", type=Path)
    parser.add_argument("--figure", type=Path, help="path of the figure without its ending")
    wanted = parser.parse_args(arguments)
    recipe = Recipe.from_bundle(load_bundle(wanted.bundle), None, pick_device("auto"))
    found = {}
    for name in wanted.sets:
        started = time.perf_counter()
        found[name] = measure(wanted.data, name, wanted.images, recipe)
        print(f"{name}, {time.perf_counter() - started:.0f} s")
        report(found[name].table, found[name].every_p)
    if wanted.figure:
        save_figure(draw(found), wanted.figure)


def report(table: pd.DataFrame, p: NDArray[np.float64]) -> None:
    """Print what holds over all images."""
    print(
        f"{len(p)} cells: p < 0.05: {(p < 0.05).mean():.3f}; p < 0.01: {(p < 0.01).mean():.3f}; KS distance "
        f"{kstest(p, 'uniform').statistic:.3f}, of single images {table['ks'].median():.3f} (median)"
    )
    for name in ("novelty_p", "sample_p"):
        values = table[name].dropna()
        test = kstest(values, "uniform")
        print(
            f"{name} of {len(values)} images: p < 0.05: {(values < 0.05).mean():.3f}; smallest "
            f"{values.min():.3f}; KS distance {test.statistic:.3f} (p {test.pvalue:.3f})"
        )
    low, high = table["abnormal_share_low"], table["abnormal_share_high"]
    print(f"abnormal_share: interval holds 0 in {(low <= 0).mean():.3f}, ", end="")
    print(f"mean estimate {table['abnormal_share'].mean():.3f}")
    if table["labelled"].notna().any():
        inside = (low <= table["labelled"]) & (table["labelled"] <= high)
        print(f"abnormal_share: interval holds the labelled share in {inside.mean():.3f}")


def _short(value: float | str) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    main()
