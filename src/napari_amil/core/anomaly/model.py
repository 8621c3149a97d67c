"""Anomaly of cells and novelty of bags: channels, joint distance, calibration and standard errors."""

from __future__ import annotations

import copy
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from napari_amil.core.anomaly.calibration import Calibration, q_value
from napari_amil.core.anomaly.channels import (
    LATENT,
    MORPH,
    SCORERS,
    active_channels,
    channel_weights,
    column_of,
)
from napari_amil.core.anomaly.gaussian.channel import LatentDistance
from napari_amil.core.anomaly.gaussian.mahalanobis import LatentGaussian
from napari_amil.core.anomaly.joint import JointDistance
from napari_amil.core.anomaly.morphology.channel import MorphDistance
from napari_amil.core.anomaly.morphology.statistics import ControlMorphology
from napari_amil.core.anomaly.novelty import BagNovelty, EmbeddedBags
from napari_amil.core.anomaly.pooled import PooledDistance, Scores
from napari_amil.core.anomaly.scorer import CellInputs, CellScorer
from napari_amil.core.anomaly.share import AbnormalShare, abnormal_share
from napari_amil.core.base.errors import AmilError, BundleError
from napari_amil.core.base.events import Event, Warned
from napari_amil.core.base.settings import ModelSettings, RunSettings
from napari_amil.core.base.types import Floats


