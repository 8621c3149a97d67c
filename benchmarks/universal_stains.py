"""One network for three stains against one network for each, with and without domain constraints (MADDR).

Usage: python -m benchmarks.universal_stains CHULA_SLIDES --out FOLDER [--model memae] [--steps 1500]
       [--seeds 0 1 2]

Three stains are made of the same normalised cells: the optical density of each colour is multiplied by a
factor, as the stain augmentation does (`napari_amil.core.training.augment`), so that the stain is all that
differs. Networks learn from the control cells of folds 0 and 1 in all stains (universal) or in one
(specific); a universal network takes three times the steps, since it has three times the cells. Tested are
labelled cells of fold 2 (`benchmarks.anomaly_models`) in each stain: the mean over kinds of the area under
the ROC curve against normal cells of the same stain. The probe is a logistic regression that tells the
stain from the shared part of the code, z_a, all but the ten numbers that the stain has for itself; it
learns from the control cells and is tested on the normal cells of fold 2 (chance is a third), and once more
after the directions in which the mean of z_a differs by stain were taken out (`eraser`). FOLDER is that of
`benchmarks.anomaly_models`, whose cells are taken if they lie there; what was computed is kept.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from benchmarks.anomaly_models import CPU, NORMAL, BenchmarkCells, areas, measured_cells, print_epoch, split
from napari_amil.core.anomaly.channels import RECONSTRUCTIONS
from napari_amil.core.anomaly.reconstruction.cell_images import CellImages
from napari_amil.core.anomaly.reconstruction.scorer import ReconstructionScorer
from napari_amil.core.anomaly.scorer import CellInputs
from napari_amil.core.base.events import drain
from napari_amil.core.base.settings import RunSettings

STAINS = {
    "plain": (1.0, 1.0, 1.0),
    "pale": tuple(np.exp([-0.30, -0.45, -0.60])),
    "strong": tuple(np.exp([0.30, 0.45, 0.60])),
}
"""Factor on the optical density of red, green and blue; all within two deviations of the augmentation."""
CONSTRAINTS: dict[str, dict[str, Any]] = {
    "none": {"domain_weight": 0.0, "center_weight": 0.0},
    "classification": {"center_weight": 0.0},
    "centre": {"domain_weight": 0.0},
    "both": {},
}
_DOMAIN, _PROBES = "stain", ("probe", "erased")


def stained(cells: CellInputs, stain: str) -> CellInputs:
    """Return cells in another stain, which is their domain."""
    assert cells.pixels is not None
    pixels = cells.pixels.copy()
    factor = np.array(STAINS[stain], dtype=np.float32)[:, None, None]
    colour = np.maximum(pixels[:, :3].astype(np.float32) / 255, 1e-3) ** factor
    pixels[:, :3] = (255 * colour).round()
    return CellInputs(pixels=pixels, domains={_DOMAIN: np.full(len(pixels), stain)})


def joined(parts: list[CellInputs]) -> CellInputs:
    """Return the cells of several stains, one after the other."""
    pixels = np.concatenate([part.pixels for part in parts if part.pixels is not None])
    return CellInputs(
        pixels=pixels, domains={_DOMAIN: np.concatenate([part.domains[_DOMAIN] for part in parts])}
    )


def shared_code(scorer: ReconstructionScorer, cells: CellInputs) -> NDArray[np.float32]:
    """Return ``z_a (n_cells, k - 10)`` of cells with an outline, averaged over the places of the code."""
    assert cells.pixels is not None
    training = scorer.training_of(scorer.net).eval()
    found = []
    with torch.inference_mode():
        for part in torch.from_numpy(cells.pixels).split(256):
            code = training.latent(CellImages.from_pixels(part, scorer.network).x)
            found.append(code.flatten(2).mean(dim=2) if code.ndim > 2 else code)
    return torch.cat(found)[:, scorer.network.domain_dim :].numpy()


def probed(scorer: ReconstructionScorer, known: CellInputs, tested: CellInputs) -> dict[str, float]:
    """Return the share of cells whose stain a linear probe tells from ``z_a``, and after `eraser`."""
    z, stains = shared_code(scorer, known), known.domains[_DOMAIN]
    new, truth = shared_code(scorer, tested), tested.domains[_DOMAIN]
    erase = eraser(z, stains)
    found = {}
    for name, change in (("probe", lambda values: values), ("erased", erase)):
        teller = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
        found[name] = float(teller.fit(change(z), stains).score(change(new), truth))
    return found


def eraser(
    z: NDArray[np.float32], stains: NDArray[np.str_]
) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
    """Return the least change of codes after which their mean is the same in all stains.

    ``z - W^-1 P W (z - m)``, with ``W`` the whitening and ``P`` the projection on the whitened means of the
    stains: no linear probe can do better than chance on these codes (Belrose et al. 2023).
    """
    center = z.mean(axis=0)
    values, axes = np.linalg.eigh(np.cov(z.T) + 1e-9 * np.eye(z.shape[1]))
    means = np.stack([z[stains == name].mean(axis=0) - center for name in np.unique(stains)])
    whitened = (means @ axes) / np.sqrt(values)  # (stains, k)
    basis = np.linalg.svd(whitened, full_matrices=False)[2][: len(means) - 1]
    back = (basis * np.sqrt(values)) @ axes.T

    def erase(codes: NDArray[np.float32]) -> NDArray[np.float32]:
        return codes - (((codes - center) @ axes) / np.sqrt(values)) @ basis.T @ back

    return erase


def trained(
    given: argparse.Namespace, seed: int, changes: dict[str, Any], known: CellInputs
) -> ReconstructionScorer:
    """Return a network trained on cells."""
    settings = RunSettings().changed({"model": {"networks": {given.model: changes}}}).model
    scorer = RECONSTRUCTIONS[given.model](settings)
    drain(scorer.fit(known, seed, CPU), print_epoch)
    return scorer


def mean_area(scorer: ReconstructionScorer, cells: CellInputs, types: NDArray[np.str_]) -> float:
    """Return the mean area under the ROC curve over all kinds."""
    return float(np.mean([*areas(scorer.score(cells), types).values()]))


def one_seed(given: argparse.Namespace, cells: BenchmarkCells, seed: int) -> dict[str, Any]:
    """Return ``row -> stain -> area``, and the probe, of one seed; stored results are reused."""
    kept = given.out / f"universal-{given.model}-{given.steps}-{seed}.json"
    rows: dict[str, Any] = json.loads(kept.read_text()) if kept.exists() else {}
    controls, test, _ = split(cells, given.test_fold)
    plain, tested = cells.inputs(controls), cells.inputs(test)
    types = cells.table["cell_type"].to_numpy(np.str_)[test]
    assert tested.pixels is not None
    normal = tested.take((types == NORMAL) & (tested.pixels[:, 3].max(axis=(1, 2)) > 0))
    every, healthy = (joined([stained(some, stain) for stain in STAINS]) for some in (plain, normal))
    for name, changes in CONSTRAINTS.items():
        if name in rows:
            continue
        wanted = {"steps": 3 * given.steps, "domains": [_DOMAIN], **changes}
        scorer = trained(given, seed, wanted, every)
        found = {stain: mean_area(scorer, stained(tested, stain), types) for stain in STAINS}
        rows[name] = found | probed(scorer, every, healthy)
        kept.write_text(json.dumps(rows, indent=1))
    if "specific" not in rows:
        found = {}
        for stain in STAINS:
            own = replace(stained(plain, stain), domains={})
            scorer = trained(given, seed, {"steps": given.steps}, own)
            found[stain] = mean_area(scorer, stained(tested, stain), types)
        rows["specific"] = found
        kept.write_text(json.dumps(rows, indent=1))
    return rows


def table(runs: list[dict[str, Any]]) -> str:
    """Return the means over the seeds in Markdown."""
    head = ["constraints", *STAINS, "mean", "- specific", "probe", "after erasure"]
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    specific = np.mean([[run["specific"][stain] for stain in STAINS] for run in runs])
    for name in (*CONSTRAINTS, "specific"):
        values = np.mean([[run[name][stain] for stain in STAINS] for run in runs], axis=0)
        probes = [[run[name][key] for key in _PROBES] for run in runs if _PROBES[0] in run[name]]
        numbers = [f"{value:.3f}" for value in (*values, values.mean())]
        numbers += [f"{values.mean() - specific:+.3f}"]
        numbers += [f"{value:.2f}" for value in np.mean(probes, axis=0)] if probes else [""] * len(_PROBES)
        lines.append(f"| {name} | {' | '.join(numbers)} |")
    return "\n".join(lines)


def main() -> None:
    """Train, test and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--model", default="memae", choices=list(RECONSTRUCTIONS))
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--most", type=int, default=150)
    given = parser.parse_args(namespace=argparse.Namespace(test_fold=2))
    given.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    cells = measured_cells(given)
    runs = []
    for seed in given.seeds:
        runs.append(one_seed(given, cells, seed))
        print(table(runs), flush=True)


if __name__ == "__main__":
    main()
