"""The folder from which every figure of the documentation is made, of the published data set alone.

Usage: python examples/lay_out_chula.py DATASET CHULA

DATASET is a copy of https://github.com/Chula-PIC-Lab/Chula-RBC-12-Dataset, with its folders ``Dataset`` and
``Label``. CHULA gets ``images/``, ``cells.csv`` (labelled cells), ``fields.csv`` (one row a field) and
``bags.csv`` (composed bags), as the data card describes them. What the publishers do not give (slides,
folds, boxes and the dealing into bags) lies beside this script in ``chula/``, and every cell there is looked
up among the published labels first.
"""

from __future__ import annotations

import argparse
import csv
import lzma
import shutil
import sys
from collections import defaultdict
from pathlib import Path

TABLES = Path(__file__).with_name("chula")
NAMES = ("cells.csv", "fields.csv", "bags.csv")
IMAGES = (
    *((1, 12), (26, 39), (50, 93), (139, 141), (160, 194), (202, 244), (259, 292), (328, 364), (390, 422)),
    *((433, 468), (493, 516), (529, 558), (578, 606), (640, 678), (696, 719)),
)
"""First and last number of each run of fields; those between are kept for a test of their own."""
TYPES = (
    *("normal", "macrocyte", "microcyte", "spherocyte", "target", "stomatocyte", "ovalocyte", "teardrop"),
    *("burr", "schistocyte", "uncategorised", "hypochromia", "elliptocyte"),
)
"""Names of the published numbers."""
Label = tuple[int, int, str]
"""Place x, y and type of a cell."""


def packed(name: str) -> str:
    """Return the text of a table."""
    return lzma.decompress(TABLES.joinpath(f"{name}.xz").read_bytes()).decode("utf-8")


def published(dataset: Path, number: str) -> set[Label]:
    """Return the labels of a field as they were published."""
    lines = dataset.joinpath("Label", f"{number}.txt").read_text(encoding="utf-8").split("\n")
    rows = [tuple(map(int, line.split())) for line in lines if line.strip()]
    return {(x, y, TYPES[kind]) for x, y, kind in rows}


def check(dataset: Path) -> int:
    """Return the number of cells found among the published labels; refuse a data set that lacks one."""
    wanted: dict[str, set[Label]] = defaultdict(set)
    for row in csv.DictReader(packed("cells.csv").splitlines()):
        wanted[Path(row["image"]).stem].add((int(row["x"]), int(row["y"]), row["cell_type"]))
    for number, labels in wanted.items():
        if lost := labels - published(dataset, number):
            x, y, kind = min(lost)
            sys.exit(
                f"'{dataset / 'Label' / number}.txt' has no {kind} cell at {x}, {y}: this is another version "
                "of the data set, and figures made from it would be others."
            )
    return sum(map(len, wanted.values()))


def lay_out(dataset: Path, out: Path) -> None:
    """Copy the images and write the tables."""
    images = out / "images"
    images.mkdir(parents=True, exist_ok=True)
    for first, last in IMAGES:
        for number in range(first, last + 1):
            shutil.copyfile(dataset / "Dataset" / f"{number}.jpg", images / f"{number}.jpg")
    for name in NAMES:
        out.joinpath(name).write_text(packed(name), encoding="utf-8", newline="")
    shutil.copyfile(TABLES / "LICENSE", out / "LICENSE")


def main() -> None:
    """Check the data set and lay it out."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("chula", type=Path)
    options = parser.parse_args()
    try:
        n_cells = check(options.dataset)
        lay_out(options.dataset, options.chula)
    except OSError as error:
        sys.exit(f"'{error.filename}': {error.strerror}; give the folder that holds 'Dataset' and 'Label'.")
    sys.stdout.write(f"{n_cells} labelled cells, images and bags are in {options.chula}\n")


if __name__ == "__main__":
    main()
