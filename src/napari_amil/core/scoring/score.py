"""Scoring of bags: one row per cell, one row per bag."""

from __future__ import annotations

import itertools
import math
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from napari_amil.core.anomaly.channels import LATENT
from napari_amil.core.anomaly.novelty import verdict
from napari_amil.core.anomaly.scorer import CellInputs
from napari_amil.core.base.columns import CONTRIBUTION, column_name
from napari_amil.core.base.errors import AmilError
from napari_amil.core.base.events import Event, Failed, Step, Warned
from napari_amil.core.base.types import ABSTAIN, ANOMALOUS_Q, Bag, BagScore, Cells, CellScores, Image
from napari_amil.core.images.fields import Field
from napari_amil.core.instances.cell_inputs import cell_inputs
from napari_amil.core.instances.control_cells import morphology_columns
from napari_amil.core.instances.drift import foreign_look, no_smear, withheld
from napari_amil.core.instances.executor import Ahead
from napari_amil.core.instances.extract import (
    Recipe,
    at_scale_of,
    in_order,
    instance_blocks,
    measured_instances,
    prepare,
)
from napari_amil.core.instances.field_blocks import PreparedField
from napari_amil.core.instances.field_note import FieldNote, field_note
from napari_amil.core.instances.gather import Gathered, PerCell, field_items, field_work, gather
from napari_amil.core.instances.sources import Source
from napari_amil.core.mil.class_calibration import class_probability
from napari_amil.core.mil.covariates import Covariates
from napari_amil.core.mil.instances import measurements_of
from napari_amil.core.mil.model import AmilOutput, embed_all
from napari_amil.core.model.scorer import Scorer


@dataclass(frozen=True, eq=False)
class Scored:
    """The tables of a scored cohort: one row per cell, one row per bag.

    Parameters
    ----------
    cells, bags
        With the columns that the documentation lists.
    control
        Name of the control class.
    in_sample
        Mean distance of the control cells of the training; NaN if not known.
    threshold
        Probability of the disease from which on a bag is called ill (`Scorer.threshold`); NaN if not known.
    embeddings
        ``(n_cells, k)`` float32 embedding of each row of ``cells``.
    outlines
        Polygon ``(n_points, 2)`` y, x of each row of ``cells``, in pixels.
    """

    cells: pd.DataFrame
    bags: pd.DataFrame
    control: str = "control"
    in_sample: float = math.nan
    threshold: float = math.nan
    embeddings: NDArray[np.float32] | None = None
    outlines: tuple[NDArray[np.float32], ...] = ()


def measured_field(
    image: Image | Field | PreparedField, cells: Cells, recipe: Recipe
) -> Generator[Event, None, NDArray[Any]]:
    """Return embedding and measurements of each cell of one field; yield a `Step` per further block.

    Returns
    -------
    ``(n_cells,)`` with the fields ``latents``, the embeddings ``(n_views, k)``, ``measurements``
    (`napari_amil.core.morphology.measures`), and the scores of the channels that read pixels.
    """
    parts, n_done = [], 0
    prepared = prepare(image, recipe)
    if not isinstance(image, PreparedField):
        prepared = yield from at_scale_of(prepared, cells, recipe)
    for rows, seen in instance_blocks(prepared, cells, recipe, measured=True):
        parts.append((rows, _known(seen, recipe)))
        n_done += len(rows)
        if n_done < len(cells):
            yield Step("embed", n_done, len(cells), "Embedding cells")
    return in_order(parts)


def _known(seen: NDArray[Any], recipe: Recipe) -> NDArray[Any]:
    """Return the result of `measured_field` from `measured_instances` of any number of cells."""
    scorer = recipe.bundle.need_scorer()
    latents = embed_all(scorer.model, seen, recipe.device).numpy()
    columns = {"latents": latents, "measurements": measurements_of(seen)}
    columns |= scorer.anomaly.pixel_scores(cell_inputs(seen))
    known = np.empty(len(seen), dtype=[(n, v.dtype, v.shape[1:]) for n, v in columns.items()])
    for name, values in columns.items():
        known[name] = values
    return known


def _gathered(source: Source, recipe: Recipe) -> Generator[Event, None, Gathered]:
    """Return the bags with embedding and measurements of every cell (`measured_field`).

    White cells, each alone in its image, are embedded many at a time, which takes a tenth of the time.
    """
    gathered: Gathered = yield from gather(source, recipe, _per_cell(recipe), field_note)
    if recipe.settings.model.cells == "red":
        return gathered
    return replace(gathered, values=_known(gathered.values, recipe))


def _per_cell(recipe: Recipe) -> PerCell:
    """Return the function that measures the cells of one image."""
    return measured_field if recipe.settings.model.cells == "red" else measured_instances


