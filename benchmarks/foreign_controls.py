"""Verdicts and flagged cells on control smears of another microscope, before and after `calibrate`.

Usage: python -m benchmarks.foreign_controls DATA [--sets pbc w575] [--controls 20 40] [--judged 12]

DATA holds ``other_microscopes``. Images with an odd number are used; choices were made on the even ones.
Some of them calibrate the model, others are judged: the share of their cells with q < 0.05, how many are
called control, how many get no class, and how many are given a disease. Each image counts as a patient.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from napari_amil.core.base.events import drain
from napari_amil.core.base.types import ABSTAIN, ANOMALOUS_Q, UNSEEN
from napari_amil.core.instances.sources import open_source
from napari_amil.core.pipeline import Recipe, load_bundle, pick_device
from napari_amil.core.pipeline.recalibrate import calibrate
from napari_amil.core.scoring.score import score_source


def judged(images: Sequence[Path], recipe: Recipe) -> dict[str, float]:
    """Return the number of control images by verdict, and the share of flagged cells."""
    control = recipe.bundle.settings.control
    scored = drain(score_source(open_source(list(images), control, "images"), recipe))
    verdicts = scored.bags["verdict"]
    withheld = int(verdicts.isin([ABSTAIN, UNSEEN]).sum())
    called = int((verdicts == control).sum())
    return {
        "images": len(verdicts),
        "flagged": float((scored.cells["anomaly_q"] < ANOMALOUS_Q).mean()),
        "called_control": called,
        "no_class": withheld,
        "disease": len(verdicts) - withheld - called,
        "most_probable_control": int((scored.bags["predicted"] == control).sum()),
    }


def row(name: str, controls: int, found: Mapping[str, float]) -> str:
    """Return one line of the table."""
    numbers = " ".join(f"{key} {value:.3g}" for key, value in found.items())
    return f"{name:6} calibrated on {controls:3} images: {numbers}"


def main(arguments: list[str] | None = None) -> None:
    """Print one row per set and number of control images."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--sets", nargs="+", default=["pbc", "w575"])
    parser.add_argument("--controls", nargs="+", type=int, default=[20, 40])
    parser.add_argument("--judged", type=int, default=12, help="images that are judged")
    parser.add_argument("--bundle", type=Path)
    parser.add_argument("--json", type=Path)
    wanted = parser.parse_args(arguments)
    recipe = Recipe.from_bundle(load_bundle(wanted.bundle), None, pick_device("auto"))
    control = recipe.bundle.settings.control
    results: dict[str, dict[int, dict[str, float]]] = {}
    for name in wanted.sets:
        folder = wanted.data / "other_microscopes" / name
        numbered = {int("".join(filter(str.isdigit, p.stem)) or 0): p for p in folder.rglob("*.jpg")}
        odd = [numbered[number] for number in sorted(numbered) if number % 2]
        spread = odd[:: max(1, len(odd) // (wanted.judged + max(wanted.controls)))]
        test, rest = spread[: wanted.judged], spread[wanted.judged :]
        results[name] = {0: judged(test, recipe)}
        print(row(name, 0, results[name][0]), flush=True)
        for count in wanted.controls:
            work = calibrate(open_source(rest[:count], control, "images"), recipe)
            found = drain(work)
            own = Recipe.from_bundle(found.bundle, None, recipe.device)
            keys = ("called_control", "reachable_p", "patients_wanted")
            held_out = {f"left_out_{key}": found.drift[key] for key in keys}
            results[name][count] = judged(test, own) | held_out
            print(row(name, count, results[name][count]), flush=True)
    if wanted.json:
        wanted.json.write_text(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()
