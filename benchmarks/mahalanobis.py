"""Time of Mahalanobis distances against the matrix product in them, in one process.

Usage: python benchmarks/mahalanobis.py [--cells 100000] [--dimensions 500] [--threads 2] [--rounds 7]

``d_n = ||L^T (z_n - mu)||`` cannot be had without the product of ``(n_cells, k)`` and ``(k, k)``. The methods
take turns, round after round; the median of each counts. The distance is computed in float64 on float32
embeddings. What float32 would save, and what error it would bring, is printed beside it: where dimensions
follow from one another, as they do in a trained network, the factor L is large, and differences of large
numbers are small.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from napari_amil.core.anomaly.gaussian.mahalanobis import LatentGaussian
from napari_amil.core.base.settings import ModelSettings

OURS = "napari-amil, float64"
PRODUCT = "matrix product, float64"
IN_SINGLE = "the same in float32"
PRODUCT_SINGLE = "matrix product, float32"
N_CONTROL = 5000
NOISE = 1e-3


def embeddings(n_cells: int, n_dimensions: int) -> Tensor:
    """Return embeddings ``(n_cells, n_dimensions)``, float32; half the dimensions follow from the others."""
    generator = torch.Generator().manual_seed(0)
    rank = n_dimensions // 2
    mixing = torch.randn(rank, n_dimensions, generator=generator) / rank**0.5
    z = torch.randn(n_cells, rank, generator=generator) @ mixing
    return z + NOISE * torch.randn(n_cells, n_dimensions, generator=generator)


def single(gaussian: LatentGaussian, z: Tensor) -> Tensor:
    """Return the distances computed in float32."""
    return torch.linalg.vector_norm((z - gaussian.mean.float()) @ gaussian.factor.float(), dim=1)


def take_turns(methods: dict[str, Callable[[], Tensor]], rounds: int) -> dict[str, float]:
    """Return the median seconds of each method."""
    for method in methods.values():
        method()  # the first run warms up
    seconds: dict[str, list[float]] = {name: [] for name in methods}
    for _ in range(rounds):
        for name, method in methods.items():
            start = time.perf_counter()
            method()
            seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(times) for name, times in seconds.items()}


def main(arguments: list[str] | None = None) -> None:
    """Print one row per method, and the error of float32."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cells", type=int, default=100_000)
    parser.add_argument("--dimensions", type=int, default=500)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args(arguments)
    torch.set_num_threads(chosen.threads)
    z = embeddings(chosen.cells, chosen.dimensions)
    gaussian = LatentGaussian(chosen.dimensions)
    gaussian.fit(z[:N_CONTROL], ModelSettings(shrinkage="none", roundness=0.0))
    double, factor = z.double(), gaussian.factor
    methods = {
        OURS: lambda: gaussian.distance(z),
        PRODUCT: lambda: double @ factor,
        IN_SINGLE: lambda: single(gaussian, z),
        PRODUCT_SINGLE: lambda: z @ factor.float(),
    }
    seconds = take_turns(methods, chosen.rounds)
    exact = torch.linalg.vector_norm((double - gaussian.mean) @ factor, dim=1)
    errors = {name: float(((methods[name]() - exact) / exact).abs().max()) for name in (OURS, IN_SINGLE)}
    print(f"{chosen.cells} cells in {chosen.dimensions} dimensions, {chosen.threads} threads")
    for name, value in seconds.items():
        error = f"  largest relative error {errors[name]:.1e}" if name in errors else ""
        print(f"{name:26} {value:7.3f} s  {value / seconds[PRODUCT]:5.2f} x the product{error}")
    if chosen.json:
        chosen.json.write_text(json.dumps({"seconds": seconds, "errors": errors}, indent=2), encoding="utf-8")


if __name__ == "__main__":
    main()
