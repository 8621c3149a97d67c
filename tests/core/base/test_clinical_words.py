"""Clinical contributions in sentences."""

from __future__ import annotations

from napari_amil.core.base.clinical_words import clinical_words


def test_pictures_and_values_are_weighed_in_words() -> None:
    bag = {"image_weight": 0.25, "clinical_AGE": -0.5, "clinical_COUNT": 2.0, "clinical_SEX": 0.01}
    assert clinical_words(bag) == [
        "The pictures count for 25 % here, the clinical values for 75 %.",
        "COUNT speaks for disease (+2.00); AGE speaks against disease (-0.50).",
    ]


def test_without_a_mixture_or_values_nothing_is_made_up() -> None:
    assert clinical_words({"predicted": "ill", "novelty_p": 0.2}) == []
    assert clinical_words({"clinical_AGE": 0.01, "image_weight": float("nan")}) == [
        "The clinical values speak for neither side."
    ]
