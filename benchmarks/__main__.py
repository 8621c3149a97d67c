"""Run benchmarks: ``python -m benchmarks [NAME [options]]``; without a name all that need no data.

Each runs in a process of its own, as a user's window does, with nothing in it that it does not import.
"""

from __future__ import annotations

import subprocess
import sys

NAMES = (
    "colouring",
    "detect_latency",
    "detection_speed",
    "gallery",
    "mahalanobis",
    "panels",
    "project",
    "training",
)


def run(name: str, *options: str) -> int:
    """Run one benchmark and return its exit code."""
    return subprocess.run([sys.executable, "-m", f"benchmarks.{name}", *options], check=False).returncode


if __name__ == "__main__":
    if len(sys.argv) > 1:
        sys.exit(run(*sys.argv[1:]))
    for name in NAMES:
        print(f"== {name}", flush=True)
        run(name)
