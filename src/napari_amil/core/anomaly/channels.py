"""Registry of the anomaly scores of single cells, by the name that ``model.channels`` uses."""

from __future__ import annotations

from collections.abc import Sequence

from napari_amil.core.anomaly.gaussian.channel import LatentDistance
from napari_amil.core.anomaly.morphology.channel import MorphDistance
from napari_amil.core.anomaly.reconstruction.dpa import Dpa
from napari_amil.core.anomaly.reconstruction.fanogan import Fanogan
from napari_amil.core.anomaly.reconstruction.ganomaly import Ganomaly
from napari_amil.core.anomaly.reconstruction.memae import Memae
from napari_amil.core.anomaly.reconstruction.ra import Ra
from napari_amil.core.anomaly.reconstruction.scorer import ReconstructionScorer
from napari_amil.core.anomaly.scorer import CellScorer
from napari_amil.core.base.columns import ANOMALY, column_name
from napari_amil.core.base.errors import SettingsError
from napari_amil.core.base.settings import ModelSettings

LATENT, MORPH = "latent_distance", "morph_distance"

RECONSTRUCTIONS: dict[str, type[ReconstructionScorer]] = {
    kind.name: kind for kind in (Ra, Dpa, Memae, Ganomaly, Fanogan)
}
"""Scores by networks that redraw a cell as a control cell."""

SCORERS: dict[str, type[CellScorer]] = {LATENT: LatentDistance, MORPH: MorphDistance, **RECONSTRUCTIONS}
"""``name -> class``; networks are built when a scorer is made, not when it is registered."""


def active_channels(settings: ModelSettings) -> tuple[str, ...]:
    """Return the names of the channels that the settings ask for.

    Raises
    ------
    SettingsError
        If one is not registered or named twice, one that is joined or pooled is not active, or the first is
        not ``latent_distance``, on whose scale the anomaly and the distance of the pooling are.
    """
    names = settings.channels
    for name in names:
        if name not in SCORERS:
            raise SettingsError(
                f"There is no anomaly score named '{name}' in model.channels; there are {', '.join(SCORERS)}."
            )
    if names[:1] != (LATENT,) or len(set(names)) < len(names):
        raise SettingsError(
            f"model.channels is {list(names)}; it must begin with '{LATENT}' and name no score twice."
        )
    for setting, chosen in (("joined", settings.joined), ("pooled", settings.pooled)):
        for name in chosen:
            if name not in names:
                raise SettingsError(
                    f"model.{setting} names '{name}', which is not in model.channels: {', '.join(names)}."
                )
    return names


def column_of(name: str) -> str:
    """Return the column of a channel in the table of cells."""
    return column_name(ANOMALY, name) if SCORERS[name].ranked else name


def reads_pixels(settings: ModelSettings) -> bool:
    """Return whether a channel reads the pixels of the crops, which are kept for it alone."""
    return any(SCORERS[name].reads == "pixels" for name in active_channels(settings))


def channel_weights(names: Sequence[str], morphology_weight: float) -> list[float]:
    """Return the weight of each channel: the measurements have ``morphology_weight``, the others the rest."""
    measured = [SCORERS[name].reads == "measurements" for name in names]
    n_measured, n_others = sum(measured), len(names) - sum(measured)
    share = morphology_weight if n_measured else 0.0
    return [share / n_measured if own else (1.0 - share) / n_others for own in measured]
