"""Shards of a cohort, merged, are the bytes of one run."""

from __future__ import annotations

from pathlib import Path

import PIL.Image
import pytest

from napari_amil.core.base.errors import AmilError, SettingsError
from napari_amil.core.base.events import Failed, collecting, drain
from napari_amil.core.cohort.synth import SynthSettings, synthetic_smear
from napari_amil.core.instances.extract import Recipe
from napari_amil.core.instances.sources import open_source
from napari_amil.core.scoring.score_folder import score_cohort
from napari_amil.core.scoring.shards import Shard, merge_shards, score_shard


def test_two_shards_make_the_bytes_of_one_run(recipe: Recipe, tmp_path: Path) -> None:
    images = tmp_path / "images"
    images.mkdir()
    for seed in range(2):
        smear = synthetic_smear(seed, SynthSettings(height=120, width=150, n_cells=6))
        PIL.Image.fromarray(smear.image).save(images / f"{seed}.png")
    (images / "0b.png").write_text("no image")
    source = open_source([images], "control")
    failed: dict[str, list[Failed]] = {"one": [], "merged": []}
    drain(collecting(score_cohort(source, recipe, None, tmp_path / "one"), failed["one"]))
    out = tmp_path / "shards"
    drain(score_shard(source, recipe, None, out, Shard(2, 2)))
    with pytest.raises(AmilError, match="Shard 1 of 2"):
        drain(merge_shards(out))
    assert drain(score_shard(source, recipe, None, out, Shard(1, 2))) == 1
    drain(collecting(merge_shards(out), failed["merged"]))
    assert failed["merged"] == failed["one"] != []
    for file in ("cells.csv", "bags.csv", "cells.npz", "project.json"):
        assert (out / file).read_bytes() == (tmp_path / "one" / file).read_bytes()
    assert not (out / "parts").exists()
    with pytest.raises(AmilError, match="holds no shards"):
        drain(merge_shards(out))


@pytest.mark.parametrize("text", ["0/3", "4/3", "3", "a/b", "-1/2", ""])
def test_a_shard_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(SettingsError, match="as in 2/8"):
        Shard.parse(text)


def test_a_shard_is_read() -> None:
    assert Shard.parse(" 2/8") == Shard(2, 8)