def score_bag(
    bag: str,
    cells: dict[str, Cells],
    known: NDArray[Any],
    recipe: Recipe,
    notes: Sequence[FieldNote] = (),
    covariates: Covariates | None = None,
) -> tuple[CellScores, BagScore]:
    """Score the cells of one bag together.

    Cells that the image border cuts are no members of the bag: half a cell is unlike any whole
    one. Their scores are NaN and their status is ``unscored``.

    Parameters
    ----------
    bag
        Name of the bag.
    cells
        By image name.
    known
        ``(n_cells,)`` from `measured_field`, images in the order of ``cells``.
    notes
        `field_note` of the images. Where they look foreign to the model, the verdict is to abstain.
    covariates
        Clinical values of this one bag; without them each counts as unknown.

    Raises
    ------
    AmilError
        If no whole cell is left, or an embedding or a logit is not finite.
    """
    scorer = recipe.bundle.need_scorer()
    member = np.concatenate([~found.touches_border for found in cells.values()])
    if not member.any():
        raise AmilError(
            f"The bag '{bag}' holds no whole cell to score; lower the detection threshold or leave it out."
        )
    z = torch.from_numpy(known["latents"][member])
    _check_finite(bag, "embedding of a cell", z)
    given = {name: known[name][member] for name in scorer.anomaly.pixel_channels}
    inputs = CellInputs(z, known["measurements"][member], scores=given)
    distance = scorer.anomaly.pooling_distance(z, scorer.anomaly.pooled_scores(inputs))
    lengths = torch.tensor([len(z)])
    with torch.inference_mode():
        placed = z.mean(dim=1).to(recipe.device), lengths.to(recipe.device), distance.to(recipe.device)
        measured = torch.from_numpy(known["measurements"][member])
        output = scorer.model.aggregate(*placed, covariates, measured)
    _check_finite(bag, "logit", output.logits)
    if scorer.anomaly.pooled is None:
        inputs = replace(inputs, scores={**given, LATENT: distance.double().numpy()})
    scores = score_columns(output, inputs, scorer)
    novelty = float(scorer.anomaly.novelty_p((z, distance, lengths))[0])
    found = _bag_score(bag, output, scores, scorer)
    limits = recipe.settings.verdict
    card = recipe.bundle.card
    caveat = withheld(card) or _look(notes, card, limits.max_drift)
    decision = ABSTAIN if caveat else verdict(found.probability, found.n_cells, novelty, limits)
    found = replace(found, novelty_p=novelty, verdict=decision, caveat=caveat, **_size(notes))
    return CellScores(_spread(scores, member)), found


def _look(notes: Sequence[FieldNote], card: Mapping[str, Any], limit: float) -> str:
    """Return the reason why images of a bag look foreign, a sentence; empty if they do not or are unknown."""
    if not notes or not limit > 0:
        return ""
    return no_smear(notes) or foreign_look(notes, card, limit)


def _size(notes: Sequence[FieldNote]) -> dict[str, Any]:
    """Return the size of the cells of a bag, and the lowest confidence in it among its images."""
    if not notes:
        return {}
    confidence = [note.confidence for note in notes if np.isfinite(note.confidence)]
    return {
        "diameter_px": float(np.median([note.diameter_px for note in notes])),
        "diameter_confidence": min(confidence, default=math.nan),
    }


def _check_finite(bag: str, name: str, values: torch.Tensor) -> None:
    """Refuse values that are not finite: a class that follows from them would look like a result."""
    if not bool(values.isfinite().all()):
        raise AmilError(
            f"The bag '{bag}' has no scores, since the {name} is not finite; check its images and the bundle."
        )


def scoring_ahead(sources: Sequence[Source], recipe: Recipe) -> Ahead[Any, Any]:
    """Return the executor for scoring these sources one after the other, which sees all their fields."""
    items = {name: item for source in sources for name, item in field_items(source, recipe).items()}
    work = field_work(recipe, _per_cell(recipe), field_note)
    return Ahead(work, items, recipe.executor)


def score_source(source: Source, recipe: Recipe) -> Generator[Event, None, Scored]:
    """Detect where there are no cells, embed every cell once, and score every bag."""
    scorer = recipe.bundle.need_scorer()
    if not scorer.anomaly.ranks_novelty:
        yield Warned(
            "This bundle is old or had too few patients to tell whether a bag is unlike anything seen: "
            "'novelty_p' stays empty, and the verdict is the most probable class."
        )
    gathered: Gathered = yield from _gathered(source, recipe)
    cell_tables, bag_rows, embeddings, outlines = [], [], [], []
    for bag, rows in zip(gathered.cohort, gathered.rows, strict=True):
        seen = gathered.values[rows]
        try:
            notes = [gathered.notes[image] for image in bag.cells]
            scores, bag_score = score_bag(
                bag.bag, bag.cells, seen, recipe, notes, Covariates.from_bags([bag])
            )
        except AmilError as error:
            yield Failed(bag.bag, str(error))
            continue
        shapes = morphology_columns(seen["measurements"], scorer.anomaly.morphology)
        cell_tables.append(pd.concat([_cell_rows(bag), scores.table, shapes], axis=1))
        embeddings.append(seen["latents"].mean(axis=1))
        outlines += [outline for cells in bag.cells.values() for outline in cells.outlines]
        known = {"patient": bag.patient, "label": bag.label}
        bag_rows.append({"bag": bag.bag, **known, **bag_score.row()})
    if not bag_rows:
        raise AmilError("No bag could be scored; the reasons are listed above.")
    yield from _say_foreign([row for row in bag_rows if row["caveat"]], len(bag_rows))
    tables = pd.concat(cell_tables, ignore_index=True), pd.DataFrame(bag_rows)
    in_sample = float(scorer.anomaly.calibration.in_sample)
    control = source.cohort.control
    fixed = in_sample, scorer.threshold
    return Scored(*tables, control, *fixed, np.concatenate(embeddings), tuple(outlines))


