"""A site, a stain or a colour that tells the class is found, and what tells nothing is let pass."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from napari_amil.core.base.types import Bag, Cohort
from napari_amil.core.cohort.confounding import (
    colours_of,
    confounded_colours,
    confounded_columns,
    confounded_sizes,
)
from napari_amil.core.cohort.smear import SynthSettings, synthetic_smear


def cohort(n_patients: int, value: Callable[[int], str], kind: str = "acquisition") -> Cohort:
    """Return patients of two classes in turn, each with one image and a column ``site``."""
    bags = tuple(
        Bag(f"b{i}", f"p{i}", (f"{i}.png",), label=("control", "sick")[i % 2], **{kind: {"site": value(i)}})
        for i in range(n_patients)
    )
    return Cohort(".", bags, ("control", "sick"))


def told(cohort: Cohort) -> list[tuple[str, str]]:
    return [(problem.severity, problem.message) for problem in confounded_columns(cohort)]


@pytest.mark.parametrize(("kind", "severity"), [("acquisition", "error"), ("clinical", "warning")])
def test_a_site_that_equals_the_label(kind: str, severity: str) -> None:
    assert told(cohort(6, lambda i: "AB"[i % 2], kind)) == [
        (
            severity,
            "The column 'site' alone tells the class of every patient, so that a model may learn it in place "
            "of the cells; add patients of other classes to each of its values.",
        )
    ]
    assert told(cohort(12, lambda i: "ABCD"[i % 4], kind))[0][0] == severity


def test_a_site_that_nearly_equals_the_label_is_warned_of() -> None:
    ((severity, message),) = told(cohort(40, lambda i: "AB"[i % 2] if i > 2 else "A"))
    assert severity == "warning"
    assert message.startswith("The column 'site' goes with the class (Cramér's V 0.95 over patients)")


@pytest.mark.parametrize(
    "value",
    [lambda i: "A", lambda i: f"slide {i}", lambda i: "AB"[i // 2 % 2]],
    ids=["the same", "one per patient", "balanced"],
)
def test_columns_that_tell_nothing_pass(value: Callable[[int], str]) -> None:
    assert told(cohort(12, value)) == []


def test_several_bags_of_a_patient_count_once() -> None:
    two = cohort(2, lambda i: "AB"[i])
    many = replace(two, bags=tuple(replace(bag, bag=f"{bag.bag}-{i}") for bag in two for i in range(20)))
    assert told(many) == []


def test_colours_are_those_of_background_and_stain_whatever_its_strength() -> None:
    image = np.full((80, 80, 3), (240, 230, 220), dtype=np.uint8)
    pale, dark = image.copy(), image.copy()
    pale[20:40] = np.array((240, 230, 220)) * np.exp(-0.3 * np.array([1.0, 2.0, 1.0]))
    dark[20:40] = np.array((240, 230, 220)) * np.exp(-0.6 * np.array([1.0, 2.0, 1.0]))
    np.testing.assert_allclose(colours_of(pale)[:3], np.array([240, 230, 220]) / 255)
    np.testing.assert_allclose(colours_of(pale)[3:], [0.25, 0.5], atol=0.01)
    np.testing.assert_allclose(colours_of(dark), colours_of(pale), atol=0.01)
    np.testing.assert_allclose(colours_of(image)[3:], 1 / 3)


def field_colours(n: int, tint: Callable[[int], NDArray[np.float64]]) -> dict[str, NDArray[np.float64]]:
    generator = np.random.default_rng(0)
    return {f"{i}.png": tint(i) + generator.normal(0, 0.02, 5) for i in range(n)}


def test_colours_that_tell_the_class_are_warned_of() -> None:
    patients = cohort(24, lambda i: "A")
    (problem,) = confounded_colours(patients, field_colours(24, lambda i: np.full(5, 0.1 * (i % 2))))
    assert problem.severity == "warning"
    assert "balanced accuracy 1.00, by chance 0.50" in problem.message
    assert list(confounded_colours(patients, field_colours(24, lambda i: np.zeros(5)))) == []
    assert list(confounded_colours(patients, {})) == []


def test_colours_little_better_than_chance_are_not_warned_of() -> None:
    """Balanced accuracy of two classes is 0.5 by chance: 0.63 gains 0.13, below the 0.2 that is told."""
    n, generator = 400, np.random.default_rng(3)
    colours = {f"{i}.png": generator.normal(0.5, 0.1, 5) for i in range(n)}
    weak = {name: value + 0.06 * (i % 2) * np.eye(5)[0] for i, (name, value) in enumerate(colours.items())}
    strong = {name: value + 0.2 * (i % 2) * np.eye(5)[0] for i, (name, value) in enumerate(colours.items())}
    assert list(confounded_colours(cohort(n, lambda i: "A"), weak)) == []
    (problem,) = confounded_colours(cohort(n, lambda i: "A"), strong)
    assert "balanced accuracy 0.8" in problem.message


def test_smears_of_one_microscope_are_not_warned_of() -> None:
    """Diseased cells may be paler: that is a finding, no confounder."""
    small = SynthSettings(height=240, width=320, n_cells=24)
    pale = small.model_copy(update={"abnormal": {"hypochromia": 0.6}})
    images = {f"{i}.png": colours_of(synthetic_smear(i, (small, pale)[i % 2]).image) for i in range(12)}
    assert list(confounded_colours(cohort(12, lambda i: "A"), images)) == []


def test_sizes_that_no_control_has_are_warned_of() -> None:
    patients = cohort(4, lambda i: "A")
    (problem,) = confounded_sizes(patients, {f"{i}.png": ((40, 50), (64, 80))[i % 2] for i in range(4)})
    assert problem.message.startswith("No image of class 'sick' (80 x 64 pixels, ...)")
    assert list(confounded_sizes(patients, {f"{i}.png": (40, 50) for i in range(4)})) == []
