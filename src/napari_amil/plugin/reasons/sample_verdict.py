"""The verdict on a sample in words: headline, reasons, and a summary of its cells."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from napari_amil.core.base.class_names import display_name, is_composed
from napari_amil.core.base.clinical_words import clinical_words
from napari_amil.core.base.sample_words import class_set_sentence, diameter_sentence, share_sentences
from napari_amil.core.base.settings import VerdictSettings
from napari_amil.core.base.types import ABSTAIN, ANOMALOUS_Q, UNSEEN
from napari_amil.plugin.layers.score_words import per_cent

RESEARCH = "For research only."


@dataclass(frozen=True)
class SampleVerdict:
    """The headline, what stands above it, and one sentence a reason."""

    caption: str
    headline: str
    reasons: tuple[str, ...]


def verdict_words(bag: Mapping[str, Any]) -> SampleVerdict:
    """Return the verdict on a sample in plain words.

    Parameters
    ----------
    bag
        ``predicted``, ``probability``, ``n_cells`` and, where they are known, ``verdict``, ``caveat``,
        ``novelty_p``, ``verdict_settings``, and the name of the ``sample``, which may be more than an image.
    """
    predicted = str(bag["predicted"])
    message = str(bag.get("verdict") or predicted)
    probability = float(bag["probability"][predicted])
    name = display_name(predicted)
    likeliest = f"Of the classes it knows, {name} is the most probable ({per_cent(probability)})."
    novelty = _novelty(float(bag.get("novelty_p", np.nan)))
    subject = f"Sample {bag['sample']}" if "sample" in bag else "This image"
    if message == UNSEEN:
        return SampleVerdict(f"{subject} is", "Unlike anything seen", (*novelty, likeliest))
    if message == ABSTAIN:
        return SampleVerdict("The model abstains", "No verdict", (_why_none(bag), likeliest, *novelty))
    if is_composed(message):
        name = display_name(message)
        return SampleVerdict(f"{subject} looks", f"{name[:1].upper()}{name[1:]}", novelty)
    return SampleVerdict(f"{subject} looks most like", display_name(message), novelty)


def _why_none(bag: Mapping[str, Any]) -> str:
    if bag.get("caveat"):
        return str(bag["caveat"])
    settings = VerdictSettings.model_validate(bag.get("verdict_settings", {}))
    n_cells = int(bag["n_cells"])
    if n_cells < settings.min_cells:
        return f"{n_cells} cells are too few to judge by; {settings.min_cells} are needed."
    return f"No class reaches a probability of {per_cent(settings.min_probability)}."


def _novelty(p: float) -> tuple[str, ...]:
    if not np.isfinite(p):
        return ()
    share = f"{per_cent(p)} of samples of known classes lie as far from all of them (novelty p = {p:.2g})"
    return (f"Only {share}." if p < ANOMALOUS_Q else f"It fits the known classes: {share}.",)


def summary(bag: Mapping[str, Any], table: pd.DataFrame) -> list[str]:
    """Return the findings in the cells of the sample, one sentence each.

    Parameters
    ----------
    table
        The features of its cell layer.
    """
    n_cells = int(bag["n_cells"])
    is_said = bag.get("verdict") == ABSTAIN and bool(bag.get("caveat"))  # as the reason of no verdict
    lines = [str(bag["look"])] if bag.get("look") and not is_said else []
    lines += [f"Judged from {n_cells:,} cell{'' if n_cells == 1 else 's'}."]
    lines += clinical_words(bag)
    lines += [
        line for line in (*share_sentences(bag), class_set_sentence(bag), diameter_sentence(bag)) if line
    ]
    fraction = float(bag.get("share_q05", np.nan))
    if np.isfinite(fraction):
        n_unusual = round(fraction * n_cells)
        share, are = per_cent(fraction), "is" if n_unusual == 1 else "are"
        lines.append(f"{n_unusual:,} of its cells ({share}) {are} more unusual than chance explains.")
    cut = int(table["touches_border"].sum()) if "touches_border" in table else 0
    out = int(table["status"].eq("excluded").sum()) if "status" in table else 0
    if cut:
        lines.append(f"{cut:,} cut by the border of the image have no score.")
    if out:
        lines.append(f"{out:,} were left out by hand.")
    return lines
