"""Requests and replies about annotated images, from which a detector learns."""

from __future__ import annotations

from pathlib import Path

from napari_amil.worker.protocol.base import FieldInput, Message, Reply, Request


class AnnotatedImage(Message):
    """Part and number of cells of one image in a detector training."""

    image: str
    patient: str
    part: str
    n_cells: int
    complete: bool


class AnnotatedRead(Reply):
    """A row for each annotated image."""

    images: tuple[AnnotatedImage, ...]


class ReadAnnotated(Request):
    """List the annotated images in ``place``, of which a ``share`` (0-1) is held out."""

    reply = AnnotatedRead
    place: Path
    share: float
    seed: int = 0


class AnnotatedWritten(Reply):
    """The annotated folder that was written."""

    annotated: Path


class CorrectedImage(FieldInput):
    """An open image and its cells, as files."""

    patient: str
    cells: Path


class WriteAnnotated(Request):
    """Write open images and their cells as an annotated folder ``target``."""

    reply = AnnotatedWritten
    images: tuple[CorrectedImage, ...]
    target: Path
