"""Pages: plain words with the right numbers, nothing that is not in the file, and nothing that runs."""

from __future__ import annotations

import base64
import io
import re
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import PIL.Image

from napari_amil.core.base.types import ABSTAIN, UNSEEN
from napari_amil.core.report.overlay import draw_overlay, percentile_colours, picture_uri
from napari_amil.core.report.page import Origin, Page, Picture, Section, bag_sentences, render_page

BAG = {
    "verdict": "ill",
    "probability_control": 0.2,
    "probability_ill": 0.8,
    "n_cells": 32,
    "share_q05": 0.25,
    "novelty_p": 0.031,
}
ORIGIN = Origin("starter", {"name": "s", "scorer": {"epochs": 3}}, "control: control\n", {"numpy": "2"})


class Tags(HTMLParser):
    """Collects what is opened and every address."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.opened: list[str] = []
        self.addresses: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.opened.append(tag)
        self.addresses += [str(value) for name, value in attrs if name in {"src", "href"}]


def test_a_bag_in_words() -> None:
    said = " ".join(bag_sentences(BAG, ["control", "ill"], "control"))
    assert "looks most like ill" in said
    assert "ill most probable (80 %), then control (20 %)" in said
    assert "8 of its 32 cells (25 %)" in said
    assert "3.1 %" in said
    sure = " ".join(bag_sentences({**BAG, "probability_ill": 0.99999}, ["control", "ill"], "control"))
    assert "ill most probable (> 99.9 %)" in sure
    for verdict, words in (
        (UNSEEN, "no known class"),
        (ABSTAIN, "abstains"),
        ("control", "looks like control"),
    ):
        assert words in bag_sentences({**BAG, "verdict": verdict}, ["control", "ill"], "control")[0]


def test_a_page_holds_everything_itself() -> None:
    picture = Picture(picture_uri(np.full((4, 6, 3), 200, np.uint8)), "Cells <of> a smear")
    bags = pd.DataFrame({"bag": ["a<b", "c"], "novelty_p": [0.0312345, np.nan]})
    shares = {"ill": 0.99996, "well": 0.00004}
    part = Section("Bags", [picture], shares, bags)
    text = render_page(Page("A <sample>", ["It is & was."], [part], {"c": "c.html"}), ORIGIN)
    tags = Tags(text)
    assert "For research only" in text
    assert "script" not in tags.opened
    assert tags.addresses == [picture.uri, "c.html"]
    assert not re.search(r"https?://", text)
    assert "A &lt;sample&gt;" in text
    assert "a&lt;b" in text
    assert '<td class="number">0.0312</td>' in text
    assert "Small: something new." in text  # the words of the column
    assert "&gt; 99.9 %" in text
    assert "&lt; 0.1 %" in text
    assert "epochs" in text
    assert "control: control" in text
    stored = base64.b64decode(picture.uri.partition(",")[2])
    assert PIL.Image.open(io.BytesIO(stored)).size == (6, 4)


def test_the_overlay_draws_each_cell_in_its_colour() -> None:
    field = np.zeros((60, 80, 3), np.uint8)
    square = np.array([[0, 0], [0, 20], [20, 20], [20, 0]], np.float32)
    percentile = np.array([100.0, 50.0, np.nan])
    drawn = draw_overlay(field, [square + 5, square + 35, square + np.float32([5, 50])], percentile)
    assert drawn.shape == field.shape
    colours = percentile_colours(percentile)
    assert colours[2].tolist() == [140, 140, 140]
    for colour, point in zip(colours, [(5, 15), (35, 45), (5, 65)], strict=True):
        assert drawn[point].tolist() == colour.tolist()
    assert draw_overlay(np.zeros((500, 2000, 3), np.uint8), [], np.array([])).shape == (250, 1000, 3)