def _say_foreign(foreign: list[dict[str, Any]], n_bags: int) -> Generator[Event, None, None]:
    """Yield one warning for all samples whose images look foreign to the model."""
    if foreign:
        first = foreign[0]
        others = f" {len(foreign)} of {n_bags} samples are like that." if n_bags > 1 else ""
        yield Warned(f"{first['bag']}: {first['caveat']}{others}")


def _cell_rows(bag: Bag) -> pd.DataFrame:
    """Return the places of the cells of a bag, and their true types where known."""
    parts = []
    for image, cells in bag.cells.items():
        part = cells.table()
        part.insert(0, "image", image)
        part.insert(0, "bag", bag.bag)
        if image in bag.cell_type:
            part["cell_type"] = bag.cell_type[image]
        parts.append(part)
    return pd.concat(parts, ignore_index=True)


def score_columns(output: AmilOutput, cells: CellInputs, scorer: Scorer) -> pd.DataFrame:
    """Return the score columns of the cells of one bag, in the order of the model's output."""
    attention = output.attention.cpu().numpy()
    columns: dict[str, NDArray[np.floating]] = {
        **scorer.anomaly.columns(cells),
        "attention": attention,
        "attention_x_n": attention * len(attention),
        "pool_weight": output.pool_weight.cpu().numpy(),
    }
    contribution = output.contribution.cpu().numpy()
    columns |= {column_name(CONTRIBUTION, name): contribution[:, i] for i, name in enumerate(scorer.classes)}
    return pd.DataFrame(columns).astype(np.float64)


def _spread(scores: pd.DataFrame, member: NDArray[np.bool_]) -> pd.DataFrame:
    """Return one row per cell; cells outside the bag get NaN."""
    table = pd.DataFrame(np.nan, index=range(len(member)), columns=scores.columns)
    table.loc[member] = scores.to_numpy()
    return table.assign(status=np.where(member, "scored", "unscored"))


def _bag_score(bag: str, output: AmilOutput, scores: pd.DataFrame, scorer: Scorer) -> BagScore:
    logits = output.logits[0].cpu().double()
    classes, calibration = scorer.classes, scorer.class_calibration
    probability = class_probability(logits.numpy(), calibration)
    share = scorer.anomaly.abnormal_share(scores["anomaly"].to_numpy())
    inside = None if calibration is None else calibration.class_sets(probability[None])[0]
    explained = logits if output.fusion is None else _explained(output)
    of_cells = output.contribution.cpu().double().sum(dim=0)
    return BagScore(
        bag=bag,
        predicted=classes[int(logits.argmax())],
        probability=dict(zip(classes, probability.tolist(), strict=True)),
        class_set=() if inside is None else tuple(itertools.compress(classes, inside)),
        n_cells=len(scores),
        anomaly_p95=float(np.percentile(scores["anomaly"], 95)),
        abnormal_share=share.share,
        abnormal_share_low=share.low,
        abnormal_share_high=share.high,
        sample_p=share.p,
        share_q05=float((scores["anomaly_q"] < ANOMALOUS_Q).mean()),
        logit=dict(zip(classes, explained.tolist(), strict=True)),
        bias=dict(zip(classes, (explained - of_cells).tolist(), strict=True)),
        **_clinical_part(output, scorer, int(logits.argmax())),
    )


def _explained(output: AmilOutput) -> torch.Tensor:
    """Return the logits ``(n_classes,)`` of cells and bias: those of the image expert of a mixture."""
    assert output.fusion is not None
    shown = output.logits if output.fusion.kind == "concat" else output.image_logits
    return shown[0].cpu().double()


def _clinical_part(output: AmilOutput, scorer: Scorer, predicted: int) -> dict[str, Any]:
    """Return the weight of the images, and the contribution of each clinical value to the disease."""
    fused, codes = output.fusion, scorer.clinical
    if fused is None or codes is None:
        return {}
    control = scorer.control_label
    ill = 1 - control if len(scorer.classes) == 2 else predicted
    others = [number for number in range(len(scorer.classes)) if number != ill]
    speaks = (fused.clinical[0, :, ill] - fused.clinical[0, :, others].mean(dim=1)).tolist()
    weight = float(fused.image_weight[0]) if fused.kind == "moe" else math.nan
    return {"image_weight": weight, "clinical": dict(zip(codes.names, speaks, strict=True))}
