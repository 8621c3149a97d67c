"""Train networks that redraw control cells, and add their scores to a model."""

from __future__ import annotations

import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from napari_amil.core.anomaly.calibration import Calibration
from napari_amil.core.anomaly.channels import RECONSTRUCTIONS, column_of
from napari_amil.core.anomaly.patients import parts_of_patients
from napari_amil.core.anomaly.reconstruction.network_training import TrainingFiles
from napari_amil.core.anomaly.reconstruction.perceptual import ENCODER, PerceptualNet
from napari_amil.core.anomaly.reconstruction.scorer import PerceptualScorer, ReconstructionScorer
from napari_amil.core.anomaly.scorer import CellInputs
from napari_amil.core.base.errors import SettingsError
from napari_amil.core.base.events import STOP_FILE, Event, TrainingBegan, Warned
from napari_amil.core.base.outputs import environment, make_folder, write_json, write_text
from napari_amil.core.base.settings import RunSettings
from napari_amil.core.base.types import Floats
from napari_amil.core.encoders.crop import CropEncoder
from napari_amil.core.exchange.tables import write_table
from napari_amil.core.instances.cell_inputs import cell_inputs
from napari_amil.core.instances.extract import Recipe, measured_instances
from napari_amil.core.instances.field_note import field_note
from napari_amil.core.instances.gather import Gathered, cohort_hash, gather, without_cut_cells
from napari_amil.core.instances.sources import Source
from napari_amil.core.model.bundle import Bundle, save_bundle
from napari_amil.core.model.scorer import Scorer
from napari_amil.core.pipeline.recalibrate import as_controls, control_units
from napari_amil.core.pipeline.run_folder import in_run_folder
from napari_amil.core.pipeline.twin_growth import SHEET, TwinSheet

_CHECKPOINTS = "checkpoints"


@dataclass(frozen=True)
class AddedNetworks:
    """Networks to train for a model.

    Parameters
    ----------
    names
        Anomaly scores, each with a preset behind a hyphen if it is not ``cell``: ``ra``, ``ra-code``.
    n_folds
        Parts of the patients, each of which is scored by a network that did not see it.
    changes
        Fields of `NetworkSettings` that differ from the preset, for all of them.
    """

    names: tuple[str, ...]
    n_folds: int = 3
    changes: tuple[tuple[str, Any], ...] = ()

    def added_to(self, settings: RunSettings) -> RunSettings:
        """Return the settings of a model with these channels; what was joined before is joined still.

        Raises
        ------
        SettingsError
            If there is no such network or preset, or a field has a wrong value.
        """
        model = settings.model
        networks = dict(model.networks)
        for given in self.names:
            name, _, preset = given.partition("-")
            if name not in RECONSTRUCTIONS:
                raise SettingsError(
                    f"There is no network '{given}'; choose from {', '.join(RECONSTRUCTIONS)}, "
                    "with '-code' behind the name for the published form."
                )
            networks[name] = {"preset": preset or "cell", **dict(self.changes)}
        fresh = [name for name in self.channels if name not in model.channels]
        values = {
            "channels": [*model.channels, *fresh],
            "joined": list(model.joined or model.channels),
            "networks": networks,
        }
        found = settings.changed({"model": values})
        for name in self.channels:
            RECONSTRUCTIONS[name](found.model)
        return found

    @property
    def channels(self) -> tuple[str, ...]:
        """Names of the scores."""
        return tuple(dict.fromkeys(name.partition("-")[0] for name in self.names))


def train_anomaly(
    source: Source, recipe: Recipe, out: Path, wanted: AddedNetworks
) -> Generator[Event, None, Bundle | None]:
    """Train networks on control cells alone and return the model of the recipe with their scores.

    Every network is trained once without each part of the patients, to score control cells that it did not
    see, from which percentile, p and q come; then on all of them. The run folder holds ``run.yaml``,
    ``folds.csv``, ``events.jsonl``, ``metrics.json``, ``checkpoints``, ``twins.png`` (cells as they are
    redrawn meanwhile) and ``bundle.safetensors``. The same command goes on where it was stopped; until all is
    trained there is no bundle, and None is returned.

    Parameters
    ----------
    source
        Control bags alone.
    recipe
        The model, its own settings and a device.

    Raises
    ------
    AmilError
        If the control cells are too few, or a run of other settings or cells lies in the folder.
    """
    return (yield from in_run_folder(_train_anomaly(source, recipe, out, wanted), out))


