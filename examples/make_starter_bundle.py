"""Make the starter bundle again: detector, then scorer, both without the slides and patients of fold 2.

Usage: python examples/make_starter_bundle.py CHULA_FOLDER RUN_FOLDER

Runs the commands that a user would run, measures the detector on the held-out slides, puts the
results on the card, and writes ``RUN_FOLDER/starter.safetensors``. On one CPU core the detector
takes about half an hour and the scorer about a quarter of an hour. A step that was interrupted
goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

from napari_amil.core.model.bundle import load_bundle, save_bundle

HELD_OUT = "2"
DETECTOR_STEPS = "2000"
ROOT = Path(__file__).parents[1]


def run(*arguments: str | Path) -> None:
    """Run a command of this Python and stop if it fails."""
    subprocess.run([sys.executable, *map(str, arguments)], check=True)


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
    chosen = parser.parse_args()
    cohort, out = chosen.data / "bags.csv", chosen.out
    detector, scorer = out / "detector", out / "scorer"
    own = ("--self-annotate", "--hold-out-fold", HELD_OUT, "--steps", DETECTOR_STEPS)
    amil("train-detector", cohort, "--out", detector, *own)
    bundle = detector / "bundle.safetensors"
    amil("train", cohort, "--out", scorer, "--hold-out-fold", HELD_OUT, "--bundle", bundle)
    quality = out / "detection.json"
    run(
        ROOT / "benchmarks/detection_quality.py",
        chosen.data,
        "--bundle",
        bundle,
        "--fold",
        HELD_OUT,
        "--json",
        quality,
    )
    trained = load_bundle(scorer / "bundle.safetensors")
    results = {"detection": json.loads(quality.read_text())["Mask R-CNN"], "scores": trained.card["results"]}
    card = {
        "name": "starter",
        "data": "Chula RBC-12 (arXiv 2012.01321, MIT licence), composite bags, folds 0 and 1",
        "held_out": "fold 2: whole slides and whole patients; the results are measured there",
        "results": results,
    }
    save_bundle(trained.with_card(**card), out / "starter.safetensors")


if __name__ == "__main__":
    main()
