"""The images beside one in its folder, nearest by name first."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import PIL.Image
import tifffile

from napari_amil.core.images.neighbours import neighbours


def test_the_nearest_names_come_first_and_2_before_10(tmp_path: Path) -> None:
    for name in ("f1.png", "f2.png", "f3.png", "f10.png", "f11.png", ".f4.png", "notes.txt"):
        PIL.Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / name, format="PNG")
    found = [path.name for path, _ in neighbours(tmp_path / "f3.png", 0, 3)]
    assert found == ["f2.png", "f10.png", "f1.png"]
    assert [path.name for path, _ in neighbours(tmp_path / "f1.png", 0, 9)] == [
        "f2.png",
        "f3.png",
        "f10.png",
        "f11.png",
    ]


def test_pages_of_a_stack_have_each_other(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "stack.tif", np.zeros((4, 16, 16, 3), np.uint8), photometric="rgb")
    tifffile.imwrite(tmp_path / "other.tif", np.zeros((16, 16, 3), np.uint8), photometric="rgb")
    stack = tmp_path / "stack.tif"
    assert neighbours(stack, 2, 2) == [(stack, 1), (stack, 3)]


def test_a_file_that_is_gone_or_no_image_has_none(tmp_path: Path) -> None:
    assert neighbours(tmp_path / "gone.png", 0, 3) == []
    (tmp_path / "broken.tif").write_text("no image")
    assert neighbours(tmp_path / "broken.tif", 0, 3) == []
