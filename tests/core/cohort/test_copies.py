"""Equal images are found whatever they are called, and the training does without those of the test."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from napari_amil.core.base.types import Bag, Cells, Cohort
from napari_amil.core.cohort.copies import image_digests, leave_out_copies


@pytest.fixture
def files(tmp_path: Path) -> dict[str, tuple[Path, int]]:
    """Five files; 'copy' is 'a' again, 'same size' is as long as 'a', 'gone' does not exist."""
    contents = {"a": b"12345", "b": b"123", "copy": b"12345", "same size": b"54321"}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    return {name: (tmp_path / name, 0) for name in (*contents, "gone")}


def test_content_decides_not_the_name(files: dict[str, tuple[Path, int]]) -> None:
    files["a, page 2"] = (files["a"][0], 1)
    digests = image_digests(files)
    assert digests["a"] == digests["copy"]
    assert len(set(digests.values())) == 4
    assert "gone" not in digests


def test_pixels_decide_not_the_bytes_of_the_file(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (64, 80, 3), dtype=np.uint8)
    PIL.Image.fromarray(pixels).save(tmp_path / "a.png")
    PIL.Image.fromarray(pixels).save(tmp_path / "b.tif")
    PIL.Image.fromarray(pixels[:, ::-1]).save(tmp_path / "c.png")
    digests = image_digests({name: (tmp_path / name, 0) for name in ("a.png", "b.tif", "c.png")})
    assert digests["a.png"] == digests["b.tif"] != digests["c.png"]


def cohort(**images: tuple[str, ...]) -> Cohort:
    cells = Cells(np.array([[0, 0, 9, 9]]))
    bags = tuple(
        Bag(
            bag,
            bag,
            names,
            dict.fromkeys(names, cells),
            "control",
            cell_type=dict.fromkeys(names, np.array(["x"])),
        )
        for bag, names in images.items()
    )
    return Cohort(".", bags, ("control",))


def test_images_of_the_test_part_leave_the_training_part(files: dict[str, tuple[Path, int]]) -> None:
    train = cohort(one=("a", "b"), two=("same size",), three=("copy",), four=("gone", "same size"))
    kept, copies, lost = leave_out_copies(train, cohort(test=("a", "gone")), files)
    assert copies == ("a", "copy", "gone")
    assert lost == ("three",)
    assert {bag.bag: bag.images for bag in kept} == {
        "one": ("b",),
        "two": ("same size",),
        "four": ("same size",),
    }
    assert set(kept.bags[0].cells) == set(kept.bags[0].cell_type) == {"b"}
    whole, none, _ = leave_out_copies(train, cohort(test=("other",)), files)
    assert whole is train
    assert none == ()
