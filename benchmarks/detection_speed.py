"""Time of one field: the light detector against torchvision's maskrcnn_resnet50_fpn, in one process.

Usage: python benchmarks/detection_speed.py [--bundle FILE] [--image FILE] [--threads 2] [--rounds 7]

The methods take turns, round after round, on the same field and with the same number of threads; the
median of each counts. Ours is timed with normalisation and outlines. torchvision's network has its
default settings and random weights, and is timed twice:

* as built: random weights report the 100 objects that its cap allows, all over the field, and draw
  their masks, as trained ones do on a smear with a hundred cells;
* silent: no object reaches the score threshold, so that its mask head is idle. This is a lower bound
  of its cost on any field.

Without --bundle our detector has random weights too and reports boxes all over the field; with
"--bundle starter" the one that ships with the program is timed.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torchvision.models.detection import MaskRCNN, maskrcnn_resnet50_fpn

from napari_amil.core.base.events import drain
from napari_amil.core.base.settings import DetectionSettings
from napari_amil.core.base.types import Image
from napari_amil.core.cohort.synth import SynthSettings, synthetic_smear
from napari_amil.core.detection.network import build_detector
from napari_amil.core.detection.predict import find_candidates
from napari_amil.core.images.normalise import normalise
from napari_amil.core.images.read import read_image
from napari_amil.core.model.bundle import load_bundle

OURS = "napari-amil"
AS_BUILT = "torchvision, as built"
SILENT = "torchvision, silent"

Method = Callable[[Image], int]
"""Finds the cells of a field and returns how many there are."""


def our_detector(bundle: str | None) -> MaskRCNN:
    """Return the light network: untrained, of the starter bundle, or of a file."""
    if bundle is None:
        torch.manual_seed(0)
        return build_detector().eval()
    return load_bundle(None if bundle == "starter" else Path(bundle)).need_detector()


def ours(detector: MaskRCNN) -> Method:
    """Return the way from the pixels of a field to outlines."""
    settings = DetectionSettings(candidate_score=0.5)
    detector.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def find(image: Image) -> int:
        return len(drain(find_candidates(detector, normalise(image), settings, torch.device("cpu"))).cells)

    return find


def torchvision_default(silent: bool) -> Method:
    """Return torchvision's network with its default settings and random weights."""
    torch.manual_seed(0)
    model = maskrcnn_resnet50_fpn(weights=None, weights_backbone=None).eval()
    if silent:
        model.roi_heads.score_thresh = 1.0

    def find(image: Image) -> int:
        pixels = torch.from_numpy(image.transpose(2, 0, 1).astype(np.float32) / 255)
        with torch.inference_mode():
            return len(model([pixels])[0]["boxes"])

    return find


def take_turns(
    methods: dict[str, Method], image: Image, rounds: int, clock: Callable[[], float] = time.perf_counter
) -> dict[str, dict[str, float]]:
    """Return the median, least and largest seconds of each method and how many cells it reported."""
    cells = {name: method(image) for name, method in methods.items()}  # the first run warms up
    seconds: dict[str, list[float]] = {name: [] for name in methods}
    for _ in range(rounds):
        for name, method in methods.items():
            start = clock()
            method(image)
            seconds[name].append(clock() - start)
    return {
        name: {
            "median_s": statistics.median(times),
            "least_s": min(times),
            "largest_s": max(times),
            "reported": cells[name],
        }
        for name, times in seconds.items()
    }


def main(arguments: list[str] | None = None) -> None:
    """Print one row per method and the ratios of the medians."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--bundle", help="a bundle, or 'starter'")
    parser.add_argument("--image", type=Path, help="a field; without it a made-up smear of 640 x 480")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args(arguments)
    torch.set_num_threads(chosen.threads)
    image = read_image(chosen.image) if chosen.image else synthetic_smear(0, SynthSettings()).image
    methods = {
        OURS: ours(our_detector(chosen.bundle)),
        AS_BUILT: torchvision_default(silent=False),
        SILENT: torchvision_default(silent=True),
    }
    results = take_turns(methods, image, chosen.rounds)
    size = f"{image.shape[1]} x {image.shape[0]}"
    print(f"{size}, {chosen.threads} threads, {chosen.rounds} rounds, {chosen.bundle or 'random weights'}")
    for name, row in results.items():
        spread = f"{row['least_s']:.3f} to {row['largest_s']:.3f}"
        ratio = row["median_s"] / results[OURS]["median_s"]
        times = f"{row['median_s']:7.3f} s ({spread})  {ratio:5.1f} x ours"
        print(f"{name:24} {times}  {row['reported']:.0f} reported")
    print(f"'{SILENT}' draws no mask: a lower bound of what torchvision's network costs.")
    if chosen.json:
        chosen.json.write_text(json.dumps(results, indent=2), encoding="utf-8")


if __name__ == "__main__":
    main()
