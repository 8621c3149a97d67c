"""Longest delay of the window with 5,000 cells: every step of work with them, in a real window.

Usage: python -m benchmarks.many_cells [--side 7] [--profile] [--json FILE]

The cells of the real field that ships are found and scored; then field, cells and scores are laid side by
side 7 x 7 times, and everything that a person does with cells is done once. A timer beats every 5 ms in the
window. Told are, for every step, the longest time between two beats in seconds, and the seconds of the
processor that the window's own thread spent in it, which other programs of a busy machine do not lengthen.
The aim is that no step holds the window for 2 s. Without a display it starts an Xvfb of its own, which draws
in software.
With ``--profile`` the ten costliest functions of every step above 1 s are printed, too.
"""

from __future__ import annotations

import argparse
import cProfile
import json
import os
import pstats
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import napari
import numpy as np
import pandas as pd
from napari.layers import Shapes
from napari.settings import get_settings
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QApplication

from napari_amil.core.base.columns import score_names
from napari_amil.core.base.settings import SelectionSettings
from napari_amil.core.base.types import Cells
from napari_amil.core.cohort.samples import shipped_field
from napari_amil.core.detection.select import Candidates
from napari_amil.plugin.colour.hover import hover_of
from napari_amil.plugin.colour.overlays import overlays_of
from napari_amil.plugin.colour.scales import scales_of
from napari_amil.plugin.entry.demo import some_display
from napari_amil.plugin.layers.cell_layer import cells_of, make_layer, need_record
from napari_amil.plugin.layers.journal import journal_of
from napari_amil.plugin.layers.rows import CellRecord
from napari_amil.plugin.layers.selection import fly_to, keys_of, selection_of
from napari_amil.plugin.panels.score import ScoringResult
from napari_amil.plugin.window.docks import open_panel
from napari_amil.plugin.window.panel import SMEAR_TITLE
from napari_amil.plugin.window.work import shared_worker

_BEAT_S, _QUIET_S, _PATIENCE_S = 0.005, 1.0, 1800.0
_SIZE = (1366, 768)
_SLOW_S = 1.0
_ORDINARY = 0.95
PANELS = ("Cell card", "Verdict", "Cell gallery", "Correct cells", "Name cell types")


class Pulse:
    """Longest delay of the window's event loop."""

    def __init__(self) -> None:
        self._timer = QTimer()
        self._timer.timeout.connect(self._beat)
        self._timer.start(int(1000 * _BEAT_S))
        self.reset()

    def reset(self) -> None:
        """Reset the longest delay."""
        self.wall_s = self.cpu_s = 0.0
        self._last = time.perf_counter(), time.thread_time()

    def _beat(self) -> None:
        now = time.perf_counter(), time.thread_time()
        self.wall_s = max(self.wall_s, now[0] - self._last[0])
        self.cpu_s = max(self.cpu_s, now[1] - self._last[1])
        self._last = now


