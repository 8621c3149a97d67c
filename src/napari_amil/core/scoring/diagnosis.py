"""Facts about the installation: packages, devices, and a test of a bundle on a synthetic smear."""

from __future__ import annotations

import time
from pathlib import Path

import torch

from napari_amil.core.base.events import drain
from napari_amil.core.base.outputs import environment
from napari_amil.core.cohort.synth import synthetic_smear
from napari_amil.core.instances.extract import Recipe, detect_field
from napari_amil.core.model.bundle import load_bundle
from napari_amil.core.model.card import starter_path
from napari_amil.core.scoring.score import measured_field, score_bag


def diagnose(bundle_path: Path | None) -> dict[str, str]:
    """Return facts about this installation; the last ones come from scoring a synthetic smear.

    Raises
    ------
    BundleError
        If the bundle cannot be used.
    """
    facts = environment()
    cuda = torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
    facts |= {"cuda": cuda, "mps": "yes" if torch.backends.mps.is_available() else "none"}
    facts |= {"threads": str(torch.get_num_threads()), "bundle": str(bundle_path or starter_path())}
    recipe = Recipe.from_bundle(load_bundle(bundle_path), None, torch.device("cpu"))
    smear = synthetic_smear(0)
    started = time.perf_counter()
    cells = drain(detect_field(smear.image, recipe)).select(recipe.settings.selection)
    facts["detection"] = (
        f"{len(cells)} of {len(smear.cells)} synthetic cells in {time.perf_counter() - started:.1f} s"
    )
    if recipe.bundle.scorer is not None:
        started = time.perf_counter()
        known = drain(measured_field(smear.image, cells, recipe))
        _, bag = score_bag("synthetic", {"smear": cells}, known, recipe)
        facts["scoring"] = (
            f"{bag.n_cells} cells in {time.perf_counter() - started:.1f} s, called {bag.predicted}"
        )
    return facts
