from __future__ import annotations

import pandas as pd

from napari_amil.core.base.types import ABSTAIN, UNSEEN
from napari_amil.plugin.reasons.sample_verdict import summary, verdict_words

BAG = {
    "predicted": "scd_like",
    "probability": {"control": 0.52, "scd_like": 0.46},
    "n_cells": 40,
    "share_q05": 0.1,
    "novelty_p": 0.3,
    "verdict": "scd_like",
    "verdict_settings": {"novelty": 0.05, "min_probability": 0.5, "min_cells": 5},
}


def test_a_class_is_named_with_its_novelty() -> None:
    said = verdict_words(BAG)
    assert said.headline == "Sickle-cell-like"
    assert said.reasons == (
        "It fits the known classes: 30 % of samples of known classes lie as far from all of them "
        "(novelty p = 0.3).",
    )
    assert verdict_words({**BAG, "novelty_p": float("nan")}).reasons == ()


def test_an_abstention_says_why() -> None:
    said = verdict_words({**BAG, "verdict": ABSTAIN})
    assert said.headline == "No verdict"
    assert said.reasons[:2] == (
        "No class reaches a probability of 50 %.",
        "Of the classes it knows, sickle-cell-like is the most probable (46 %).",
    )
    few = verdict_words({**BAG, "verdict": ABSTAIN, "n_cells": 3})
    assert few.reasons[0] == "3 cells are too few to judge by; 5 are needed."


def test_what_was_never_seen_is_called_so() -> None:
    said = verdict_words({**BAG, "verdict": UNSEEN, "novelty_p": 0.004})
    assert said.headline == "Unlike anything seen"
    assert said.reasons[0].startswith("Only 0.4 % of samples of known classes")


def test_an_old_worker_without_a_verdict_names_the_class() -> None:
    old = {name: BAG[name] for name in ("predicted", "probability", "n_cells")}
    assert verdict_words(old).headline == "Sickle-cell-like"


def test_the_share_and_what_stands_out_are_both_explained() -> None:
    shares = {"abnormal_share": 0.95, "abnormal_share_low": 0.6, "abnormal_share_high": 1.0}
    table = pd.DataFrame({"status": ["scored"]})
    sets = {"class_set": ("hs_like", "scd_like")}
    lines = summary({**BAG, **shares, **sets, "sample_p": 0.004, "share_q05": 0.0}, table)
    assert lines[1] == "About 95 % of its cells are abnormal (90 % interval 60 % to 100 %)."
    assert lines[2] == "Of control samples, 0.4 % score this high on average (sample p = 0.004)."
    assert lines[3].startswith("Only 0 % of the cells stand out one by one (q < 0.05); both can be true.")
    assert lines[4].startswith("For nine in ten new patients the class is among such a set: ")
    assert lines[4].endswith(": spherocytosis-like or sickle-cell-like.")
    assert not any("both can be true" in line for line in summary({**BAG, **shares, "share_q05": 0.5}, table))
    nothing = {**BAG, "abnormal_share": float("nan"), "sample_p": float("nan")}
    assert "is not known" in summary(nothing, table)[1]


def test_the_cells_are_summed_up() -> None:
    table = pd.DataFrame(
        {"touches_border": [True, True, False], "status": ["unscored", "scored", "excluded"]}
    )
    assert summary(BAG, table) == [
        "Judged from 40 cells.",
        "4 of its cells (10 %) are more unusual than chance explains.",
        "2 cut by the border of the image have no score.",
        "1 were left out by hand.",
    ]


def test_a_class_has_its_name_and_never_a_code() -> None:
    bag = {"predicted": "thal_like", "verdict": "thal_like", "probability": {"thal_like": 0.8}, "n_cells": 50}
    words = verdict_words(bag)
    assert (words.caption, words.headline) == ("This image looks", "Thalassaemia-like")
    unlike = verdict_words({**bag, "verdict": "unlike anything seen", "novelty_p": 0.01})
    assert "thalassaemia-like is the most probable (80 %)" in unlike.reasons[-1]
    own = {**bag, "predicted": "my_class", "verdict": "my_class", "probability": {"my_class": 1.0}}

    assert verdict_words(own).headline == "my class"


def test_the_look_of_the_image_is_said_once() -> None:
    look = "Unlike the images that the model knows: the cells are 3 times as large. Calibrate."
    table = pd.DataFrame({"status": ["scored"]})
    assert summary({**BAG, "look": look}, table)[0] == look
    withheld = {**BAG, "look": look, "verdict": ABSTAIN, "caveat": "Compared with the images ..."}
    assert summary(withheld, table)[0] == "Judged from 40 cells."


def test_a_share_that_may_be_anything_is_no_number() -> None:
    shares = {"abnormal_share": 0.78, "abnormal_share_low": 0.04, "abnormal_share_high": 0.99}
    lines = summary({**BAG, **shares}, pd.DataFrame({"status": ["scored"]}))
    assert lines[1] == "The share of abnormal cells cannot be estimated (90 % interval 4 % to 99 %)."
