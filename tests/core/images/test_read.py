"""Every usable image becomes one well-defined array; every other is refused in a sentence."""

from __future__ import annotations

from pathlib import Path

import imagecodecs
import numpy as np
import PIL.Image
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from napari_amil.core.base.errors import ImageError
from napari_amil.core.images import refusals
from napari_amil.core.images.read import ImageSource, find_images, locate, n_pages, natural_key, read_image

SHAPE = (40, 50)


@pytest.fixture
def colour() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (*SHAPE, 3), dtype=np.uint8)


def save(path: Path, array: np.ndarray, **options: object) -> Path:
    PIL.Image.fromarray(array).save(path, **options)
    return path


@pytest.mark.parametrize("extension", ["png", "PNG", "tif", "tiff"])
def test_rgb_comes_back_unchanged(tmp_path: Path, colour: np.ndarray, extension: str) -> None:
    path = save(tmp_path / f"a.{extension}", colour)
    image = read_image(path)
    assert image.dtype == np.uint8
    assert image.flags.c_contiguous
    np.testing.assert_array_equal(image, colour)


def test_jpeg_is_read_within_its_loss(tmp_path: Path) -> None:
    smooth = np.full((*SHAPE, 3), (200, 120, 140), np.uint8)
    image = read_image(save(tmp_path / "a.jpeg", smooth, quality=95))
    assert np.abs(image.astype(int) - smooth).max() <= 2


@pytest.mark.parametrize("extension", ["png", "jpg", "tif"])
def test_grey_has_three_equal_channels(tmp_path: Path, colour: np.ndarray, extension: str) -> None:
    image = read_image(save(tmp_path / f"a.{extension}", colour[..., 0]))
    assert image.shape == (*SHAPE, 3)
    np.testing.assert_array_equal(image[..., 0], image[..., 2])
    if extension != "jpg":
        np.testing.assert_array_equal(image[..., 1], colour[..., 0])


@pytest.mark.parametrize("extension", ["png", "tif"])
def test_alpha_is_composited_on_white(tmp_path: Path, extension: str) -> None:
    rgba = np.zeros((*SHAPE, 4), np.uint8)
    rgba[..., :3] = (100, 0, 200)
    rgba[:20, :, 3] = 255
    rgba[20:30, :, 3] = 51
    image = read_image(save(tmp_path / f"a.{extension}", rgba))
    assert image[0, 0].tolist() == [100, 0, 200]
    assert image[25, 0].tolist() == [224, 204, 244]
    assert image[39, 0].tolist() == [255, 255, 255]


def test_premultiplied_alpha_is_not_multiplied_again(tmp_path: Path) -> None:
    rgba = np.full((*SHAPE, 4), 51, np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", rgba, photometric="rgb", extrasamples=["assocalpha"])
    assert read_image(tmp_path / "a.tif")[0, 0].tolist() == [255, 255, 255]


def test_an_undeclared_fourth_channel_is_ignored(tmp_path: Path, colour: np.ndarray) -> None:
    four = np.dstack([colour, np.zeros(SHAPE, np.uint8)])
    tifffile.imwrite(tmp_path / "a.tif", four, photometric="rgb", extrasamples=["unspecified"])
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif"), colour)


@pytest.mark.parametrize(("brightest", "scale"), [(900, 1023), (1100, 4095), (4095, 4095), (9000, 16383)])
@pytest.mark.parametrize("extension", ["png", "tif"])
def test_16_bit_grey_is_scaled_by_the_smallest_full_scale(
    tmp_path: Path, brightest: int, scale: int, extension: str
) -> None:
    grey = np.linspace(0, brightest, 2000).reshape(SHAPE).astype(np.uint16)
    image = read_image(save(tmp_path / f"a.{extension}", grey))
    assert image.max() == round(255 * brightest / scale)
    np.testing.assert_allclose(image[..., 0], grey / scale * 255, atol=0.51)


def test_16_bit_rgb_keeps_its_bits_until_it_is_scaled(tmp_path: Path, colour: np.ndarray) -> None:
    twelve_bit = colour.astype(np.uint16) * 16
    twelve_bit[0, 0] = 4095
    tifffile.imwrite(tmp_path / "a.tif", twelve_bit, photometric="rgb")
    (tmp_path / "a.png").write_bytes(imagecodecs.png_encode(twelve_bit))
    wanted = np.rint(twelve_bit / 4095 * 255)
    np.testing.assert_allclose(read_image(tmp_path / "a.tif"), wanted, atol=1)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), read_image(tmp_path / "a.tif"))


