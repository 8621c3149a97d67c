"""The published data set becomes the folder of the figures, or is refused where it is another one."""

from __future__ import annotations

import csv
import importlib.util
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).parents[1] / "examples" / "lay_out_chula.py"


@pytest.fixture(scope="module")
def script() -> Any:
    spec = importlib.util.spec_from_file_location("lay_out_chula", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def dataset(script: Any, tmp_path: Path) -> Path:
    """The labels as they were published, and an empty file for each image."""
    labels: dict[str, list[str]] = defaultdict(list)
    for row in csv.DictReader(script.packed("cells.csv").splitlines()):
        number = script.TYPES.index(row["cell_type"])
        labels[Path(row["image"]).stem].append(f"{row['x']} {row['y']} {number}")
    for folder in ("Dataset", "Label"):
        (tmp_path / "published" / folder).mkdir(parents=True)
    for image, lines in labels.items():
        (tmp_path / "published" / "Label" / f"{image}.txt").write_text("\n".join([*lines, ""]))
    for first, last in script.IMAGES:
        for image in range(first, last + 1):
            (tmp_path / "published" / "Dataset" / f"{image}.jpg").touch()
    return tmp_path / "published"


def run(script: Any, monkeypatch: pytest.MonkeyPatch, *arguments: Path) -> None:
    monkeypatch.setattr(sys, "argv", ["lay_out_chula.py", *map(str, arguments)])
    script.main()


def test_every_image_and_table_is_there(
    script: Any,
    dataset: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run(script, monkeypatch, dataset, tmp_path / "CHULA")
    assert capsys.readouterr().out.startswith("11774 labelled cells")
    out = tmp_path / "CHULA"
    assert len(list((out / "images").iterdir())) == 437
    rows = {name: list(csv.DictReader((out / name).read_text("utf-8").splitlines())) for name in script.NAMES}
    assert [len(rows[name]) for name in script.NAMES] == [11774, 370, 9637]
    boxes = {
        tuple(row[key] for key in ("image", "y0", "x0", "y1", "x1", "cell_type")) for row in rows["cells.csv"]
    }
    assert all(
        tuple(row[key] for key in ("image", "y0", "x0", "y1", "x1", "cell_type")) in boxes
        for row in rows["bags.csv"]
    )
    assert all((out / row["image"]).exists() for name in script.NAMES for row in rows[name])


def test_another_version_of_the_data_set_is_refused(
    script: Any, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SystemExit, match=r"Label.*; give the folder that holds 'Dataset' and 'Label'"):
        run(script, monkeypatch, tmp_path, tmp_path / "CHULA")
    path = dataset / "Label" / "707.txt"
    path.write_text(path.read_text().replace("572 461 12", "572 461 0"))
    with pytest.raises(
        SystemExit, match=r"707\.txt' has no elliptocyte cell at 572, 461: this is another version"
    ):
        run(script, monkeypatch, dataset, tmp_path / "CHULA")
    assert not (tmp_path / "CHULA").exists()


@pytest.mark.realdata
def test_the_tables_are_those_of_the_figures(script: Any, chula: Path) -> None:
    for name in script.NAMES:
        assert script.packed(name).encode() == (chula / name).read_bytes()
