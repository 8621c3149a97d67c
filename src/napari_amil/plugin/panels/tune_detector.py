"""The panel that fine-tunes the detector: choose annotated images, train, compare old and new."""

from __future__ import annotations

from typing import Any

from napari.viewer import Viewer

from napari_amil.core.base.errors import AmilError
from napari_amil.plugin.training.detector_prepare import DetectorPage
from napari_amil.plugin.training.detector_results import end_comparison, show_comparison
from napari_amil.plugin.training.run_commands import DETECTOR
from napari_amil.plugin.training.run_folders import RunRegistry
from napari_amil.plugin.training.run_list import RunList, RunPages
from napari_amil.plugin.window.panel import DetectingPanel, ScoringPanel, find_or_open_panels, open_panels
from napari_amil.plugin.window.work import Worker, shared_worker

_EMPTY = "No run yet: choose annotated images under Prepare and press Start fine-tuning."


class TuneDetectorPanel(RunPages):
    """Two pages: the annotated images, and the runs with their comparison.

    Parameters
    ----------
    napari_viewer
        The window's viewer.
    worker
        Child process that reads and writes annotated folders; the window's own if not given.
    registry
        Which runs there are; the user's own list if not given.
    """

    TITLE = "Fine-tune the detector"
    TERMS = ("Control", "Detection score", "Epoch", "Held out", "Outline", "Patient")

    def __init__(
        self, napari_viewer: Viewer, worker: Worker | None = None, registry: RunRegistry | None = None
    ) -> None:
        super().__init__(napari_viewer)
        self.prepare = DetectorPage(self._viewer, worker if worker is not None else shared_worker())
        self.runs = RunList(self._viewer, registry or RunRegistry(), frozenset({DETECTOR}), _EMPTY)
        self._lay_out()
        self.runs.view.detectorWanted.connect(self.use_detector)
        self.runs.view.compareWanted.connect(self.compare)

    def compare(self, entry: dict[str, Any]) -> None:
        """Show a held-out image with what old and new find."""
        try:
            show_comparison(self._viewer, entry)
        except AmilError as error:
            self.runs.say(str(error))
            return
        self.runs.say(
            "Broad vermilion: found by the old detector; thin blue: by the new. Green, hidden: annotated."
        )

    def use_detector(self, path: str | None) -> None:
        """Choose the model at ``path`` (None: the starter) for finding cells, and for open scoring pages."""
        try:
            detecting = find_or_open_panels(self, self._viewer, DetectingPanel)
        except AmilError as error:
            self.runs.say(str(error))
            return
        scoring = open_panels(self, ScoringPanel)
        for choice in [panel.model for panel in detecting] + [panel.model for panel in scoring]:
            choice.setValue(path)
        end_comparison(self._viewer)
        message = "the old detector again" if path == self._old() else "the new detector now"
        where = "Finding and scoring use" if scoring else "Finding cells uses"
        self.runs.say(f"{where} {message}.")

    def _old(self) -> str | None:
        run = self.runs.chosen()
        return run.start_model() if run is not None else None
