"""Memory and time of a large field: a made-up smear of 20,000 x 20,000 pixels, read tile by tile.

Usage: python benchmarks/large_field.py [--sides 5000 10000 20000] [--bundle FILE] [--threads 2] [--json FILE]

Every field is a made-up smear of 1,250 x 1,250 pixels, repeated, and stored as a tiled, compressed
OME-TIFF. Each is searched by a process of its own, so that the peak of its memory is its own; the number of
cells per megapixel must not depend on the size of the field, nor the seconds per megapixel.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tifffile
import torch
from numpy.typing import NDArray

from napari_amil.core.base.events import drain
from napari_amil.core.cohort.synth import SynthSettings, synthetic_smear
from napari_amil.core.images.read import find_images
from napari_amil.core.pipeline import Recipe, detect_images, load_bundle

_BLOCK_PX = 1250
_TILE_PX = 512
_CELLS_PER_BLOCK = 350
_BYTES_PER_UNIT = 1 if sys.platform == "darwin" else 1024  # of what the system calls the peak


def write_field(path: Path, side: int) -> None:
    """Write a field of ``side`` x ``side`` pixels without ever holding it."""
    settings = SynthSettings(height=_BLOCK_PX, width=_BLOCK_PX, n_cells=_CELLS_PER_BLOCK)
    block = synthetic_smear(0, settings).image

    def tiles() -> Iterator[NDArray[np.uint8]]:
        for y in range(0, side, _TILE_PX):
            for x in range(0, side, _TILE_PX):
                rows = np.arange(y, min(y + _TILE_PX, side)) % _BLOCK_PX
                columns = np.arange(x, min(x + _TILE_PX, side)) % _BLOCK_PX
                tile = np.zeros((_TILE_PX, _TILE_PX, 3), np.uint8)
                tile[: len(rows), : len(columns)] = block[np.ix_(rows, columns)]
                yield tile

    options = {"photometric": "rgb", "compression": "zlib", "ome": True, "metadata": {"axes": "YXS"}}
    tifffile.imwrite(path, tiles(), shape=(side, side, 3), dtype="u1", tile=(_TILE_PX,) * 2, **options)


def search(path: Path, bundle: Path | None, threads: int) -> dict[str, float]:
    """Find the cells of a field and return seconds, cells and the peak of this process's memory."""
    torch.set_num_threads(threads)
    recipe = Recipe.from_bundle(load_bundle(bundle), None, torch.device("cpu"))
    wall, processor = time.perf_counter(), time.process_time()
    ((_, cells),) = drain(detect_images(find_images([path]), recipe)).values()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _BYTES_PER_UNIT
    return {
        "wall_s": time.perf_counter() - wall,
        "processor_s": time.process_time() - processor,
        "cells": len(cells),
        "peak_gb": peak / 1e9,
    }


def main(arguments: list[str] | None = None) -> None:
    """Print one row per size."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sides", type=int, nargs="+", default=[5000, 10_000, 20_000])
    parser.add_argument("--bundle", type=Path)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--search", type=Path, help=argparse.SUPPRESS)
    chosen = parser.parse_args(arguments)
    if chosen.search:
        print(json.dumps(search(chosen.search, chosen.bundle, chosen.threads)))
        return
    rows = {}
    print("     side  megapixels   wall s  processor s  per megapixel  cells per megapixel  peak GB")
    for side in chosen.sides:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "field.ome.tif"
            write_field(path, side)
            command = [
                sys.executable,
                "-P",
                __file__,
                "--search",
                str(path),
                "--threads",
                str(chosen.threads),
            ]
            command += ["--bundle", str(chosen.bundle)] if chosen.bundle else []
            output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        row = rows[side] = json.loads(output.splitlines()[-1])
        size = side**2 / 1e6
        times = f"{row['wall_s']:7.0f}  {row['processor_s']:11.0f}  {row['processor_s'] / size:13.2f}"
        print(
            f"{side:9}  {size:10.1f}  {times}  {row['cells'] / size:19.1f}  {row['peak_gb']:7.2f}", flush=True
        )
    if chosen.json:
        chosen.json.write_text(json.dumps(rows, indent=2), encoding="utf-8")


if __name__ == "__main__":
    main()