def _train_anomaly(
    source: Source, recipe: Recipe, out: Path, wanted: AddedNetworks
) -> Generator[Event, None, Bundle | None]:
    """Train as `train_anomaly` does, in a folder that this process holds."""
    started = time.monotonic()
    settings = wanted.added_to(recipe.bundle.settings)
    bundle = replace(recipe.bundle, settings=settings)
    gathered: Gathered = yield from gather(
        source, replace(recipe, bundle=bundle, settings=settings), measured_instances, field_note
    )
    gathered = without_cut_cells(gathered)
    bags = as_controls(gathered)
    rows = bags.control_cells()[0]
    units = yield from control_units(bags, rows, gathered.images)
    domains = {factor: values[rows] for factor, values in _domains(gathered).items()}
    controls = replace(cell_inputs(gathered.values[rows]), patients=units, domains=domains)
    _claim(out, settings, cohort_hash(gathered), wanted.n_folds)
    part = parts_of_patients(units, wanted.n_folds)
    write_table(_parts_table(units, part), out / "folds.csv")
    trainer = _Trainer(bundle, recipe, out, controls, part, len(wanted.channels))
    scorer = bundle.need_scorer()
    card: dict[str, Any] = dict(bundle.card.get("networks", {}))
    channels, calibrations = dict(scorer.anomaly.channels), dict(scorer.anomaly.calibrations)
    for number, name in enumerate(wanted.channels):
        found = yield from trainer.trained(name, number * trainer.n_trainings)
        if found is None:
            yield Warned("The training was stopped; give the command again to go on. There is no model yet.")
            return None
        channels[name], calibrations[column_of(name)], own = found
        card[name] = own | {"cohort_hash": cohort_hash(gathered)}
    anomaly = replace(scorer.anomaly, settings=settings.model, channels=channels, calibrations=calibrations)
    bundle = replace(bundle, scorer=replace(scorer, anomaly=anomaly)).with_card(networks=card)
    save_bundle(bundle, out / "bundle.safetensors")
    seconds = round(time.monotonic() - started)
    write_json({"seconds": seconds, "n_cells": len(controls), "networks": card}, out / "metrics.json")
    return bundle


def _domains(gathered: Gathered) -> dict[str, NDArray[np.str_]]:
    """Return ``factor -> (n_cells,)`` how each stored cell was acquired; "" where it is not known."""
    factors = sorted({factor for bag in gathered.cohort for factor in bag.acquisition})
    found = {factor: np.full(len(gathered.values), "", dtype=object) for factor in factors}
    for bag, rows in zip(gathered.cohort, gathered.rows, strict=True):
        for factor in factors:
            found[factor][rows] = bag.acquisition.get(factor, "")
    return {factor: values.astype(np.str_) for factor, values in found.items()}


def _claim(out: Path, settings: RunSettings, cells: str, n_folds: int) -> None:
    """Store settings and cells of the training; refuse to resume with different ones."""
    text = settings.to_yaml() + f"# cells {cells}, {n_folds} folds\n"
    before = out / "run.yaml"
    if any(out.glob(f"{_CHECKPOINTS}/*")) and before.exists() and before.read_text("utf-8") != text:
        raise SettingsError(
            f"The run in '{out}' was made with other settings or cells (run.yaml); "
            "use those, or another folder."
        )
    write_text(text, before)
    write_json(environment(), out / "environment.json")


def _parts_table(units: NDArray[np.str_], part: NDArray[np.int64]) -> pd.DataFrame:
    table = pd.DataFrame({"patient": units, "part": part})
    return table.groupby(["patient", "part"], as_index=False).size().rename(columns={"size": "n_cells"})


