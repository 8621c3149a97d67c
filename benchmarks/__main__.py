"""Run benchmarks: ``python -m benchmarks [NAME [options]]``; without a name all that need no data."""

from __future__ import annotations

import sys

from benchmarks import (
    colouring,
    detect_latency,
    detection_speed,
    gallery,
    mahalanobis,
    panels,
    project,
    training,
)

BENCHMARKS = {
    "colouring": colouring.main,
    "detect_latency": detect_latency.main,
    "detection_speed": detection_speed.main,
    "gallery": gallery.main,
    "mahalanobis": mahalanobis.main,
    "panels": panels.main,
    "project": project.main,
    "training": training.main,
}

if len(sys.argv) > 1:
    BENCHMARKS[sys.argv[1]](sys.argv[2:])
else:
    for name, main in BENCHMARKS.items():
        print(f"== {name}", flush=True)
        main([])
