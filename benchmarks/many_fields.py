"""Time, memory and disk of a long run: many fields scored in one command, and a line through the rows.

Usage: python -m benchmarks.many_fields FOLDER [--fields 200] [--jobs 1] [--extrapolate 20000] [--json FILE]

The images of FOLDER are scored again and again under other names, each a sample of its own, until there are
as many as wanted. After every tenth of them stand the seconds of the processor, the memory of all processes
(pages that they share count once) and the bytes of the results so far, whose last row has the finished
tables. The second half of the run gives what a further field costs.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from itertools import cycle, islice
from pathlib import Path

import numpy as np

from benchmarks.tree_memory import Usage, run_watched
from napari_amil.core.images.read import find_images

Row = dict[str, float]


def linked(images: list[Path], n_fields: int, folder: Path) -> None:
    """Fill a folder with links to images, taken again and again."""
    folder.mkdir()
    for number, path in enumerate(islice(cycle(images), n_fields)):
        (folder / f"{number:05}-{path.name}").symlink_to(path.resolve())


def bytes_in(folder: Path) -> int:
    """Return the bytes of all files in a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def measure(images: Path, n_fields: int, jobs: int, tenths: int = 10) -> list[Row]:
    """Score the fields of a folder, and return what was used after each tenth of them."""
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as place:
        fields, out = Path(place) / "fields", Path(place) / "out"
        linked([source.path for source in find_images([images])], n_fields, fields)

        def look(used: Usage, line: str) -> None:
            event = json.loads(line)
            done = event.get("done", 0) if event.get("stage") == "images" else 0
            if done * tenths >= n_fields * len(rows):
                rows.append(_row(done, used, out))

        words = ["score", fields, "--out", out, "--jobs", jobs, "--device", "cpu", "--events", "jsonl"]
        used = run_watched(words, on_line=look)
        rows.append(_row(n_fields, used, out))
    return rows


def _row(done: int, used: Usage, out: Path) -> Row:
    return {
        "fields": done,
        "processor_s": used.processor_s,
        "memory_gb": used.shared_once_gb,
        "peak_gb": used.peaks[1],
        "megabytes": bytes_in(out) / 1e6 if out.is_dir() else 0.0,
    }


def slope(rows: list[Row], name: str) -> tuple[float, float]:
    """Return the slope by field and the intercept of the line through the second half of the rows."""
    late = [row for row in rows if row["fields"] * 2 >= rows[-1]["fields"]]
    by_field, start = np.polyfit([row["fields"] for row in late], [row[name] for row in late], 1)
    return float(by_field), float(start)


def main(arguments: list[str] | None = None) -> None:
    """Print a row for each tenth of the run, and what more fields would take."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("images", type=Path)
    parser.add_argument("--fields", type=int, default=200)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--extrapolate", type=int, default=20_000)
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args(arguments)
    rows = measure(chosen.images, chosen.fields, chosen.jobs)
    print("  fields  processor s  memory GB  peak GB  results MB")
    for row in rows:
        print(
            f"{row['fields']:8.0f}  {row['processor_s']:11.1f}  {row['memory_gb']:9.2f}"
            f"  {row['peak_gb']:7.2f}  {row['megabytes']:10.2f}"
        )
    running = [row for row in rows if row["fields"] < chosen.fields]  # processes end with the last
    n = chosen.extrapolate
    (seconds, start), (memory, base) = slope(running, "processor_s"), slope(running, "memory_gb")
    print(f"{seconds:.2f} s of the processor and {memory * 1e3:.2f} MB of memory a field, after the start")
    size_gb = rows[-1]["megabytes"] / chosen.fields * n / 1e3
    print(
        f"{n:,} fields, extrapolated: {(seconds * n + start) / 3600:.1f} h of the processor, "
        f"{memory * n + base:.1f} GB of memory, {size_gb:.1f} GB of results"
    )
    if chosen.json:
        chosen.json.write_text(json.dumps(rows, indent=2), encoding="utf-8")


if __name__ == "__main__":
    main()
