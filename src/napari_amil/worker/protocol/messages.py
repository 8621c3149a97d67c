"""Typed requests and replies of the worker process.

A new job is a request and its reply here, and a function in `napari_amil.worker.jobs.JOBS`. Arrays and
tables travel through files, named by their paths. ``bundle`` is the file of a model, None for the starter.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from napari_amil.core.base.settings import RunSettings, VerdictSettings
from napari_amil.core.base.types import BagScore
from napari_amil.worker.protocol.annotation_messages import (
    AnnotatedImage as AnnotatedImage,
)
from napari_amil.worker.protocol.annotation_messages import (
    AnnotatedRead as AnnotatedRead,
)
from napari_amil.worker.protocol.annotation_messages import (
    AnnotatedWritten as AnnotatedWritten,
)
from napari_amil.worker.protocol.annotation_messages import (
    CorrectedImage as CorrectedImage,
)
from napari_amil.worker.protocol.annotation_messages import (
    ReadAnnotated as ReadAnnotated,
)
from napari_amil.worker.protocol.annotation_messages import (
    WriteAnnotated as WriteAnnotated,
)
from napari_amil.worker.protocol.base import FieldInput as FieldInput
from napari_amil.worker.protocol.base import Message
from napari_amil.worker.protocol.base import Reply as Reply
from napari_amil.worker.protocol.base import Request as Request
from napari_amil.worker.protocol.cell_type_messages import CellsTyped as CellsTyped
from napari_amil.worker.protocol.cell_type_messages import TypeCells as TypeCells


class ModelCard(Reply):
    """Card, settings and class names of a model."""

    card: dict[str, Any]
    settings: dict[str, Any]
    classes: tuple[str, ...]


class Info(Request):
    """Ask for the card of a model (None for the starter)."""

    reply = ModelCard
    bundle: str | None = None


class Detected(Reply):
    """File with the arrays of the candidates (`Cells.arrays`), and their typical diameter."""

    candidates: Path
    diameter_px: float


class Detect(FieldInput, Request):
    """Find the cells of a field, and write the candidates into the folder ``out``."""

    reply = Detected
    out: Path
    settings: RunSettings = RunSettings()
    bundle: str | None = None
    device: str = "auto"


class FieldOfViewFound(Reply):
    """File with the mask of the field of view, None where it is all; ``step`` image pixels an element."""

    mask: Path | None
    step: int


class FindFieldOfView(FieldInput, Request):
    """Find the field of view, the part that shows the smear; the mask goes into the folder ``out``."""

    reply = FieldOfViewFound
    out: Path


class Scored(Reply):
    """Files with a row per cell and with what explains the scores; the verdict on the image as a bag.

    ``look`` is a sentence on whether the image looks like those that the model knows; ``looks_alike`` is
    None where that is not known.
    """

    scores: Path
    evidence: Path
    bag: BagScore
    control: str
    verdict_settings: VerdictSettings
    look: str = ""
    looks_alike: bool | None = None


class Score(FieldInput, Request):
    """Score the ``cells`` (file of `Cells.arrays`) of a field as one bag; files go into ``out``.

    ``agreed_px`` is the typical diameter at which they were found, None where that is not known.
    """

    reply = Scored
    cells: Path
    agreed_px: float | None = None
    out: Path
    settings: RunSettings = RunSettings()
    bundle: str | None = None
    device: str = "auto"


class NearestCells(Reply):
    """The cell that was asked about, and ``group -> (image, cell_id, distance)``, the nearest first."""

    cell: tuple[str, int]
    groups: dict[str, list[tuple[str, int, float]]]


class FindNearest(Request):
    """Find the cells most like ``cell`` in ``group -> image -> file`` of evidence."""

    reply = NearestCells
    cell: tuple[str, int]
    groups: dict[str, dict[str, Path]]


class DeletionCurves(Reply):
    """Probability and logit of the predicted class by order of removal; areas between random and each."""

    predicted: str
    shares: list[float]
    probability: dict[str, list[float]]
    logit: dict[str, list[float]]
    areas: dict[str, float]


class DeleteCells(Request):
    """Remove cells of the field of ``evidence`` and score the rest."""

    reply = DeletionCurves
    evidence: Path
    bundle: str | None = None
    device: str = "auto"


class RedrawnCells(Reply):
    """File with ``cell_id``, pictures ``cell``, ``twin``, ``heat`` of each cell; ``field`` is heat in place.

    ``memory`` is there where the ``network`` has one; ``networks`` are all that the model has.
    """

    pictures: Path
    network: str
    networks: tuple[str, ...]


class RedrawCells(FieldInput, Request):
    """Redraw the ``cells`` (file of `Cells.arrays`) as control cells; ``network`` None for the first."""

    reply = RedrawnCells
    cells: Path
    agreed_px: float | None = None
    out: Path
    network: str | None = None
    settings: RunSettings = RunSettings()
    bundle: str | None = None
    device: str = "auto"


class CohortScored(Reply):
    """The scored folder and its size."""

    folder: Path
    n_bags: int
    n_cells: int


class ScoreCohort(Request):
    """Score the bags of ``inputs`` that the folder ``out`` lacks; settings None for the model's own."""

    reply = CohortScored
    inputs: tuple[Path, ...]
    out: Path
    settings: RunSettings | None = None
    bundle: str | None = None
    device: str = "auto"


