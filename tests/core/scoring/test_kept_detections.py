"""A stopped detection goes on; what was found before is taken over unchanged."""

from __future__ import annotations

from pathlib import Path

import PIL.Image

from napari_amil.core.base.events import Event, Step, Warned, drain
from napari_amil.core.cohort.synth import SynthSettings, synthetic_smear
from napari_amil.core.images.read import find_images
from napari_amil.core.instances.extract import Recipe
from napari_amil.core.scoring.detect import cell_table, detect_images
from napari_amil.core.scoring.kept_detections import KeptDetections


def test_a_stopped_detection_goes_on(recipe: Recipe, tmp_path: Path) -> None:
    for seed in range(2):
        smear = synthetic_smear(seed, SynthSettings(height=120, width=150, n_cells=6))
        PIL.Image.fromarray(smear.image).save(tmp_path / f"{seed}.png")
    sources = find_images([tmp_path / "0.png", tmp_path / "1.png"])
    kept = KeptDetections.beside(tmp_path / "out", recipe, None)
    running = detect_images(sources, recipe, kept)
    while not (isinstance(event := next(running), Step) and event.done == 1):
        pass
    running.close()
    assert len(list(kept.folder.glob("*.npz"))) == 1

    told: list[Event] = []
    found = drain(detect_images(sources, recipe, kept), told.append)
    assert Warned("1 of 2 images were searched before and are taken over.") in told
    assert cell_table(found).equals(cell_table(drain(detect_images(sources, recipe))))
    assert list(found) == [source.name for source in sources]

    PIL.Image.new("RGB", (150, 120), (240, 230, 235)).save(tmp_path / "0.png")
    assert kept.read(sources[0]) is None
    next(kept.folder.glob("*.npz")).write_bytes(b"torn")
    kept.drop()
    assert kept.read(sources[1]) is None


def test_other_settings_take_nothing_over(recipe: Recipe, tmp_path: Path) -> None:
    other = recipe.settings.changed({"selection": {"min_score": 0.9}})
    first = KeptDetections.beside(tmp_path, recipe, None)
    second = KeptDetections.beside(tmp_path, Recipe(recipe.bundle, other, recipe.device), None)
    assert first.made_by != second.made_by
    assert first.made_by == KeptDetections.beside(tmp_path, recipe, None).made_by
