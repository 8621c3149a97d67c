"""Boxes of Pascal VOC, and refusals that name the file."""

from __future__ import annotations

from pathlib import Path

import pytest

from napari_amil.core.base.errors import AmilError
from napari_amil.core.exchange.voc import read_voc

OBJECT = (
    "<object><name>{}</name><bndbox><xmin>{}</xmin><ymin>{}</ymin>"
    "<xmax>{}</xmax><ymax>{}</ymax></bndbox></object>"
)


def voc(*objects: tuple[str, int, int, int, int]) -> str:
    return "<annotation>" + "".join(OBJECT.format(*values) for values in objects) + "</annotation>"


def test_the_first_pixel_is_1_and_the_last_belongs_to_the_box(tmp_path: Path) -> None:
    path = tmp_path / "a.xml"
    path.write_text(voc(("RBC", 1, 11, 40, 50), ("Platelets", 70, 70, 80, 80)))
    assert read_voc(path).boxes.tolist() == [[10, 0, 50, 40], [69, 69, 80, 80]]
    assert read_voc(path, {"RBC"}).boxes.tolist() == [[10, 0, 50, 40]]
    path.write_text(voc())
    assert len(read_voc(path)) == 0


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("<annotation", r"a\.xml' is no Pascal VOC file"),
        ("<annotation><object><name>RBC</name></object></annotation>", "no Pascal VOC file with a bndbox"),
        ("<html></html>", "begins with <html>, not <annotation>"),
        (voc(("RBC", 40, 11, 1, 50)), "holds a box that cannot be used"),
    ],
)
def test_what_is_no_voc_is_refused_in_words(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "a.xml"
    path.write_text(text)
    with pytest.raises(AmilError, match=reason):
        read_voc(path)