class Work:
    """One person's work with many cells, step by step."""

    def __init__(self, is_profiled: bool) -> None:
        self.is_profiled = is_profiled
        self.found: dict[str, dict[str, float]] = {}
        self.viewer: Any = napari.Viewer(show=False)
        self.viewer.window.resize(*_SIZE)
        self.viewer.window.show()
        self.viewer.add_image(shipped_field(), rgb=True, name="field")
        self.pulse = Pulse()

    def step(self, name: str, action: Callable[[], object], until: Callable[[], bool] | None = None) -> None:
        """Do something, wait until the window is at rest again, and note the longest standstill."""
        self.rest(_QUIET_S)
        self.pulse.reset()
        profile = cProfile.Profile() if self.is_profiled else None
        if profile is not None:
            profile.enable()
        action()
        self.rest(_QUIET_S, until)
        if profile is not None:
            profile.disable()
        self.found[name] = {"wall_s": self.pulse.wall_s, "processor_s": self.pulse.cpu_s}
        print(f"{name:44} {self.pulse.wall_s:7.2f} s   processor {self.pulse.cpu_s:7.2f} s", flush=True)
        if profile is not None and self.pulse.cpu_s > _SLOW_S:
            pstats.Stats(profile).sort_stats("cumulative").print_stats(45)

    def rest(self, seconds: float, until: Callable[[], bool] | None = None) -> None:
        """Let the window work until it is ready, and for some seconds more."""
        patience, end = time.monotonic() + _PATIENCE_S, time.monotonic() + seconds
        while time.monotonic() < end or (until is not None and not until()):
            QApplication.processEvents()
            time.sleep(0.001)
            if until is not None and not until():
                end = time.monotonic() + seconds
                if time.monotonic() > patience:
                    raise TimeoutError("The window was not ready in half an hour.")

    def score(self, side: int) -> Shapes:
        """Find and score the cells of one field, repeat them, and return the layer of all."""
        self.smear = open_panel(self.viewer, SMEAR_TITLE)
        heard: list[Any] = []
        self.smear.finished.connect(heard.append)
        self.smear.errored.connect(heard.append)
        self.step("Find and score one field", self.smear.job.button.click, lambda: bool(heard))
        (few,) = heard
        if isinstance(few, str):
            raise RuntimeError(few)
        bag = dict(need_record(few).bag)
        record, cells, scores = repeated(few, side)
        self.viewer.layers.clear()
        self.rest(_QUIET_S)  # else napari's software drawing may crash with the next layer
        image = self.viewer.add_image(large_field(side), rgb=True, name="field")
        record.image_id = str(image.unique_id)
        layer = make_layer(cells, record, image)  # in a thread of its own when the panel does it
        self.step(f"{len(cells):,} cells come", lambda: self.viewer.add_layer(layer))
        answer = ScoringResult(layer, cells, scores, None, bag)
        self.step("their scores come", partial(self.smear.score.job.finished.emit, answer))
        return layer

    def panels(self) -> dict[str, Any]:
        """Open the panels that show cells."""
        opened: dict[str, Any] = {}
        for title in PANELS:
            self.step(f"open {title}", partial(self._open, title, opened))
        return opened

    def _open(self, title: str, opened: dict[str, Any]) -> None:
        opened[title] = open_panel(self.viewer, title)


def large_field(side: int) -> np.ndarray:
    """Return the real field ``side`` times ``side`` times."""
    return np.tile(np.asarray(shipped_field()), (side, side, 1))


def repeated(layer: Shapes, side: int) -> tuple[CellRecord, Cells, pd.DataFrame]:
    """Return record, cells and scores of ``side`` times ``side`` copies of the cells of a field.

    Their scores differ by chance, by a hundredth of the spread of each column.
    """
    one, cells = need_record(layer), cells_of(layer)
    height, width = one.image_shape
    shifts = [(y * height, x * width) for y in range(side) for x in range(side)]
    boxes = np.concatenate([cells.boxes + np.tile(shift, 2).astype(np.float32) for shift in shifts])
    outlines = [o + np.array(shift, np.float32) for shift in shifts for o in cells.outlines]
    table = pd.concat([layer.features.set_index("cell_id").loc[cells.cell_id]] * len(shifts))
    many = Cells(
        boxes,
        tuple(outlines),
        detection_score=np.tile(cells.detection_score, len(shifts)),
        area_px=np.tile(cells.area_px, len(shifts)),
        cell_id=np.arange(1, len(boxes) + 1),
    )
    scores = table[score_names(table)].reset_index(drop=True).astype(float)
    scores += np.random.default_rng(0).normal(size=scores.shape) * 0.01 * scores.std().to_numpy()
    scores["anomaly_p"] = scores["anomaly_p"].clip(0, 1)
    scores["anomaly_q"] = np.where(scores["anomaly"].rank(pct=True) > _ORDINARY, 0.01, 0.5)
    record = CellRecord("", "field", (), (side * height, side * width))
    record.candidates = Candidates.from_cells(many, one.agreed_px or float("nan"))
    record.selection = SelectionSettings()
    return record, many, scores.assign(cell_id=many.cell_id)


