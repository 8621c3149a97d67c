"""Label images of any depth become cells whose masks are the labels again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import tifffile
from numpy.typing import NDArray
from skimage.draw import disk, polygon

from napari_amil.core.base.errors import AmilError
from napari_amil.core.exchange.labels import cells_of_labels, is_label_image, read_label_image
from napari_amil.core.images import tiff


def discs() -> NDArray[np.uint8]:
    """Return three discs, two of which touch and one that the border cuts."""
    labels = np.zeros((90, 120), np.uint8)
    for number, centre, radius in ((7, (30, 30), 12), (2, (30, 53), 12), (200, (80, 100), 15)):
        rows = disk(centre, radius, shape=labels.shape)
        labels[rows] = np.where(labels[rows] == 0, number, labels[rows])
    return labels


def test_outlines_fill_the_pixels_they_came_from() -> None:
    labels = discs()
    cells = cells_of_labels(labels)
    assert cells.cell_id.tolist() == [2, 7, 200]
    for number, box, outline, size in zip(
        cells.cell_id, cells.boxes, cells.outlines, cells.area_px, strict=True
    ):
        mask = labels == number
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        assert box.tolist() == [rows[0], columns[0], rows[-1] + 1, columns[-1] + 1]
        again = np.zeros_like(mask)
        again[polygon(outline[:, 0] - 0.5, outline[:, 1] - 0.5, mask.shape)] = True
        np.testing.assert_array_equal(again, mask)
        assert size == pytest.approx(mask.sum(), rel=0.02)


def test_the_largest_piece_counts_and_specks_are_none() -> None:
    labels = np.zeros((40, 40), np.int64)
    labels[5:15, 5:15] = 3_000_000_000
    labels[30, 30] = 3_000_000_000
    labels[35, 35] = 4
    cells = cells_of_labels(labels)
    assert cells.cell_id.tolist() == [3_000_000_000]
    assert cells.boxes.tolist() == [[5, 5, 15, 15]]
    assert len(cells_of_labels(np.zeros((40, 40), np.uint8))) == 0
    assert len(cells_of_labels(np.ones((40, 40), np.uint8))) == 1


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.png", np.uint8),
        ("a.png", np.uint16),
        ("a.tif", np.uint16),
        ("a.tif", np.int32),
        ("a.tif", np.float32),
    ],
)
def test_every_depth_is_read(tmp_path: Path, name: str, kind: type) -> None:
    labels = discs().astype(kind) * (1 if kind is np.uint8 else 100)
    if name.endswith("tif"):
        tifffile.imwrite(tmp_path / name, labels, compression="zlib")
    else:
        PIL.Image.fromarray(labels).save(tmp_path / name)
    found = read_label_image(tmp_path / name)
    assert found.dtype == np.int64
    np.testing.assert_array_equal(found, labels)


def test_a_stack_has_one_label_image_a_page(tmp_path: Path) -> None:
    stack = np.stack([discs(), discs()[::-1], discs()[:, ::-1], discs()[::-1], discs()]).astype(np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", stack)
    np.testing.assert_array_equal(read_label_image(tmp_path / "a.tif", 2), stack[2])


def test_what_is_no_label_image_is_refused_in_words(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.zeros((40, 40, 3), np.uint8), photometric="rgb")
    with pytest.raises(AmilError, match=r"a\.tif' is a colour picture; save the numbers"):
        read_label_image(path)
    tifffile.imwrite(path, np.full((40, 40), 0.5, np.float32))
    with pytest.raises(AmilError, match=r"a\.tif' holds fractions"):
        read_label_image(path)
    tifffile.imwrite(path, np.full((40, 40), -1, np.int16))
    with pytest.raises(AmilError, match=r"a\.tif' holds negative"):
        read_label_image(path)
    tifffile.imwrite(path, (discs() == 7).astype(np.uint8) * 255 + (discs() == 200).astype(np.uint8) * 255)
    with pytest.raises(AmilError, match="marks all cells with the number 255; give each cell its own"):
        read_label_image(path)
    path.write_bytes(b"II*\0 cut")
    with pytest.raises(AmilError, match=r"a\.tif' cannot be read"):
        read_label_image(path)


def test_names_of_label_images() -> None:
    named = ("a_labels.png", "x/a_cp_masks.tif", "labels/a.png", "masks/x/a.TIFF")
    assert all(is_label_image(name) for name in named)
    assert not any(is_label_image(name) for name in ("a.png", "labels.png", "mask/a.png", "a_labels.jpg"))


def test_labels_with_a_last_axis_of_one_are_one_plane(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a_labels.tif", discs()[..., None])
    np.testing.assert_array_equal(read_label_image(tmp_path / "a_labels.tif"), discs())


def test_pages_of_a_label_image_are_no_images() -> None:
    assert is_label_image("a_labels.tif#2")
    assert is_label_image("masks/a.tif#12")
    assert not is_label_image("a.tif#2")


def test_a_label_image_that_claims_pages_without_end_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tiff, "MAX_PAGES", 2)
    with tifffile.TiffWriter(tmp_path / "a_labels.tif") as file:
        for _ in range(3):
            file.write(discs(), contiguous=False)
    with pytest.raises(
        AmilError, match=r"a_labels\.tif' cannot be read as a label image \(has more than 2 pages"
    ):
        read_label_image(tmp_path / "a_labels.tif")


def test_axes_of_one_around_a_label_image_do_not_count(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", discs()[None, ..., None])
    np.testing.assert_array_equal(read_label_image(tmp_path / "a.tif"), discs())
