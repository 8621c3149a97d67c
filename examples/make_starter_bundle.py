"""Make the starter bundle again: detector, then scorer, both without the slides and patients of fold 2.

Usage: python examples/make_starter_bundle.py CHULA_SLIDES RUN_FOLDER [--others OTHER_MICROSCOPES]

Runs the commands that a user would run, measures cells found and scored on the held-out slides, puts
the results on the card, and writes ``RUN_FOLDER/starter.safetensors``. The detector learns twice: from
Chula's slides alone, then from these, from boxes of other microscopes with white cells, and from made-up
smears. On a busy CPU core that takes about two hours, the scorer about twenty minutes. A step that was
interrupted goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd

from napari_amil.core.base.outputs import make_folder
from napari_amil.core.exchange.tables import write_table
from napari_amil.core.model.bundle import Bundle, load_bundle, save_bundle

HELD_OUT = "2"
DETECTOR_STEPS = "2600"
CONTROL = "control"
PLACE = ["image", "y0", "x0", "y1", "x1"]
BAGS_PER_SLIDE, CELLS_PER_BAG, FEWEST_CELLS = 8, 30, 12
"""Numbers of the additional control bags; chosen on folds 0 and 1."""
FURTHER_STEPS = "2400"
MADE_SMEARS = "80"
ROOT = Path(__file__).parents[1]


def run(*arguments: str | Path) -> None:
    """Run a command of this Python and stop if it fails."""
    subprocess.run([sys.executable, *map(str, arguments)], check=True, cwd=ROOT)


def amil(*arguments: str | Path) -> None:
    """Run ``napari-amil``."""
    run("-c", "from napari_amil.cli import main; main()", *arguments)


def main() -> None:
    """Train, measure and write the bundle."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--others", type=Path, help="default: other_microscopes beside CHULA_SLIDES")
    chosen = parser.parse_args()
    cohort, out = chosen.data.resolve() / "bags.csv", chosen.out.resolve()
    others = (chosen.others or chosen.data.resolve().parent / "other_microscopes").resolve()
    first, detector, scorer = out / "detector-chula", out / "detector", out / "scorer"
    taught = with_normal_cells(cohort, out / cohort.parent.name)
    own = ("--self-annotate", "--hold-out-fold", HELD_OUT)
    amil("train-detector", cohort, "--out", first, *own, "--start", "nothing", "--steps", DETECTOR_STEPS)
    boxes = teaching_boxes(others, out / "others")
    more = ("--also", boxes, "--class", "RBC", "--white", "WBC", "--made", MADE_SMEARS)
    further = ("--start", first / "bundle.safetensors", "--learning-rate", "5e-4", "--steps", FURTHER_STEPS)
    amil("train-detector", cohort, "--out", detector, *own, *more, *further)
    bundle = detector / "bundle.safetensors"
    without_2 = ("--hold-out-fold", HELD_OUT, "--allow", "mixed-labels")
    amil("train", taught, "--out", scorer, "--bundle", bundle, *without_2)
    trained = scorer / "bundle.safetensors"
    quality, fields = out / "detection.json", out / "whole_fields.json"
    if not quality.exists():
        benchmark("detection_quality", cohort.parent, trained, quality, "--only", "Otsu")
    if not fields.exists():
        benchmark("whole_fields", cohort.parent, trained, fields)
    save_bundle(with_results(load_bundle(trained), quality, fields), out / "starter.safetensors")


def with_normal_cells(cohort: Path, folder: Path) -> Path:
    """Write the cohort with further control bags into ``folder``, and return its table.

    The bags of controls come from a few slides, and every class from its own, so that a network may learn
    slides in place of cells. So normal cells of the slides of diseased bags make control bags of their
    own, slide by slide. They teach the classes, and how far normal cells of other slides lie; a cell is
    measured against the controls proper. The held-out fold stays as it is.
    """
    table = pd.read_csv(cohort)
    table = table.assign(control_reference=1)
    cells = table[(table["fold"] != int(HELD_OUT)) & (table["cell_type"] == "normal")]
    in_controls = table.loc[table["label"] == CONTROL, PLACE].drop_duplicates()
    cells = cells.drop_duplicates(PLACE).merge(in_controls, on=PLACE, how="left", indicator=True)
    parts = [table]
    for slide, own in cells[cells["_merge"] == "left_only"].groupby("slide"):
        for number in range(BAGS_PER_SLIDE if len(own) >= FEWEST_CELLS else 0):
            size = min(CELLS_PER_BAG, math.ceil(0.75 * len(own)))
            bag = own.sample(size, random_state=number)[table.columns]
            names = {"bag": f"normal-{slide}-{number}", "patient": f"normal-{slide}"}
            parts.append(bag.assign(**names, label=CONTROL, control_reference=0))
    images = make_folder(folder) / "images"
    if not images.exists():
        images.symlink_to(cohort.parent / "images")
    write_table(pd.concat(parts), folder / "bags.csv")
    return folder / "bags.csv"


def teaching_boxes(others: Path, folder: Path) -> Path:
    """Copy the images of other microscopes that teach, and return the table of their boxes.

    Even numbers teach but for every fifth of them, on which the detector was chosen; odd ones are measured.
    """
    boxes = pd.read_csv(others / "boxes.csv")
    number = boxes["image"].str.extract(r"(\d+)\.jpg$")[0].astype(int)
    boxes = boxes[(number % 2 == 0) & (number % 10 != 0)]
    for image in boxes["image"].unique():
        (folder / image).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(others / image, folder / image)
    boxes.to_csv(folder / "boxes.csv", index=False)
    return folder / "boxes.csv"


def benchmark(name: str, data: Path, bundle: Path, found: Path, *further: str) -> None:
    """Run a benchmark on the held-out fold and keep its figures in ``found``."""
    options = ("--bundle", bundle, "--fold", HELD_OUT, "--json", found)
    run("-m", f"benchmarks.{name}", data, *options, *further)


def with_results(trained: Bundle, quality: Path, fields: Path) -> Bundle:
    """Return the bundle with the name, the data and the results on its card."""
    return trained.with_card(
        name="starter",
        data="Chula RBC-12 (arXiv 2012.01321, MIT licence) dealt by slide, composed bags, folds 0 and 1, and "
        "control bags of normal cells of the same slides, which are no reference; the detector also "
        "TXL-PBC (MIT licence; pbc and w575, even numbers) and made-up smears",
        held_out="fold 2: whole slides and composed patients; the results are measured there. Of TXL-PBC the "
        "images with odd numbers",
        results={
            "detection": json.loads(quality.read_text())["rows"]["as it is"],
            "scores": trained.card["results"],
            "whole_fields": json.loads(fields.read_text())["cells"],
        },
    )


if __name__ == "__main__":
    main()
