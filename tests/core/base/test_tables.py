"""Tables are read as spreadsheets save them; the sentence names the true reason where they are not."""

from __future__ import annotations

import os
from pathlib import Path

import pandas as pd
import pytest

from napari_amil.core.base.errors import CohortError
from napari_amil.core.base.tables import read_table, refuse_twin_columns


@pytest.mark.parametrize("twins", [("Label", "label"), ("patient", "Patient"), ("Straße", "STRASSE")])
def test_columns_that_differ_only_by_case_are_refused(twins: tuple[str, str]) -> None:
    found = pd.DataFrame({twins[0]: ["a"], "image": ["b"], twins[1]: ["c"]})
    with pytest.raises(CohortError, match=f"'t.csv' has two columns .* case, '{twins[0]}' and '{twins[1]}'"):
        refuse_twin_columns(Path("t.csv"), found)
    refuse_twin_columns(Path("t.csv"), found[[twins[0], "image"]])


def table(folder: Path, text: str, encoding: str = "utf-8") -> Path:
    path = folder / "cells.csv"
    path.write_bytes(text.encode(encoding))
    return path


PLAIN = "image,y0,site\na.png,1.5,x\nb.png,20,y\n"
WRITTEN = {
    "plain": PLAIN,
    "a first line sep=": "sep=,\n" + PLAIN,
    "sep= with a bar": "sep=|\r\n" + PLAIN.replace(",", "|"),
    "quoted sep=": '"sep=;"\n' + PLAIN.replace(",", ";"),
    "empty columns at the end": "image,y0,site,,\na.png,1.5,x,,\nb.png,20,y,,\n",
    "empty fields at the end of rows": "image,y0,site\na.png,1.5,x,,,\nb.png,20,y\n",
    "empty rows": "image,y0,site\na.png,1.5,x\n,,\nb.png,20,y\n , ,\n",
    "semicolons and decimal commas": "image;y0;site\na.png;1,5;x\nb.png;20;y\n",
    "tabulators and decimal commas": "image\ty0\tsite\na.png\t1,5\tx\nb.png\t20\ty\n",
    "comments above and below the header": "# by hand\n# y0, in pixels\nimage,y0,site\n# first, slide\n"
    "a.png,1.5,x\nb.png,20,y\n#,,\n",
}


@pytest.mark.parametrize("text", WRITTEN.values(), ids=WRITTEN.keys())
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_tables_of_spreadsheets_are_read(tmp_path: Path, text: str, encoding: str) -> None:
    found = read_table(table(tmp_path, text, encoding))
    assert found.to_dict("list") == {"image": ["a.png", "b.png"], "y0": ["1.5", "20"], "site": ["x", "y"]}


def test_rows_keep_the_number_that_a_spreadsheet_shows(tmp_path: Path) -> None:
    text = "sep=,\n# remark\nimage,y0\na.png,1\n\nb.png,2\n"
    assert (read_table(table(tmp_path, text)).index + 2).tolist() == [4, 6]
    assert (read_table(table(tmp_path, "image,y0\na.png,1\n")).index + 2).tolist() == [2]


def test_names_and_comma_tables_keep_their_commas(tmp_path: Path) -> None:
    found = read_table(table(tmp_path, "image;bag;label;y0\n1,5;2,5;3,5;4,5\n"))
    assert found.iloc[0].tolist() == ["1,5", "2,5", "3,5", "4.5"]
    assert read_table(table(tmp_path, 'image,y0\na.png,"1,234"\n'))["y0"].tolist() == ["1,234"]


def test_a_row_that_begins_with_a_hash_is_kept_where_it_is_full(tmp_path: Path) -> None:
    assert read_table(table(tmp_path, "bag,y0\n#1,5\n"))["bag"].tolist() == ["#1"]


@pytest.mark.parametrize(
    ("text", "encoding", "reason"),
    [
        ("", "utf-8", "no row below its header"),
        ("image,y0\n", "utf-8", "no row below its header"),
        ("image,y0\na.png,1,5\n", "utf-8", "Row 2 .* 3 fields but the header 2; .* decimal comma"),
        ("image;y0\na.png;1;5\n", "utf-8", "Row 2 .* 3 fields but the header 2; quote texts that hold the d"),
        ("image,y0,y0\na,1,2\n", "utf-8", "two columns 'y0'"),
        ("a,,,b\n1,2,3,4\n", "utf-8", "several columns without a name"),
        ("image,y0\nMüller,1\n", "latin-1", "is not UTF-8 text; save it as 'CSV UTF-8'"),
        ("image,y0\na,1\n", "utf-16-le", "bytes that are no text"),
    ],
)
def test_the_true_reason_is_named(tmp_path: Path, text: str, encoding: str, reason: str) -> None:
    with pytest.raises(CohortError, match=reason) as caught:
        read_table(table(tmp_path, text, encoding))
    assert "\n" not in str(caught.value)


def test_what_is_no_file_is_refused_at_once(tmp_path: Path) -> None:
    (tmp_path / "x.csv").mkdir()
    os.mkfifo(tmp_path / "pipe.csv")
    for name in ("x.csv", "pipe.csv"):
        with pytest.raises(CohortError, match="not a file; give a file"):
            read_table(tmp_path / name)
    with pytest.raises(CohortError, match=r"cannot be read \(No such file"):
        read_table(tmp_path / "absent.csv")
