"""Put the best clusters of the classes that were left out side by side: ``make_cluster_sheet.py UNSEEN``.

UNSEEN is what ``napari-amil unseen COHORT --out UNSEEN --leave-out all --hold-out-fold F`` has written, with
true cell types in the cohort.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pandas as pd
from PIL import Image

TARGET = Path(__file__).parent / "images" / "unseen-clusters.jpg"
_COLUMNS, _QUALITY = 2, 82


def main() -> int:
    """Write the sheet and return 0."""
    folder = Path(sys.argv[1])
    table = pd.read_csv(folder / "clusters.csv", dtype={"cluster": str})
    found = table[table["samples"] == "unexplained"]
    sheets = [
        Image.open(folder / f"scored-{name}" / "exploration" / "figures" / f"cluster-{cluster}.png").convert(
            "RGB"
        )
        for name, cluster in zip(found["unseen"], found["cluster"], strict=True)
    ]
    width, height = (max(getattr(sheet, side) for sheet in sheets) for side in ("width", "height"))
    rows = -(-len(sheets) // _COLUMNS)
    whole = Image.new("RGB", (_COLUMNS * width, rows * height), "white")
    for number, sheet in enumerate(sheets):
        whole.paste(sheet, (number % _COLUMNS * width, number // _COLUMNS * height))
    whole.save(TARGET, quality=_QUALITY)
    return 0


if __name__ == "__main__":
    sys.exit(main())
