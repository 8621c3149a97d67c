"""Tables keep every digit, every name and every unknown, and are never half written."""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_amil.core.base.errors import AmilError, MissingExtraError
from napari_amil.core.base.optional import EXTRAS, optional
from napari_amil.core.exchange.tables import load_table, write_table

FORMATS = ["csv", pytest.param("parquet", marks=pytest.mark.skipif("not _has_pyarrow()"))]


def _has_pyarrow() -> bool:
    try:
        optional("pyarrow")
    except MissingExtraError:
        return False
    return True


def cells() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "image": ["007", "näher/b, c.png"],
            "cell_id": np.array([3, 2**60], np.int64),
            "y0": np.array([0.1, 1 / 3], np.float32),
            "touches_border": [True, False],
            "anomaly": [np.nan, 1 / 3],
            "status": ["scored", "excluded"],
        }
    )


@pytest.mark.parametrize("kind", FORMATS)
def test_a_table_comes_back_with_its_types(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "new folder" / f"cells.{kind}"
    write_table(cells(), path)
    back = load_table(path)
    assert list(back) == list(cells())
    assert back["image"].tolist() == ["007", "näher/b, c.png"]
    assert back["status"].tolist() == ["scored", "excluded"]
    assert back["cell_id"].tolist() == [3, 2**60]
    assert back["touches_border"].dtype == bool
    assert back["touches_border"].tolist() == [True, False]
    np.testing.assert_array_equal(back["y0"].to_numpy(np.float32), cells()["y0"])
    np.testing.assert_array_equal(back["anomaly"], cells()["anomaly"])
    assert [p.name for p in path.parent.iterdir()] == [path.name]


@settings(deadline=None, max_examples=40)
@given(st.lists(st.floats(allow_infinity=False), min_size=1, max_size=8))
def test_csv_keeps_every_digit(tmp_path_factory: pytest.TempPathFactory, values: list[float]) -> None:
    path = tmp_path_factory.mktemp("digits") / "cells.csv"
    write_table(pd.DataFrame({"image": "a", "anomaly": values}), path)
    np.testing.assert_array_equal(load_table(path)["anomaly"].to_numpy(float), values)


def test_a_file_is_replaced_only_by_a_whole_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "cells.csv"
    write_table(cells(), path)
    before = path.read_bytes()

    def fail(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pd.DataFrame, "to_csv", fail)
    with pytest.raises(AmilError, match=r"Cannot write .*cells\.csv.*No space left.*free space"):
        write_table(cells().head(1), path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["cells.csv"]


def test_lines_end_alike_everywhere(tmp_path: Path) -> None:
    write_table(cells(), tmp_path / "cells.csv")
    assert b"\r" not in (tmp_path / "cells.csv").read_bytes()


@pytest.mark.parametrize("name", ["cells.xlsx", "cells"])
def test_other_formats_are_refused(name: str, tmp_path: Path) -> None:
    for call in (lambda path: write_table(cells(), path), load_table):
        with pytest.raises(AmilError, match=rf"{name}' is no name of a table.*\.csv or \.parquet"):
            call(tmp_path / name)


def test_without_pyarrow_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    for call in (lambda path: write_table(cells(), path), load_table):
        with pytest.raises(MissingExtraError, match=r"'pyarrow'.*napari-amil\[parquet\]"):
            call(tmp_path / "cells.parquet")
    assert list(tmp_path.iterdir()) == []


def test_every_extra_is_declared(repository: Path) -> None:
    project = tomllib.loads((repository / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for package, extra in EXTRAS.items():
        wanted = project["optional-dependencies"][extra]
        name = package.partition(".")[0].replace("_", "-").lower()
        assert any(one.startswith(name) for one in wanted), package


def test_flags_are_true_or_false(tmp_path: Path) -> None:
    path = tmp_path / "cells.csv"
    path.write_text("image,overlaps\na,1\nb,FALSE\n", encoding="utf-8")
    assert load_table(path)["overlaps"].tolist() == [True, False]
    path.write_text("image,overlaps\na,maybe\n", encoding="utf-8")
    with pytest.raises(AmilError, match=r"'overlaps' of .*cells.csv' holds 'maybe'"):
        load_table(path)


@pytest.mark.skipif("not _has_pyarrow()")
def test_a_broken_parquet_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "cells.parquet"
    path.write_bytes(b"PAR1 nothing")
    with pytest.raises(AmilError, match=r"cells\.parquet' cannot be read"):
        load_table(path)


def test_words_for_unknown_in_a_column_of_numbers_are_missing(tmp_path: Path) -> None:
    words = ["n/a", "NA", "#N/A", "<NA>", "-", "?", "null", "", "nan"]
    rows = "".join(f"{word},{word},b\n" for word in words)
    (tmp_path / "a.csv").write_text("anomaly,mine,bag\n1.5,high,a\n" + rows)
    table = load_table(tmp_path / "a.csv")
    assert table["anomaly"].tolist()[0] == 1.5
    assert table["anomaly"].isna().sum() == len(words)
    assert table["mine"].tolist() == ["high", *words]
