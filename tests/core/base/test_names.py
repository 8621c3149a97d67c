"""Names of images never leave the folder of an export, and are names that any system takes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from napari_amil.core.base.files import replacing
from napari_amil.core.base.names import file_name, files_of_images, printable, relative_files


@pytest.mark.parametrize(
    "name", ["/etc/x.png", "../../x.png", "a/../../x.png", "C:\\x.png", "..\\x.png", ".."]
)
def test_no_name_leaves_its_folder(tmp_path: Path, name: str) -> None:
    (file,) = relative_files([name], ".geojson").values()
    assert not file.is_absolute()
    assert ".." not in file.parts
    assert (tmp_path / file).resolve().is_relative_to(tmp_path.resolve())


def test_plain_names_stay_and_no_two_names_have_one_file() -> None:
    names = ["one.png", "sub/two.png", "a:b.png", "a_b.png", "A_B.png", "../one.png", "[red]x.png"]
    assert [file.as_posix() for file in relative_files(names, ".geojson").values()] == [
        "one.png.geojson",
        "sub/two.png.geojson",
        "a_b.png.geojson",
        "a_b.png-2.geojson",
        "A_B.png-3.geojson",
        "one.png-2.geojson",
        "[red]x.png.geojson",
    ]


def test_files_of_images_are_called_like_them_where_no_two_are_called_alike() -> None:
    names = ["one.png", "sub/two.ome.tif", "twin.png", "Twin.jpg", "page.tif#2", ".png", "none"]
    assert [file.as_posix() for file in files_of_images(names, ".txt").values()] == [
        "one.txt",
        "sub/two.ome.txt",
        "twin.png.txt",
        "Twin.jpg.txt",
        "page.tif#2.txt",
        ".png.txt",
        "none.txt",
    ]


def test_long_and_undecodable_names_can_be_written(tmp_path: Path) -> None:
    names = ["x" * 251 + ".png", "x" * 250 + "y.png", "ü" * 125, os.fsdecode(b"caf\xe9.png")]
    files_ = relative_files(names, ".geojson")
    for file in files_.values():
        with replacing(tmp_path / file) as partial:
            partial.write_text("{}")
    assert len(list(tmp_path.iterdir())) == 4
    assert printable(names[-1]) == "caf\\udce9.png"
    assert file_name(names[-1]).encode()
