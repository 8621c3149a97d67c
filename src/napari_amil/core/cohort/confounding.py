"""Detect confounders: site, stain, colour or image size that predict the class."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import lazy_loader
import numpy as np
import pandas as pd

from napari_amil.core.base.types import Bag, Cohort, Floats, Image
from napari_amil.core.cohort.problems import Problem
from napari_amil.core.images.normalise import background_sample

if TYPE_CHECKING:
    from napari_amil.core.cohort import association
else:  # scipy.stats and scikit-learn take longer to import than most cohorts to check
    association = lazy_loader.load("napari_amil.core.cohort.association", suppress_warning=True)

_EQUAL_P = 0.05  # a column that tells the class of every patient is refused where chance does not explain it
_STRONG = 0.5  # Cramér's V from which a weaker association is reported
_TELLING_P = 0.01
_TELLING_GAIN = 0.2  # of balanced accuracy above chance, from which colours are reported to tell the classes
_MIN_PATIENTS = 3
_SAMPLE_STEP = 4


def confounded_columns(cohort: Cohort) -> Iterator[Problem]:
    """Yield columns of words that tell the class of a patient, such as the site or the stain.

    Every column of `Bag.acquisition` and every categorical one of `Bag.clinical` is tested against the
    label over patients (chi-squared test, Cramér's V). A column with a value of its own for every
    patient tells nothing and passes.
    """
    for name, is_acquisition in _columns(cohort).items():
        pairs = {
            (bag.patient, str(value), str(bag.label))
            for bag in cohort
            if bag.label is not None and isinstance(value := _value(bag, name), str)
        }
        table = pd.DataFrame(sorted(pairs), columns=["patient", "value", "label"])
        if table["value"].nunique() < 2 or table["label"].nunique() < 2:
            continue
        counts = pd.crosstab(table["value"], table["label"]).to_numpy()
        p, strength = association.between_columns(counts)
        decided = bool(((counts > 0).sum(axis=1) == 1).all())
        if decided and p < _EQUAL_P:
            yield Problem(
                "error" if is_acquisition else "warning",
                f"The column '{name}' alone tells the class of every patient, so that a model may learn it "
                "in place of the cells; add patients of other classes to each of its values.",
                "confounding",
            )
        elif strength > _STRONG and p < _TELLING_P:
            yield Problem(
                "warning",
                f"The column '{name}' goes with the class (Cramér's V {strength:.2f} over patients), so that "
                "a model may learn it in place of the cells; balance it over the classes.",
                "confounding",
            )


def colours_of(image: Image) -> Floats:
    """Return five numbers of an image that no disease should change.

    Median red, green and blue of the background (0 to 1), and the shares of red and green in the
    optical density of the cells. How strong the stain is stays out: pale cells are a finding.
    """
    sample = np.maximum(image[::_SAMPLE_STEP, ::_SAMPLE_STEP].astype(np.float32), 1.0)
    bright = background_sample(sample)
    background = np.median(sample[bright], axis=0)
    if bright.all():
        return np.array([*background / 255.0, 1 / 3, 1 / 3])
    density = np.maximum(np.log(background / np.median(sample[~bright], axis=0)), 1e-3)
    return np.array([*background / 255.0, *(density / density.sum())[:2]])


def confounded_colours(cohort: Cohort, colours: Mapping[str, Floats]) -> Iterator[Problem]:
    """Yield a warning if colours of background and stain tell the classes of patients never seen.

    A linear discriminant on the mean colours of each patient is cross-validated over patients; whether
    its answers go with the labels is judged by the chi-squared test.
    """
    rows: dict[tuple[str, str], list[Floats]] = defaultdict(list)
    for bag in cohort:
        if bag.label is not None:
            rows[bag.patient, bag.label] += [colours[image] for image in bag.images if image in colours]
    rows = {key: values for key, values in rows.items() if values}
    n_patients = Counter(label for _, label in rows)
    kept = [key for key in rows if n_patients[key[1]] >= _MIN_PATIENTS]
    classes = {label for _, label in kept}
    if len(classes) < 2:
        return
    x = np.stack([np.mean(rows[key], axis=0) for key in kept])
    score, p = association.with_class(
        x, np.array([label for _, label in kept]), min(n_patients[name] for name in classes)
    )
    if p <= _TELLING_P and score - 1 / len(classes) >= _TELLING_GAIN:
        yield Problem(
            "warning",
            "The colours of background and stain alone tell the classes of unseen patients (balanced "
            f"accuracy {score:.2f}, by chance {1 / len(classes):.2f}), so that a model may read the stain; "
            "add controls of the same staining and microscope.",
            "confounding",
        )


def confounded_sizes(cohort: Cohort, sizes: Mapping[str, tuple[int, int]]) -> Iterator[Problem]:
    """Yield classes whose images never share a size with the control's: a model may read the camera."""
    of_class: dict[str | None, set[tuple[int, int]]] = defaultdict(set)
    for bag in cohort:
        of_class[bag.label] |= {sizes[image] for image in bag.images if image in sizes}
    control = of_class[cohort.control]
    for label in cohort.classes:
        if of_class[label] and control and not of_class[label] & control:
            height, width = min(of_class[label])
            yield Problem(
                "warning",
                f"No image of class '{label}' ({width} x {height} pixels, ...) has the size of a control "
                "image, so that a model may tell the cameras apart; add controls from the same microscope.",
                "confounding",
            )


def _columns(cohort: Cohort) -> dict[str, bool]:
    """Return the names of all columns, and whether each says how a sample was acquired."""
    clinical = {name: False for bag in cohort for name in bag.clinical}
    return clinical | {name: True for bag in cohort for name in bag.acquisition}


def _value(bag: Bag, name: str) -> object:
    """Return the value of a bag in a column."""
    return bag.acquisition.get(name, bag.clinical.get(name))