@dataclass(frozen=True, eq=False)
class _Trainer:
    """Trains each network without each part of the control cells, and on all.

    Parameters
    ----------
    part
        ``(n_cells,)``
    n_networks
        Networks that are trained one after the other.
    """

    bundle: Bundle
    recipe: Recipe
    out: Path
    controls: CellInputs
    part: NDArray[np.int64]
    n_networks: int

    @property
    def n_trainings(self) -> int:
        """Number of trainings of one network."""
        return int(self.part.max()) + 2

    def trained(
        self, name: str, n_before: int
    ) -> Generator[Event, None, tuple[ReconstructionScorer, Calibration, dict[str, Any]] | None]:
        """Return network, calibration and card; None if the training was stopped."""
        started = time.monotonic()
        held_out = np.full(len(self.controls), np.nan)
        total = self.n_trainings * self.n_networks
        for number in range(self.n_trainings - 1):
            yield TrainingBegan(f"{name} without part {number + 1}", n_before + number + 1, total)
            rows = np.flatnonzero(self.part == number)
            left_out = self.controls.take(rows)
            scorer = yield from self._fitted(
                name, f"{name}-{number}", self.controls.take(self.part != number), left_out
            )
            if scorer is None:
                return None
            held_out[rows] = scorer.score(left_out)
        yield TrainingBegan(name, n_before + self.n_trainings, total)
        scorer = yield from self._fitted(name, name, self.controls, self.controls)
        if scorer is None:
            return None
        seen = scorer.score(self.controls)
        calibration = _calibrated(held_out, seen, self.controls)
        return scorer, calibration, self._card(scorer, calibration, seen, time.monotonic() - started)

    def _fitted(
        self, name: str, file: str, cells: CellInputs, shown: CellInputs
    ) -> Generator[Event, None, ReconstructionScorer | None]:
        """Train one network, drawing some of the ``shown`` cells meanwhile; None if it was stopped."""
        scorer = self._new(name)
        folder, stop = make_folder(self.out / _CHECKPOINTS), self.out / STOP_FILE
        if stop.exists():
            return None
        scorer.files = TrainingFiles(folder / f"{file}.safetensors", stop)
        work = scorer.fit(cells, self.bundle.settings.training.seed, self.recipe.device)
        yield from TwinSheet.of_some(self.out / SHEET, shown).following(work, scorer)
        return None if stop.exists() else scorer

    def _new(self, name: str) -> ReconstructionScorer:
        """Return an untrained score; the encoder of the model may compare its pictures."""
        kind, settings = RECONSTRUCTIONS[name], self.bundle.settings.model
        if issubclass(kind, PerceptualScorer) and settings.networks[name].get("perceptual") == ENCODER:
            return kind(settings, PerceptualNet.of_encoder(_crop_encoder(self.bundle.need_scorer())))
        return kind(settings)

    def _card(
        self, scorer: ReconstructionScorer, calibration: Calibration, seen: Floats, seconds: float
    ) -> dict[str, Any]:
        source = scorer.source if isinstance(scorer, PerceptualScorer) else "none"
        return {
            "settings": scorer.network.model_dump(mode="json"),
            "perceptual": source,
            "n_cells": len(self.controls),
            "n_patients": calibration.n_patients,
            "n_weights": sum(weight.numel() for weight in scorer.net.parameters()),
            "held_out_over_in_sample": round(calibration.center / float(np.nanmean(seen)), 4),
            "seconds": round(seconds),
        }


def _calibrated(held_out: Floats, seen: Floats, controls: CellInputs) -> Calibration:
    """Return the calibration by whole cells that were held out."""
    known = np.isfinite(held_out) & controls.whole
    assert controls.patients is not None
    return Calibration(held_out[known], controls.patients[known], float(np.nanmean(seen)))


def _crop_encoder(scorer: Scorer) -> CropEncoder:
    """Return the encoder of crops of a model.

    Raises
    ------
    SettingsError
        If it has none.
    """
    encoder: Sequence[Any] = [m for m in scorer.model.modules() if isinstance(m, CropEncoder)]
    if not encoder:
        raise SettingsError(
            "The setting 'perceptual' is 'encoder', but the model has no encoder of crops; use 'pyramid'."
        )
    return encoder[0]
