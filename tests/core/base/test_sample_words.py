"""Sentences about the row of a sample."""

from __future__ import annotations

import math

from napari_amil.core.base.sample_words import diameter_sentence


def test_an_uncertain_size_is_said_with_the_way_to_give_it() -> None:
    sentence = diameter_sentence({"diameter_px": 78.4, "diameter_confidence": 0.41})
    assert "uncertain (78 px, confidence 0.41)" in sentence
    assert "--diameter" in sentence


def test_a_sure_or_unknown_size_is_passed_over() -> None:
    assert diameter_sentence({"diameter_px": 78.4, "diameter_confidence": 0.9}) == ""
    assert diameter_sentence({"diameter_px": 78.4, "diameter_confidence": math.nan}) == ""
    assert diameter_sentence({"bag": "a"}) == ""
