"""Drift of control smears from those that a model was trained on, in numbers and in sentences."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from napari_amil.core.anomaly.scorer import CellInputs
from napari_amil.core.instances.field_note import FieldNote, summary_of_fields
from napari_amil.core.model.scorer import Scorer

LEAST_CALLED = 0.9
"""Share of left-out control samples called control below which a calibrated model names no class."""
_EXPECTED_SHARE = 0.05
_UNEVEN = 4.0  # times the variance between controls of the training from which on these are a mixture
_LEAST_BETWEEN = 0.05  # of the variance within: less is taken for this
_LEAST_SCORE = 0.8  # mean detection score in a smear, which is 0.9 to 1; in most photographs it is less
_CLEAR_SHARE = 0.10  # share of p < 0.05 among controls from which on the old p-values mislead
_CLEAR_FACTOR = 1.5  # on their distances
_CLEAR_DEVIATION = 2.0  # deviations between the fields of the training
_LEAST_SPREAD = {"density": 0.15, "diameter_px": 0.10, "focus": 0.25}
"""Deviation between fields, as a share of their median, below which few fields are not trusted."""
_LOOKS = {"diameter_px": "the cells are {} times as large", "density": "the stain is {} times as dense"}
_MEASURES = {"density": "density", "diameter": "diameter_px", "focus": "focus"}
"""Quantities of fields that are compared, and their names in the card of a bundle."""
_BESIDE = {"density": "stain", "diameter_px": "size of the cells", "focus": "sharpness"}
_CALIBRATE = "Calibrate the model on control smears of this microscope before you trust a percentage."
_FOCUS_ANEW = "Focus anew before you trust a percentage."


@dataclass(frozen=True)
class Look:
    """A sentence on whether a sample looks like those that a model knows; None where that is not known."""

    sentence: str = ""
    is_alike: bool | None = None


def foreign_look(notes: Sequence[FieldNote], card: Mapping[str, Any], limit: float) -> str:
    """Return a sentence where a sample looks unlike the fields that its model knows; empty where it does not.

    Parameters
    ----------
    notes
        `field_note` of each of its fields.
    card
        Card of the bundle, with the fields of the controls that it was calibrated on, or of its training.
    limit
        Deviations between the known fields beyond which a sample is foreign; 0 for no limit.
    """
    apart = _apart(summary_of_fields(notes), _known_fields(card))
    found = [
        f"{words.format(f'{apart[key][0]:.2g}')} ({apart[key][1]:+.1f} deviations)"
        for key, words in _LOOKS.items()
        if _is_odd(apart, key, limit)
    ]
    blur = _blur(notes, _known_fields(card), limit)
    if not found and not blur:
        return ""
    remedy = "Calibrate it on control smears of this microscope first." if found else "Focus anew."
    listed = " and ".join(filter(None, (*found, blur)))
    return f"Compared with the images that the model knows, {listed}, so it names no class. {remedy}"


def _blur(notes: Sequence[FieldNote], known: Mapping[str, list[float]], limit: float) -> str:
    """Return a clause where the cells of a sample are out of focus beside those that the model knows."""
    sharp = [note.focus for note in notes if np.isfinite(note.focus)]
    if not sharp or "focus" not in known or not limit > 0:
        return ""
    centre, spread = known["focus"]
    times = float(np.median(sharp)) / centre
    deviations = np.log(max(times, 1e-3)) / max(spread / centre, _LEAST_SPREAD["focus"])
    if deviations >= -limit:
        return ""
    return f"the cells are blurred, their edges {times:.2g} times as sharp ({deviations:+.1f} deviations)"


def no_smear(notes: Sequence[FieldNote]) -> str:
    """Return a sentence where images show something else than a blood smear; empty where they may be one."""
    known = [note.score for note in notes if np.isfinite(note.score)]
    if not known or np.median(known) >= _LEAST_SCORE:
        return ""
    return (
        "This does not look like a stained blood smear: what was found has a mean detection score of "
        f"{np.median(known):.2f}, so the model names no class. Give it images of a smear, or the diameter of "
        "a cell (--diameter) if it is one."
    )


def look_of(notes: Iterable[FieldNote], focus: float, card: Mapping[str, Any], limit: float) -> Look:
    """Return whether a sample looks like the images that its model knows, in stain, size and focus.

    Parameters
    ----------
    notes
        `field_note` of each of its fields.
    focus
        Sharpness of its cells (`field_focus`), NaN where that is not known.
    card, limit
        As for `foreign_look`; a picture may be sharper than the known ones, not more blurred.
    """
    here = summary_of_fields(notes) | ({"focus": [focus, 0.0]} if np.isfinite(focus) else {})
    apart = _apart(here, _known_fields(card))
    if not apart:
        return Look()
    odd = [
        words.format(f"{apart[key][0]:.2g}") for key, words in _LOOKS.items() if _is_odd(apart, key, limit)
    ]
    is_blurred = "focus" in apart and apart["focus"][1] < -_CLEAR_DEVIATION
    odd += [f"edges are {apart['focus'][0]:.2g} times as sharp"] if is_blurred else []
    if odd:
        remedy = _FOCUS_ANEW if is_blurred and len(odd) == 1 else _CALIBRATE
        return Look(f"Unlike the images that the model knows: {', '.join(odd)}. {remedy}", is_alike=False)
    alike = ", ".join(f"{_BESIDE[key]} {factor:.1f}" for key, (factor, _) in apart.items())
    return Look(f"Looks like the images that the model knows ({alike} times theirs).", is_alike=True)


def _is_odd(apart: Mapping[str, tuple[float, float]], key: str, limit: float) -> bool:
    return key in apart and abs(apart[key][1]) > limit > 0


def _apart(
    here: Mapping[str, list[float]], known: Mapping[str, list[float]]
) -> dict[str, tuple[float, float]]:
    """Return the factor on the known fields, and the deviations between these, of each known quantity."""
    return {
        key: (value / known[key][0], (value - known[key][0]) / max(known[key][1], least * known[key][0]))
        for key, least in _LEAST_SPREAD.items()
        if key in known and key in here
        for value in here[key][:1]
    }


def spread_between(z: Tensor, units: Sequence[str] | NDArray[np.str_]) -> float:
    """Return the variance of embeddings between patients or images over that within, 0 or more.

    The components of a one-way analysis of variance, summed over the dimensions; NaN with fewer than two
    units of two cells.

    Parameters
    ----------
    z
        ``(n_cells, k)`` embeddings of control cells.
    units
        ``(n_cells,)`` patient, or image, of each.
    """
    values = z.double().numpy()
    _, own, counts = np.unique(np.asarray(units), return_inverse=True, return_counts=True)
    own = np.flatnonzero(counts >= 2)[:, None] == own  # (n_units, n_cells)
    sizes = own.sum(axis=1)
    if len(sizes) < 2:
        return float("nan")
    values = values[own.any(axis=0)]
    own = own[:, own.any(axis=0)]
    means = own @ values / sizes[:, None]
    n, n_units = int(sizes.sum()), len(sizes)
    within = ((values - means[own.argmax(axis=0)]) ** 2).sum(axis=0) / max(n - n_units, 1)
    between = (sizes[:, None] * (means - values.mean(axis=0)) ** 2).sum(axis=0) / (n_units - 1)
    n_cells = (n - (sizes**2).sum() / n) / (n_units - 1)  # cells of a unit, as unequal sizes count
    return float(np.clip((between - within) / n_cells, 0, None).sum() / max(within.sum(), 1e-12))


def _times_as_uneven(found: Mapping[str, float | None]) -> float:
    """Return the ratio of the spread among new controls to that of the training; 0 if it is not larger."""
    apart, known = found.get("between"), found.get("between_known")
    if apart is None or known is None or not apart > _UNEVEN * max(known, _LEAST_BETWEEN):
        return 0.0
    return apart / max(known, _LEAST_BETWEEN)


def withheld(card: Mapping[str, Any]) -> str:
    """Return a sentence where a calibrated model cannot tell its own controls from diseases, else nothing."""
    found = card.get("calibration", {}).get("drift", {})
    if times := _times_as_uneven(found):
        return (
            f"The control samples of this calibration differ among themselves {times:.1f} times as much as "
            "those of the training, so that moving the model to them could hide a disease, and it names no "
            "class. How cells rank holds. Calibrate it on controls of one microscope and one stain."
        )
    share, n_samples = found.get("called_control"), found.get("held_out_samples")
    if share is None or share >= LEAST_CALLED:
        return ""
    return (
        f"Of the {n_samples:.0f} control samples of this microscope only {share:.0%} were called control "
        "when they were left out, so the model names no class here. How cells rank holds."
    )


def _known_fields(card: Mapping[str, Any]) -> Mapping[str, list[float]]:
    """Return `summary_of_fields` of the controls of the last calibration, else of the training."""
    calibrated: Mapping[str, list[float]] = card.get("calibration", {}).get("fields", {})
    return calibrated or card.get("scorer", {}).get("fields", {})


def drift(
    scorer: Scorer,
    cells: CellInputs,
    fields: Mapping[str, list[float]],
    trained: Mapping[str, list[float]] | None,
) -> dict[str, float]:
    """Return the differences of control cells and their fields from those of the training.

    Parameters
    ----------
    scorer
        The model as it was.
    cells
        The control cells.
    fields, trained
        `summary_of_fields` of their fields, and of those of the training.

    Returns
    -------
    dict
        ``share_p05``: share of the cells with p < 0.05 in the model as it was (0.05 if nothing differs);
        ``distance``, ``density``, ``diameter``, ``focus``: factors on their distances, stain, size and
        sharpness; and ``density_deviations``, ``diameter_deviations``, ``focus_deviations``: the same in
        deviations between the fields of the training. NaN where the bundle has no such record.
    """
    calibration = scorer.anomaly.calibration
    anomaly = scorer.anomaly.anomaly(scorer.anomaly.channel_scores(cells))
    found = {
        "share_p05": float((calibration.p_value(anomaly) < _EXPECTED_SHARE).mean()),
        "distance": float(anomaly.mean()) / calibration.center,
    }
    for name, key in _MEASURES.items():
        centre, spread = (trained or {}).get(key, [float("nan")] * 2)
        here = fields.get(key, [float("nan")])[0]
        found[name] = here / centre
        found[f"{name}_deviations"] = (here - centre) / max(spread, 1e-9)
    return found


def drift_sentences(found: Mapping[str, float]) -> list[str]:
    """Return the findings of `drift` and their consequence in sentences."""
    sentences = [
        f"In the model as it was, {found['share_p05']:.0%} of these control cells have p < 0.05 (5% are "
        f"expected), and their distances are {found['distance']:.2f} times those of its own controls."
    ]
    if np.isfinite(found["density"]):
        sentences.append(
            f"Stain: {found['density']:.2f} times the optical density of the training's fields "
            f"({found['density_deviations']:+.1f} deviations between those). "
            f"Size: {found['diameter']:.2f} times as many pixels across "
            f"({found['diameter_deviations']:+.1f} deviations). Both are evened out before scoring."
        )
    sentences += [_focus_sentence(found), *_verdict_sentences(found)]
    if differs(found):
        sentences.append("They differ clearly: score smears of this kind with the calibrated model only.")
    else:
        sentences.append("They resemble the controls of the training.")
    return sentences


def differs(found: Mapping[str, float]) -> bool:
    """Return whether control cells differ clearly from those of the training."""
    fields_apart = max(abs(np.nan_to_num(found[f"{name}_deviations"])) for name in _MEASURES)
    cells_apart = max(found["distance"], 1 / found["distance"])
    return bool(
        found["share_p05"] > _CLEAR_SHARE or cells_apart > _CLEAR_FACTOR or fields_apart > _CLEAR_DEVIATION
    )


def _verdict_sentences(found: Mapping[str, float]) -> list[str]:
    """Return sentences on the verdicts of left-out controls and the smallest p-value possible."""
    sentences = []
    if times := _times_as_uneven(found):
        sentences.append(
            f"A mixture: these control samples differ among themselves {times:.1f} times as much as those of "
            "the training, so the calibrated model names no class. Calibrate on one microscope and one stain."
        )
    share = found.get("called_control", float("nan"))
    if np.isfinite(share):
        verdict = "names classes" if share >= LEAST_CALLED else "names no class on this microscope"
        sentences.append(
            f"Verdicts: {share:.0%} of {found['held_out_samples']:.0f} control samples are called control "
            f"when they are left out, so the calibrated model {verdict}."
        )
    smallest = found.get("reachable_p", float("nan"))
    if np.isfinite(smallest):
        needed = smallest / _EXPECTED_SHARE
        reach = (
            "so no single cell can have q < 0.05"
            if needed > 1
            else f"so cells have q < 0.05 only where at least {needed:.1%} of a sample are as unusual"
        )
        wanted = found.get("patients_wanted", float("nan"))
        more = (
            f" About {wanted:.0f} patients like these would bring it to 0.001." if np.isfinite(wanted) else ""
        )
        sentences.append(
            f"Power: a cell twice as far as the farthest control cell has p = {smallest:.2g} with "
            f"{found['n_patients']:.0f} patients, {reach}.{more if smallest > 0.001 else ''}"
        )
    return sentences


def _focus_sentence(found: Mapping[str, float]) -> str:
    """Return a sentence that compares the sharpness of these controls with those of the training."""
    if not np.isfinite(found["focus"]):
        return "Focus: not known for this model, which brings no pictures of its control cells."
    apart = found["focus_deviations"]
    sentence = (
        f"Focus: edges {found['focus']:.2f} times as sharp as those of the training's control cells "
        f"({apart:+.1f} deviations between its images). "
    )
    if apart < -_CLEAR_DEVIATION:
        return f"{sentence}These smears are blurred, which nothing evens out: focus anew before scoring."
    return f"{sentence}Focus is not evened out before scoring."