class MapWritten(Reply):
    """File with the place of each cell, ``(n_cells, 2)``."""

    map: Path


class LayOutMap(Request):
    """Lay out the cells of a scored folder."""

    reply = MapWritten
    folder: Path
    layout: Literal["tsne", "umap"] = "tsne"


class Explored(Reply):
    """Number of clusters that were written into the scored folder."""

    folder: Path
    n_clusters: int


class Explore(Request):
    """Find clusters among the cells above a ``percentile`` (0-100) of anomaly."""

    reply = Explored
    folder: Path
    percentile: float
    min_cells: int
    unexplained: bool


class ClusterNamed(Reply):
    """The cell list ``path`` with the candidate class ``name``."""

    folder: Path
    path: Path
    name: str
    n_cells: int
    n_bags: int


class NameCluster(Request):
    """Make a cluster of a scored folder a candidate class."""

    reply = ClusterNamed
    folder: Path
    cluster: int
    name: str


class Compared(Reply):
    """File with the statistics of both groups."""

    table: Path


class Compare(Request):
    """Compare the two ``groups`` of a table in a scored folder; figures go into ``out``."""

    reply = Compared
    folder: Path
    groups: Path
    out: Path


class Reported(Reply):
    """The first page of the report, and how many samples have one."""

    page: Path
    n_samples: int


class Report(Request):
    """Write the pages of a scored folder into it."""

    reply = Reported
    folder: Path


class TrainingChoices(Reply):
    """Presets with their settings, and devices with their names."""

    presets: dict[str, RunSettings]
    devices: dict[str, str]


class ListChoices(Request):
    """Ask for the choices of a training."""

    reply = TrainingChoices


class CohortRead(Reply):
    """Classes of a cohort; the table of its ``bags`` where the control class is known.

    ``notes`` say what was passed over, ``unsupported`` why no training can learn from such a cohort.
    """

    classes: tuple[str, ...]
    control: str | None
    bags: Path | None = None
    clinical: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    unsupported: str = ""


class ReadCohort(Request):
    """Read a cohort and write the table of its bags into ``out``; control None to guess it."""

    reply = CohortRead
    cohort: Path
    out: Path
    control: str | None = None


class Problem(Message):
    """One thing that makes results wrong (error) or weak (warning), or that is fine."""

    severity: Literal["error", "warning", ""]
    message: str
    kind: str


class CohortChecked(Reply):
    """All problems of a cohort."""

    problems: tuple[Problem, ...]


class CheckCohort(Request):
    """Look at every image of a cohort."""

    reply = CohortChecked
    cohort: Path
    control: str
    settings: RunSettings = RunSettings()


class Estimated(Reply):
    """Time and most memory of a training, and the cells it is extrapolated from."""

    seconds: float
    gigabytes: float
    n_cells: int
    n_measured: int
    device: str


class EstimateTraining(Request):
    """Measure a few real steps of a training of ``cohort``, of which there are ``trainings``."""

    reply = Estimated
    cohort: Path
    settings: RunSettings
    bundle: str | None = None
    device: str = "auto"
    trainings: int = 1


class Calibrated(Reply):
    """The calibrated model; sentences on how these controls differ from those of the training."""

    bundle: str
    sentences: tuple[str, ...]
    differs: bool


class Calibrate(Request):
    """Refer a model to the smears in ``controls``, and write it to ``target``."""

    reply = Calibrated
    controls: Path
    target: Path
    bundle: str | None = None
    device: str = "auto"


class Arranged(Reply):
    """The folder cohort that was written."""

    cohort: Path


class PlacedImage(Message):
    """Destination of an image in a folder cohort."""

    path: Path
    label: str
    patient: str
    sample: str


class Arrange(Request):
    """Copy images into a folder cohort ``target``."""

    reply = Arranged
    images: tuple[PlacedImage, ...]
    target: Path


REQUESTS: dict[str, type[Request]] = {kind.__name__: kind for kind in Request.__subclasses__()}
"""Every kind of request, by its name."""
