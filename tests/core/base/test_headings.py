"""Columns and numbers as people read them."""

from __future__ import annotations

import doctest

import numpy as np
import pytest

from napari_amil.core.base import headings


def test_the_examples_hold() -> None:
    found = doctest.testmod(headings)
    assert found.attempted >= 2
    assert not found.failed


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (0.00823, "0.00823"),
        (np.float64(2e-14), "< 0.001"),
        (-0.0002, "> -0.001"),
        (123456.0, "123456"),
        (np.nan, "-"),
        (None, "-"),
        ("", "-"),
        (17, "17"),
    ],
)
def test_no_number_is_told_in_powers_of_ten(value: object, text: str) -> None:
    assert headings.shown(value) == text


def test_every_column_has_words() -> None:
    assert headings.heading("novelty_p").meaning.startswith("How probable a sample")
    assert headings.heading("unheard_of") == ("unheard_of", "unheard_of")
    assert all(words.meaning.endswith(".") for words in headings.HEADINGS.values())
