"""Time of one field from pixels to scores and verdict, beside the networks that one would use instead.

Usage: python -m benchmarks.whole_path [--image FILE] [--threads 1] [--rounds 5] [--processor] [--json FILE]

The methods take turns in one process, round after round, on the same field and with the same number of
threads; the median of each counts. Ours finds, measures, embeds and scores every cell, with the starter
bundle. The others are networks alone with random weights, without what follows them, so that their rows are
lower bounds:

* torchvision's maskrcnn_resnet50_fpn, as built and silent (see detection_speed.py);
* the U-Net of Cellpose 3, on the field scaled to cells of 30 pixels, if ``cellpose<4`` is installed;
* the transformer of Cellpose 4, SAM's ViT-L with patches of 8 pixels, as built by ``timm`` (with --sam; about
  a minute a round).

Of ours the floating-point operations of the networks are counted, and timed as one large matrix product would
take in the same process: no implementation in float32 is faster than that.

Both of Cellpose see the tiles that ``cellpose`` cuts with its default overlap.
"""

from __future__ import annotations

import argparse
import importlib
import json
import math
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.detection_speed import AS_BUILT, SILENT, Method, take_turns, torchvision_default
from napari_amil.core.base.events import drain
from napari_amil.core.base.types import Image
from napari_amil.core.cohort.synth import SynthSettings, synthetic_smear
from napari_amil.core.images.read import read_image
from napari_amil.core.instances.extract import detect_prepared
from napari_amil.core.pipeline import (
    Recipe,
    detect_field,
    load_bundle,
    measured_field,
    pick_device,
    prepare,
    score_bag,
)

OURS = "napari-amil, detected and scored"
DETECTED = "napari-amil, detected"
_OVERLAP = 0.1
_UNET_PX, _UNET_DIAMETER_PX = 224, 30.0
_SAM_PX, _SAM_PATCH_PX = 256, 8
_PRODUCT_SIDE = 2048


def detected_and_scored(recipe: Recipe) -> Method:
    """Return the way from the pixels of a field to scores and verdict, which ``score`` goes as well."""

    def run(image: Image) -> int:
        seen, candidates = drain(detect_prepared(prepare(image, recipe), recipe))
        cells = candidates.select(recipe.settings.selection)
        known = drain(measured_field(seen, cells, recipe))
        score_bag("sample", {"field": cells}, known, recipe)
        return len(cells)

    return run


def detected(recipe: Recipe) -> Method:
    """Return the way from the pixels of a field to its cells."""
    return lambda image: len(drain(detect_field(image, recipe)).select(recipe.settings.selection))


def in_tiles(network: nn.Module, channels: int, tile_px: int, shrink: float) -> Method:
    """Return the passes of a network over as many tiles as Cellpose cuts of a field; it reports the tiles."""
    network.eval()
    tile = torch.rand(1, channels, tile_px, tile_px)

    def run(image: Image) -> int:
        n_tiles = math.prod(n_tiles_of(side * shrink, tile_px) for side in image.shape[:2])
        with torch.inference_mode():
            for _ in range(n_tiles):
                network(tile)
        return n_tiles

    return run


def n_tiles_of(side: float, tile_px: int) -> int:
    """Return the number of tiles that Cellpose lays along a side."""
    return 1 if side <= tile_px else math.ceil((1 + 2 * _OVERLAP) * side / tile_px)


def cellpose_networks(diameter_px: float, *, sam: bool) -> dict[str, Method]:
    """Return the networks of Cellpose that are installed, by title."""
    found: dict[str, Method] = {}
    try:
        unet = importlib.import_module("cellpose.resnet_torch").CPnet([2, 32, 64, 128, 256], 3, sz=3)
    except ImportError:
        print("The U-Net of Cellpose is left out: 'cellpose<4' is not installed.")
    else:
        shrink = _UNET_DIAMETER_PX / diameter_px
        found["Cellpose 3, U-Net alone"] = in_tiles(unet, 2, _UNET_PX, shrink)
    if sam:
        timm = importlib.import_module("timm")
        vit = timm.create_model("samvit_large_patch16", img_size=_SAM_PX, patch_size=_SAM_PATCH_PX)
        found["Cellpose 4, ViT-L of SAM alone"] = in_tiles(vit, 3, _SAM_PX, 1.0)
    return found


def operations(method: Method, image: Image) -> int:
    """Return the floating-point operations of the convolutions and matrix products of a method."""
    with FlopCounterMode(display=False) as counter:
        method(image)
    return counter.get_total_flops()


def product_rate(rounds: int, clock: Callable[[], float]) -> float:
    """Return the operations a second of a large matrix product, in the fastest of some rounds."""
    left, right = torch.rand(2, _PRODUCT_SIDE, _PRODUCT_SIDE)
    seconds = []
    for _ in range(rounds):
        start = clock()
        left @ right
        seconds.append(clock() - start)
    return 2 * _PRODUCT_SIDE**3 / min(seconds)


def main() -> None:
    """Print one row a method and its ratio to ours."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--image", type=Path, help="a field; without it a made-up smear of 640 x 480")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--processor", action="store_true", help="seconds of the processor: it is busy")
    parser.add_argument("--sam", action="store_true", help="time the transformer of Cellpose 4, too")
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    image = read_image(chosen.image) if chosen.image else synthetic_smear(0, SynthSettings()).image
    recipe = Recipe.from_bundle(load_bundle(None), None, pick_device("cpu"))
    cells = drain(detect_field(image, recipe)).select(recipe.settings.selection)
    diameter_px = float((cells.boxes[:, 2:] - cells.boxes[:, :2]).mean())
    methods: dict[str, Method] = {
        OURS: detected_and_scored(recipe),
        DETECTED: detected(recipe),
        AS_BUILT: torchvision_default(silent=False),
        SILENT: torchvision_default(silent=True),
        **cellpose_networks(diameter_px, sam=chosen.sam),
    }
    clock = time.process_time if chosen.processor else time.perf_counter
    results = take_turns(methods, image, chosen.rounds, clock)
    print(f"{image.shape[1]} x {image.shape[0]}, {len(cells)} cells, {chosen.threads} threads")
    for name, row in results.items():
        spread = f"{row['least_s']:.3f} to {row['largest_s']:.3f}"
        ratio = row["median_s"] / results[OURS]["median_s"]
        print(f"{name:34} {row['median_s']:7.3f} s ({spread})  {ratio:6.2f} x ours")
    rate = product_rate(chosen.rounds, clock)
    for name in (OURS, DETECTED):
        row = results[name]
        row["operations"] = operations(methods[name], image)
        row["product_s"] = row["operations"] / rate
        print(
            f"{name}: {row['operations'] / 1e9:.1f} GFLOP, {row['product_s']:.3f} s as a matrix product "
            f"({rate / 1e9:.0f} GFLOP/s); takes {row['least_s'] / row['product_s']:.1f} times that"
        )
    if chosen.json:
        chosen.json.write_text(json.dumps(results, indent=2), encoding="utf-8")


if __name__ == "__main__":
    main()