@dataclass(eq=False)
class AnomalyModel:
    """Everything that refers a cell or a bag to control cells.

    `fit` fits the channels, `calibrate` the joint distance and the percentiles from scores of control cells
    by models that were fitted without them (`held_out_scores`), `fit_novelty` the classes of bags.

    Parameters
    ----------
    settings
        Settings of the model.
    channels
        ``name -> scorer``; the first is ``latent_distance``.
    joint
        Joint distance of some channels; without one the anomaly is the first channel.
    joined
        Names of these channels.
    calibrations
        ``column -> calibration`` of the anomaly, and of the channels with a percentile of their own.
    novelty
        Novelty of bags; None where there were too few patients.
    n_networks
        Networks that were trained without a part of the patients for the calibration.
    pooled
        Makes d_n of the pooling of several channels; None where the first alone does.
    """

    settings: ModelSettings
    channels: dict[str, CellScorer]
    joint: JointDistance | None = None
    joined: tuple[str, ...] = (LATENT,)
    calibrations: dict[str, Calibration] = field(default_factory=dict)
    novelty: BagNovelty | None = None
    n_networks: int = 0
    pooled: PooledDistance | None = None

    @classmethod
    def fit(
        cls,
        controls: CellInputs,
        settings: RunSettings,
        device: torch.device,
        gaussian: LatentGaussian | None = None,
        kept: Mapping[str, CellScorer] | None = None,
    ) -> Generator[Event, None, AnomalyModel]:
        """Fit every active channel to control cells; yield a warning for one that has too few of them.

        Parameters
        ----------
        controls
            With patients where standard errors are wanted, and weights where units count alike.
        gaussian
            The Gaussian that the pooling was trained with, if there is one.
        kept
            Channels that stay as they are.

        Raises
        ------
        AmilError
            If there are too few cells for the control Gaussian.
        """
        model, channels = settings.model, dict[str, CellScorer]()
        controls = controls if model.units_alike else controls.reference
        names = active_channels(model)
        weights = dict(zip(names, channel_weights(names, model.morphology_weight), strict=True))
        for name in names:
            if kept is not None and name in kept:
                channels[name] = kept[name]
                continue
            scorer = LatentDistance(model, gaussian) if name == LATENT else SCORERS[name](model)
            if getattr(controls, scorer.reads) is None:
                channels |= {name: scorer} if name == LATENT and gaussian is not None else {}
                continue
            known = controls if scorer.weighs else controls.reference
            known = known if weights[name] or name == LATENT else known.without_patients()
            try:
                yield from scorer.fit(known, settings.training.seed, device)
            except AmilError as error:
                if name == LATENT:
                    raise
                yield Warned(f"{error} Until then '{column_of(name)}' and its columns stay empty.")
            else:
                channels[name] = scorer
        return cls(model, channels)

    @property
    def calibration(self) -> Calibration:
        """Calibration of the anomaly.

        Raises
        ------
        AmilError
            Before `calibrate`.
        """
        if "anomaly" not in self.calibrations:
            raise AmilError("The anomaly has not been calibrated; train or calibrate the model first.")
        return self.calibrations["anomaly"]

    @property
    def morphology(self) -> ControlMorphology | None:
        """Statistics of the named measurements of control cells."""
        scorer = self.channels.get(MORPH)
        return scorer.statistics if isinstance(scorer, MorphDistance) else None

    @property
    def gaussian(self) -> LatentGaussian:
        """The control Gaussian of the embeddings."""
        scorer = self.channels[LATENT]
        assert isinstance(scorer, LatentDistance)
        return scorer.gaussian

    def pooling_distance(self, z: Tensor, scores: Scores | None = None) -> Tensor:
        """Return ``d_n (n_cells,)``, which pooling and novelty of bags read; `pooled_scores` have a part."""
        distance = self.gaussian.distance(z)
        return distance if self.pooled is None else self.pooled(distance, scores or {})

    def pooled_scores(self, cells: CellInputs) -> dict[str, Floats]:
        """Return ``channel -> (n_cells,)`` scores that have a part in d_n beside the control Gaussian."""
        names = () if self.pooled is None else self.pooled.others
        return {n: cells.scores[n] if n in cells.scores else self.channels[n].score(cells) for n in names}

    def channel_scores(self, cells: CellInputs) -> dict[str, Floats]:
        """Return ``channel -> (n_cells,)`` scores; those that the cells bring are taken as they are."""
        return {
            name: cells.scores[name] if name in cells.scores else scorer.score(cells)
            for name, scorer in self.channels.items()
        }

    @property
    def networks(self) -> dict[str, CellScorer]:
        """Channels that stay as they are when the model is referred to other control cells."""
        return {name: scorer for name, scorer in self.channels.items() if scorer.stays}

    @property
    def pixel_channels(self) -> tuple[str, ...]:
        """Names of the channels that read pixels."""
        return tuple(name for name, scorer in self.channels.items() if scorer.reads == "pixels")

    def pixel_scores(self, cells: CellInputs) -> dict[str, Floats]:
        """Return the scores of the channels that read pixels, so that pixels need not be kept."""
        return {name: self.channels[name].score(cells) for name in self.pixel_channels}

    def anomaly(self, scores: Mapping[str, Floats]) -> Floats:
        """Return the anomaly ``(n_cells,)`` from the scores of the channels."""
        if self.joint is None:
            return np.asarray(scores[LATENT], dtype=np.float64)
        return self.joint.distance([scores[name] for name in self.joined])

    def standard_error(self, cells: CellInputs) -> Floats:
        """Return the standard error ``(n_cells,)`` of the anomaly over the control patients; NaN if unknown.

        It is the standard deviation over refits to patients drawn with replacement. Channels without
        refits stay as they are.
        """
        refits = {name: self.channels[name].score_refits(cells) for name in self.joined}
        shapes = [values.shape for values in refits.values() if values is not None]
        if not shapes:
            return np.full(len(cells), np.nan)
        drawn = []
        for name, values in refits.items():
            if values is None:
                fixed = cells.scores[name] if name in cells.scores else self.channels[name].score(cells)
                values = np.broadcast_to(fixed, shapes[0])
            drawn.append(values)
        if self.joint is None:
            return drawn[0].std(axis=0, ddof=1)
        joint = [self.joint.distance(scores) for scores in zip(*drawn, strict=True)]
        return np.stack(joint).std(axis=0, ddof=1)

    def shares(self, scores: Mapping[str, Floats]) -> dict[str, Floats]:
        """Return ``channel -> (n_cells,)`` shares of control cells with such a score or a larger one."""
        if self.joint is None:
            return {}
        shares = self.joint.shares([scores[name] for name in self.joined])
        return dict(zip(self.joined, shares.T, strict=True))

    def columns(self, cells: CellInputs) -> dict[str, Floats]:
        """Return the columns of a table of the cells of one bag that tell how unusual each is.

        The distance of the measurements stands beside the measurements, also of cells outside the bag.
        """
        scores = self.channel_scores(cells)
        anomaly = self.anomaly(scores)
        found = {"anomaly": anomaly, "anomaly_se": self.standard_error(cells)}
        found |= self._ranks("anomaly", anomaly)
        for name, values in scores.items():
            column = column_of(name)
            if self.channels[name].reads != "measurements":
                found[column] = values
            if column in self.calibrations:
                found |= self._ranks(column, values)
        return found

    def abnormal_share(self, anomaly: NDArray[Any]) -> AbnormalShare:
        """Return the share of abnormal cells of one sample from their anomaly; NaN where it is not known."""
        return abnormal_share(anomaly, self.calibration.effects)

    def _ranks(self, column: str, values: Floats) -> dict[str, Floats]:
        """Return percentile, its standard error, p- and q-value of a score."""
        calibration = self.calibrations[column]
        p = calibration.p_value(values)
        return {
            f"{column}_percentile": calibration.percentile(values),
            f"{column}_percentile_se": calibration.percentile_error(values),
            f"{column}_p": p,
            f"{column}_q": q_value(p),
        }

    def calibrate(
        self, controls: CellInputs, held_out: Mapping[str, Floats] | None = None
    ) -> Generator[Event, None, None]:
        """Fit the joint distance, and rank scores among those of held-out control cells.

        Boxes that hold no whole cell are left out. Yield warnings where cells or patients are too few.

        Parameters
        ----------
        controls
            The cells that the channels were fitted to, with their patients if there are several.
        held_out
            `held_out_scores`, NaN for a cell that was never held out; None where there is one patient.
        """
        whole = controls.whole
        cells = controls.take(whole)
        seen = self.channel_scores(cells)
        held = seen if held_out is None else {n: v[whole] for n, v in held_out.items() if n in seen}
        for name in (name for name in seen if name not in held):
            yield Warned(
                f"Too few control cells are left for '{column_of(name)}' while some patients are held out; "
                "it does not count in the anomaly of a cell until there are more control bags."
            )
        self._join(held)
        known = np.isfinite(anomaly := self.anomaly(held))
        patients = None if cells.patients is None else cells.patients[known]
        if patients is None or len(np.unique(patients)) < 2:
            yield Warned(
                "All control cells are of one patient: no p-value can say how others differ; add some."
            )
        mean = float(self.anomaly(seen).mean())
        self.calibrations = {"anomaly": Calibration(anomaly[known], patients, mean)}
        for name in (name for name in held if SCORERS[name].ranked):
            given = np.isfinite(held[name])
            own = None if cells.patients is None else cells.patients[given]
            self.calibrations[column_of(name)] = Calibration(held[name][given], own, float(seen[name].mean()))

    def _join(self, held_out: Mapping[str, Floats]) -> None:
        """Fit the joint distance of the channels with held-out scores and a weight."""
        wanted = self.settings.joined or tuple(self.channels)
        names = [name for name in self.channels if name in held_out and name in wanted]
        weights = channel_weights(names, self.settings.morphology_weight)
        self.joint, self.joined = None, (LATENT,)
        if any(weights[1:]) or names[:1] not in ([], [LATENT]):
            networks = [SCORERS[name].reads != "measurements" for name in names]
            self.joint = JointDistance.fit([held_out[name] for name in names], weights, networks)
            self.joined = tuple(names)

    def fit_novelty(self, controls: Tensor, bags: EmbeddedBags, labels: Tensor, n_classes: int) -> None:
        """Fit the novelty of bags to bags of known classes.

        Parameters
        ----------
        controls
            ``(n, n_views, k)`` embeddings of control cells.
        labels
            ``(n_bags,)`` class of each bag.
        """
        self.novelty = BagNovelty(n_classes, controls.shape[-1])
        self.novelty.set_controls(controls)
        self.novelty.fit(*bags, labels)

    def keep_novelty(self, before: AnomalyModel, controls: Tensor) -> None:
        """Take over the known classes of another model, referred to the embeddings of other control cells."""
        self.novelty = copy.deepcopy(before.novelty)
        if self.novelty is not None:
            self.novelty.set_controls(controls)

    def calibrate_novelty(self, novelty: Tensor, patients: Sequence[str]) -> None:
        """Rank the novelty of bags among that of bags that were held out, ``(n_bags,)``."""
        if self.novelty is not None:
            self.novelty.calibration = Calibration(novelty, patients)

    def add_known_bags(self, bags: EmbeddedBags, patients: Sequence[str]) -> None:
        """Add bags of control cells to the known ones among which novelty is ranked."""
        if self.novelty is not None:
            self.novelty.add_bags(bags, patients)

    @property
    def ranks_novelty(self) -> bool:
        """True if the novelty of a bag has a p-value."""
        return self.novelty is not None and self.novelty.calibration is not None

    def bag_novelty(self, bags: EmbeddedBags) -> Floats:
        """Return the novelty ``(n_bags,)`` of bags; NaN where no classes were fitted."""
        unknown = np.full(len(bags[2]), np.nan)
        return unknown if self.novelty is None else np.asarray(self.novelty.score(*bags).double())

    def novelty_p(self, bags: EmbeddedBags) -> Floats:
        """Return the p-value ``(n_bags,)`` of the novelty of bags; NaN where there is none."""
        return np.full(len(bags[2]), np.nan) if self.novelty is None else self.novelty.p_value(*bags)

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return all that was fitted: tensors by name, and JSON values. Unknown numbers are left out."""
        modules: dict[str, nn.Module | None] = {"joint": self.joint, "novelty": self.novelty}
        modules["pooled"] = self.pooled
        modules |= {f"channels/{name}": scorer for name, scorer in self.channels.items()}
        modules |= {f"calibrations/{column}": one for column, one in self.calibrations.items()}
        tensors = {
            f"{place}/{name}": tensor
            for place, module in modules.items()
            if module is not None
            for name, tensor in module.state_dict().items()
            if tensor.ndim or not bool(tensor.isnan())
        }
        names: dict[str, Any] = {"channels": [*self.channels], "joined": [*self.joined]}
        return tensors, names | {"calibrations": [*self.calibrations], "n_networks": self.n_networks}

    @classmethod
    def from_state(
        cls, tensors: Mapping[str, Tensor], names: Mapping[str, Any], settings: ModelSettings
    ) -> AnomalyModel:
        """Return the model whose `state` this is.

        Raises
        ------
        BundleError
            If a channel is not registered in this program.
        """
        unknown = set(names["channels"]) - SCORERS.keys()
        if unknown:
            raise BundleError(
                f"The model has the anomaly score '{min(unknown)}', which this program does not know; "
                "install the version of napari-amil, or the extension, that made it."
            )
        joint, novelty = _under("joint/", tensors), _under("novelty/", tensors)
        pooled = PooledDistance.wanted(settings)
        if pooled is not None:
            pooled.load_state_dict(_under("pooled/", tensors))
        return cls(
            settings,
            {
                n: SCORERS[n].from_state(_under(f"channels/{n}/", tensors), settings)
                for n in names["channels"]
            },
            JointDistance.from_state(joint) if joint else None,
            tuple(names["joined"]),
            {
                column: Calibration.from_state(_under(f"calibrations/{column}/", tensors))
                for column in names["calibrations"]
            },
            BagNovelty.from_state(novelty) if novelty else None,
            names["n_networks"],
            pooled,
        )

    def to(self, device: torch.device) -> None:
        """Move the channels that read pixels to a device; the others compute in float64 on the CPU."""
        for name in self.pixel_channels:
            self.channels[name].to(device)


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
