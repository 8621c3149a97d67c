"""The card of a model as text: the important first, numbers short, hashes left out."""

from __future__ import annotations

from napari_amil.core.model.card import read_card, starter_path
from napari_amil.core.model.card_text import card_text


def test_the_text_names_use_data_and_results_in_that_order() -> None:
    card = {
        "results": {"accuracy": 0.91234, "n_bags": 98},
        "scorer": {
            "cohort_hash": "abc",
            "taught": {"images": ["1f"]},
            "n_cells": 12345,
            "classes": ["control", "ill"],
            "stopped": None,
        },
        "intended_use": "For research only.",
        "extra_entry": True,
    }
    assert card_text(card).splitlines() == [
        "Intended use: For research only.",
        "Scorer",
        "  cells: 12,345",
        "  classes: control, ill",
        "  stopped: not known",
        "Results on what was held out: accuracy 0.912, samples 98",
        "Extra entry: yes",
    ]


def test_the_card_that_ships_has_a_text() -> None:
    text = card_text(read_card(starter_path())["card"])
    assert text.startswith("Intended use: For research only")
    assert "{" not in text