def test_16_bit_rgba_tiff(tmp_path: Path, colour: np.ndarray) -> None:
    four = np.dstack([colour, np.full(SHAPE, 255, np.uint8)]).astype(np.uint16) * 257
    tifffile.imwrite(tmp_path / "a.tif", four, photometric="rgb", extrasamples=["unassalpha"])
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif"), colour)


@pytest.mark.parametrize("compression", [None, "lzw", "zlib"])
def test_channel_first_tiff_is_rgb(tmp_path: Path, colour: np.ndarray, compression: str | None) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.moveaxis(colour, -1, 0), photometric="rgb", compression=compression)
    assert n_pages(path) == 1
    np.testing.assert_array_equal(read_image(path), colour)


@pytest.mark.parametrize("imagej", [False, True])
def test_pages_of_a_grey_stack(tmp_path: Path, colour: np.ndarray, imagej: bool) -> None:
    stack = np.stack([colour[..., 0], colour[..., 1], colour[..., 2], colour[..., 0] // 2])
    path = tmp_path / "stack.tif"
    tifffile.imwrite(path, stack, photometric="minisblack", imagej=imagej)
    assert n_pages(path) == 4
    for page in range(4):
        np.testing.assert_array_equal(read_image(path, page)[..., 1], stack[page])
    with pytest.raises(ImageError, match=r"has 4 page\(s\), so there is no page 5"):
        read_image(path, 4)


def test_pages_of_different_sizes(tmp_path: Path, colour: np.ndarray) -> None:
    path = tmp_path / "mixed.tif"
    with tifffile.TiffWriter(path) as tif:
        tif.write(colour, photometric="rgb")
        tif.write(colour[:35], photometric="rgb")
    assert n_pages(path) == 2
    np.testing.assert_array_equal(read_image(path, 1), colour[:35])


def test_channels_of_an_imagej_composite(tmp_path: Path, colour: np.ndarray) -> None:
    path = tmp_path / "composite.tif"
    tifffile.imwrite(path, np.moveaxis(colour, -1, 0), imagej=True, metadata={"axes": "CYX"})
    assert n_pages(path) == 1
    np.testing.assert_array_equal(read_image(path), colour)


def test_white_is_zero_tiff_is_turned_round(tmp_path: Path, colour: np.ndarray) -> None:
    tifffile.imwrite(tmp_path / "a.tif", colour[..., 0], photometric="miniswhite")
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif")[..., 0], 255 - colour[..., 0])


@pytest.mark.parametrize("extension", ["png", "tif"])
def test_a_palette_is_looked_up(tmp_path: Path, extension: str) -> None:
    few = np.full((*SHAPE, 3), (10, 20, 30), np.uint8)
    few[:9] = (200, 100, 50)
    path = tmp_path / f"a.{extension}"
    PIL.Image.fromarray(few).quantize(2).save(path)
    np.testing.assert_array_equal(read_image(path), few)


def test_rows_and_columns_are_those_of_the_file(tmp_path: Path, colour: np.ndarray) -> None:
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    assert read_image(save(tmp_path / "a.jpg", colour, exif=exif)).shape == (*SHAPE, 3)


def _cut_tiff(path: Path) -> None:
    tifffile.imwrite(path, np.ones((200, 200, 3), np.uint8), photometric="rgb")
    path.write_bytes(path.read_bytes()[:5000])


def _cut_jpeg(path: Path) -> None:
    noise = np.random.default_rng(1).integers(0, 255, (100, 100, 3), dtype=np.uint8)
    save(path, noise)
    path.write_bytes(path.read_bytes()[:2000])


def _cmyk(path: Path) -> None:
    PIL.Image.new("CMYK", (50, 50)).save(path)


REFUSED = {
    "a.png": (lambda path: path.write_bytes(b""), "is empty"),
    "b.png": (lambda path: path.write_text("no image at all"), "holds no PNG, JPEG, BMP, WebP or TIFF data"),
    "c.jpg": (_cut_jpeg, "damaged or cut short"),
    "d.tif": (_cut_tiff, "cut short"),
    "e.tif": (lambda path: tifffile.imwrite(path, np.zeros(SHAPE, np.complex64)), "complex64"),
    "f.tif": (lambda path: tifffile.imwrite(path, np.full(SHAPE, -3, np.int16)), "values from -3 to -3"),
    "r.tif": (lambda path: tifffile.imwrite(path, np.full(SHAPE, np.nan, np.float32)), "not numbers"),
    "g.png": (lambda path: save(path, np.zeros((1, 1), np.uint8)), "only 1 x 1 pixels"),
    "h.tif": (lambda path: tifffile.imwrite(path, np.zeros((31, 400), np.uint8)), "only 400 x 31 pixels"),
    "i.gif": (lambda path: save(path, np.zeros(SHAPE, np.uint8)), "unknown extension"),
    "j.jpg": (_cmyk, "CMYK"),
    "k.tif": (_cmyk, "SEPARATED"),
    "l.png": (lambda path: PIL.Image.new("1", (50, 50)).save(path), "colour mode 1"),
    "m.png": (lambda path: PIL.Image.new("RGBA", (50, 50)).save(path), "wholly transparent"),
    "n.png": (lambda path: path.write_bytes(b"\x89PNG\r\n\x1a\n rubbish"), "damaged"),
    "o.tif": (lambda path: path.write_bytes(b"II*\0\x08\0\0\0"), "damaged"),
    "q.jpg": (lambda path: None, "does not exist"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_the_rest_is_refused_in_one_sentence(tmp_path: Path, name: str) -> None:
    write, reason = REFUSED[name]
    write(tmp_path / name)
    with pytest.raises(ImageError, match=reason) as caught:
        read_image(tmp_path / name)
    message = str(caught.value)
    assert name in message
    assert message.endswith(".")
    assert "\n" not in message


def test_a_decompression_bomb_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(tmp_path / "bomb.png", np.zeros((300, 300), np.uint8))
    monkeypatch.setattr(PIL.Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(ImageError, match="bomb"):
        read_image(path)
    monkeypatch.setattr(PIL.Image, "MAX_IMAGE_PIXELS", None)
    monkeypatch.setattr(refusals, "MAX_PIXELS", 1000)
    with pytest.raises(ImageError, match="300 x 300 pixels, more than 1,000"):
        read_image(path)


@given(hnp.arrays(np.uint8, st.sampled_from([(33, 35), (33, 35, 3)])))
def test_tiff_of_8_bits_survives_writing_and_reading(
    tmp_path_factory: pytest.TempPathFactory, array: np.ndarray
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.tif"
    tifffile.imwrite(path, array, photometric="rgb" if array.ndim == 3 else "minisblack")
    wanted = array if array.ndim == 3 else array[..., None].repeat(3, axis=-1)
    np.testing.assert_array_equal(read_image(path), wanted)


@pytest.mark.parametrize("extension", ["bmp", "webp", "jfif"])
def test_other_formats_of_pictures_are_found_and_read(
    tmp_path: Path, colour: np.ndarray, extension: str
) -> None:
    options = {"bmp": {}, "webp": {"lossless": True}, "jfif": {"format": "JPEG", "quality": 100}}
    path = save(tmp_path / f"a.{extension}", colour // 64 * 64, **options[extension])
    assert [source.path for source in find_images([tmp_path])] == [path]
    image = read_image(path)
    assert image.shape == colour.shape
    if extension != "jfif":
        np.testing.assert_array_equal(image, colour // 64 * 64)


def test_white_is_zero_tiff_of_12_bits_is_inverted_within_its_bits(tmp_path: Path) -> None:
    grey = np.linspace(0, 4095, 2000).reshape(SHAPE).astype(np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", grey, photometric="miniswhite")
    np.testing.assert_allclose(read_image(tmp_path / "a.tif")[..., 0], 255 - grey / 4095 * 255, atol=0.51)


def test_grey_with_alpha_and_planar_colours_are_read(tmp_path: Path, colour: np.ndarray) -> None:
    grey_alpha = np.dstack([colour[..., 0], np.full(SHAPE, 255, np.uint8)])
    PIL.Image.fromarray(grey_alpha, "LA").save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_image(tmp_path / "a.png")[..., 1], colour[..., 0])
    tifffile.imwrite(tmp_path / "b.tif", grey_alpha, photometric="minisblack", extrasamples=["unassalpha"])
    np.testing.assert_array_equal(read_image(tmp_path / "b.tif")[..., 1], colour[..., 0])
    planes = np.moveaxis(colour, 2, 0)
    tifffile.imwrite(tmp_path / "c.tif", planes, photometric="rgb", planarconfig="separate")
    np.testing.assert_array_equal(read_image(tmp_path / "c.tif"), colour)


def test_folders_are_searched_in_natural_order(tmp_path: Path, colour: np.ndarray) -> None:
    for name in ("10.png", "2.png", "sub dir/Zelle ä 1.PNG", ".hidden.png", ".secret/a.png", "note.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        if name.endswith("txt"):
            (tmp_path / name).write_text("x")
        else:
            save(tmp_path / name, colour, format="PNG")
    found = find_images([tmp_path])
    assert [source.name for source in found] == ["2.png", "10.png", "sub dir/Zelle ä 1.PNG"]
    np.testing.assert_array_equal(read_image(found[2].path), colour)


def test_files_folders_and_patterns_mix_and_count_once(tmp_path: Path, colour: np.ndarray) -> None:
    for name in ("a/1.png", "a/2.png", "b/1.png", "b/deep/1.tif"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        save(tmp_path / name, colour)
    given_inputs = [tmp_path / "a" / "2.png", tmp_path / "a", tmp_path / "b" / "**" / "*.tif"]
    names = [source.name for source in find_images(given_inputs)]
    assert names == ["2.png", "1.png", "deep/1.tif"]
    both = find_images([tmp_path / "a", tmp_path / "b"])
    assert [source.name for source in both] == ["a/1.png", "2.png", "b/1.png", "deep/1.tif"]


def test_a_stack_is_one_source_per_page(tmp_path: Path, colour: np.ndarray) -> None:
    tifffile.imwrite(tmp_path / "stack.tif", np.stack([colour, colour // 2]), photometric="rgb")
    (tmp_path / "torn.tif").write_bytes(b"II*\0")
    found = find_images([tmp_path])
    stack = tmp_path / "stack.tif"
    assert found[:2] == [ImageSource(stack, 0, "stack.tif"), ImageSource(stack, 1, "stack.tif#2")]
    assert found[2].name == "torn.tif"
    assert [locate(tmp_path, source.name) for source in found[:2]] == [(stack, 0), (stack, 1)]


def test_nothing_found_is_said(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="holds no image"):
        find_images([tmp_path])
    with pytest.raises(ImageError, match="no file or folder"):
        find_images([tmp_path / "nowhere"])
    with pytest.raises(ImageError, match="holds no image"):
        find_images([tmp_path / "*.png"])


@given(st.integers(0, 10**6), st.integers(0, 10**6))
def test_numbers_in_names_sort_by_value(first: int, second: int) -> None:
    assert (natural_key(f"a{first}.png") < natural_key(f"a{second}.png")) == (first < second)