def steps(work: Work, layer: Shapes, panels: dict[str, Any]) -> Iterator[tuple[str, Callable[[], object]]]:
    """Yield the steps of work with the cells of ``layer``, by name."""
    viewer, scales, overlays, selection = (
        work.viewer,
        scales_of(work.viewer),
        overlays_of(work.viewer),
        selection_of(work.viewer),
    )
    most = int(np.nanargmax(layer.features["anomaly"].to_numpy()))
    middles = layer.features[["y0", "x0"]].to_numpy()[:3] + 10
    for number, middle in enumerate(middles):
        yield f"point at cell {number + 1}", partial(hover_of(viewer).look_at, tuple(middle))
    yield "click on a cell", lambda: hover_of(viewer).click(tuple(np.asarray(layer.data[most]).mean(axis=0)))
    yield "fly to it", lambda: fly_to(viewer, layer, most)
    yield "the whole image again", viewer.reset_view
    for mode in ("outlines", "dots", "outlines"):
        yield f"show all as {mode}", partial(overlays.set_mode, mode)
    for column in ("attention_x_n", "latent_distance", "anomaly"):
        yield f"colour by {column}", partial(work.smear.score.colours.setValue, column)
    for kind in ("box", "tinted"):
        style = replace(scales.style, kind=kind)
        yield f"draw as {kind}", partial(scales.set_style, style)
    only = work.smear.only
    yield "only those that stand out", lambda: only.setChecked(True)
    yield "all again", lambda: only.setChecked(False)
    yield "smooth field", lambda: overlays.show_field(True, overlays.reach)
    yield "no smooth field", lambda: overlays.show_field(False, overlays.reach)
    gallery = panels["Cell gallery"]
    yield "sort the gallery by another score", lambda: gallery.order.setValue("latent_distance")
    viewer.layers.selection.active = layer
    yield "select all", lambda: selection.choose(keys_of(layer, range(layer.nshapes)))
    yield "let go", lambda: selection.choose([])
    sliders = work.smear.detect.selection
    loose = sliders.value()
    strict = SelectionSettings.parse(loose.model_dump() | {"min_diameter": 0.95})
    yield "a slider takes a third away", lambda: sliders.setValue(strict)
    yield "and brings it back", lambda: sliders.setValue(loose)
    journal = journal_of(layer)
    assert journal is not None
    yield "undo", journal.undo
    yield "do again", journal.redo
    yield "undo once more", journal.undo
    some = range(0, layer.nshapes, 5)
    yield "select every fifth", lambda: selection.choose(keys_of(layer, some))
    yield "leave these out", panels["Correct cells"].out.click
    yield "take them back", panels["Correct cells"].out.click
    yield "delete these", panels["Correct cells"].delete.click
    yield "undo the deletion", panels["Correct cells"].undo.click
    yield "select all again", lambda: selection.choose(keys_of(layer, range(layer.nshapes)))
    yield "delete all", panels["Correct cells"].delete.click
    yield "undo that", panels["Correct cells"].undo.click
    yield "move all", lambda: _move_all(layer)
    yield "undo the movement", panels["Correct cells"].undo.click
    yield "draw one more cell", lambda: layer.add(np.array([[5, 5], [5, 40], [40, 40], [40, 5]]))
    yield "hide the cells", lambda: setattr(layer, "visible", False)
    yield "show the cells", lambda: setattr(layer, "visible", True)
    yield "the theme", lambda: setattr(viewer, "theme", "light")


def _move_all(layer: Shapes) -> None:
    """Move every cell by five pixels, as a drag with the mouse does."""
    with layer.events.data.blocker():
        layer.data = [corners + 5 for corners in layer.data]
    layer.events.data(
        value=layer.data, action="changed", data_indices=tuple(range(layer.nshapes)), vertex_indices=((),)
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the longest delay of every step."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--side", type=int, default=7)
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder, some_display(2732, 1536):
        get_settings(Path(folder, "settings.yaml"))  # the settings of whoever runs this stay as they are
        os.environ["XDG_CONFIG_HOME"] = folder
        work = Work(options.profile)
        layer = work.score(options.side)
        for name, action in steps(work, layer, work.panels()):
            work.step(name, action)
        shared_worker().close()
        work.viewer.close()
    if options.json:
        options.json.write_text(json.dumps(work.found, indent=2))


if __name__ == "__main__":
    main()
