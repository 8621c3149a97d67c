"""Time, memory and right choice on a made-up slide: the best fields found and scored on two processes.

Usage: python -m benchmarks.slides [--side 100000] [--fields 50] [--jobs 2] [--variants 16] [--json FILE]

The slide has a thick head, an ideal zone, a feathered edge, a strip out of focus and glass around them
(`SyntheticSlide`); its tiles repeat, so that the file is small. ``napari-amil slide`` runs in a process of
its own. A field counts as in the ideal zone if all four corners are.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

from benchmarks.tree_memory import run_watched
from napari_amil.core.base.files import read_json
from napari_amil.core.cohort.slide_synth import SyntheticSlide


def share_in_ideal_zone(slide: SyntheticSlide, fields: list[dict[str, int]]) -> float:
    """Return the share of fields that lie in the ideal zone."""
    inside = 0
    for field in fields:
        last = field["y"] + field["height"] - 1, field["x"] + field["width"] - 1
        corners = [(y, x) for y in (field["y"], last[0]) for x in (field["x"], last[1])]
        inside += all(slide.zone_at(*corner) == "ideal" for corner in corners)
    return inside / len(fields)


def main(arguments: list[str] | None = None) -> None:
    """Write a slide, score it, and print time and memory."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--side", type=int, default=100_000)
    parser.add_argument("--fields", type=int, default=50)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--variants", type=int, default=16)
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args(arguments)
    slide = SyntheticSlide.smear_of(chosen.side, chosen.variants)
    with tempfile.TemporaryDirectory() as folder:
        path, out = Path(folder) / "slide.ome.tif", Path(folder) / "out"
        slide.write(path, chosen.side)
        size_mb = path.stat().st_size / 1e6
        words = ["slide", path, "--out", out, "--fields", chosen.fields, "--jobs", chosen.jobs]
        start = time.perf_counter()
        used = run_watched([*words, "--device", "cpu"])
        wall_s = time.perf_counter() - start
        fields = read_json(out / "slides" / path.name / "fields.json")["fields"]
        receipt = read_json(out / "receipt.json")
    found = {
        "side_px": chosen.side,
        "file_mb": size_mb,
        "fields": len(fields),
        "in_ideal_zone": share_in_ideal_zone(slide, fields),
        "wall_s": wall_s,
        "processor_s": receipt["processor_s"],
        "peak_gb": used.peaks[1],
        "peak_gb_counted_for_each": used.peaks[0],
        "stages": receipt["stages"],
    }
    print(f"{chosen.side} x {chosen.side} px, {size_mb:.0f} MB on disk; {len(fields)} fields")
    print(f"in the ideal zone {found['in_ideal_zone']:.0%}")
    print(f"{wall_s:.0f} s in all, {receipt['processor_s']:.0f} s of the processor")
    print(f"{used.peaks[1]:.2f} GB at most, pages that processes share counted once (PSS)")
    print(f"{used.peaks[0]:.2f} GB at most, these pages counted for each process (RSS)")
    if chosen.json:
        chosen.json.write_text(json.dumps(found, indent=2), encoding="utf-8")


if __name__ == "__main__":
    main()
