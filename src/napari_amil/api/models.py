"""Models: what `detect` and `score` use, read from a file."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from napari_amil.core import pipeline
from napari_amil.core.base.settings import RunSettings

Place = str | os.PathLike[str]
"""Path of a file or folder."""
Changes = Mapping[str, Any] | Place
"""Settings that differ: ``{"selection": {"min_score": 0.7}}``, or a YAML file with the same content."""


@dataclass(frozen=True, eq=False)
class Model:
    """A detector and a scorer, with the settings and the card of their training.

    Parameters
    ----------
    bundle
        Networks and settings.
    file
        The file that they were read from; None for the model that ships with the program.
    device
        ``auto``, ``cpu``, ``cuda`` or ``mps``: where the networks run.
    """

    bundle: pipeline.Bundle
    file: Path | None = None
    device: str = "auto"

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes that the model tells apart; empty for a detector alone."""
        return () if self.bundle.scorer is None else self.bundle.scorer.classes

    @property
    def control(self) -> str:
        """Name of the control class."""
        return self.bundle.settings.control

    @property
    def card(self) -> dict[str, Any]:
        """Training data, duration and results of the model; plain JSON values."""
        return dict(self.bundle.card)

    def describe(self) -> str:
        """Return the card as a page of text."""
        return pipeline.card_text(self.bundle.card)

    @property
    def settings(self) -> RunSettings:
        """Settings that the model was trained with."""
        return self.bundle.settings

    def recipe(self, settings: Changes | None = None) -> pipeline.Recipe:
        """Return the recipe that turns an image into cells and scores, with some settings changed."""
        run = None if settings is None else changed(self.settings, settings)
        return pipeline.Recipe.from_bundle(self.bundle, run, pipeline.pick_device(self.device))

    def __repr__(self) -> str:
        name = "the model that ships with the program" if self.file is None else str(self.file)
        return f"Model({name!r}, classes={list(self.classes)}, device={self.device!r})"


def load_model(file: Place | None = None, device: str = "auto") -> Model:
    """Return the model in a file, or the one that ships with the program.

    Parameters
    ----------
    file
        ``bundle.safetensors`` of a training, a calibrated model, or None.
    device
        ``auto`` (CUDA, then MPS, then the processor), ``cpu``, ``cuda`` or ``mps``.

    Raises
    ------
    AmilError
        If the file is no model, or the device is not present.
    """
    path = None if file is None else Path(file)
    pipeline.pick_device(device)
    return Model(pipeline.load_bundle(path), path, device)


def as_model(model: Model | Place | None) -> Model:
    """Return a model as it is, or the one in a file."""
    return model if isinstance(model, Model) else load_model(model)


def changed(settings: RunSettings, changes: Changes) -> RunSettings:
    """Return settings with some of them changed, by names or by a YAML file."""
    if isinstance(changes, Mapping):
        return settings.changed(dict(changes))
    return RunSettings.from_yaml(Path(changes), settings)
