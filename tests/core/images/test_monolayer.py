"""The monolayer of a made-up slide is found among thick, feathered and blurred zones."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from napari_amil.core.base.errors import ImageError
from napari_amil.core.base.events import drain
from napari_amil.core.cohort.slide_synth import BLOCK_PX, ZONES, SyntheticSlide
from napari_amil.core.images.fields import ArrayField
from napari_amil.core.images.monolayer import find_monolayer, look
from napari_amil.core.images.slide import Slide, open_slide

SIDE = 5 * BLOCK_PX


@pytest.fixture(scope="module")
def drawn() -> SyntheticSlide:
    """A slide of five blocks a side: glass on top, then thick, ideal (two), feathered and blurred ones."""
    zones = np.tile(np.array([1, 2, 2, 3, 4], np.uint8), (5, 1))
    zones[0] = 0
    return SyntheticSlide(zones, variants=1)


@pytest.fixture(scope="module")
def slide(drawn: SyntheticSlide, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slide]:
    path = tmp_path_factory.mktemp("slide") / "slide.ome.tif"
    drawn.write(path, SIDE)
    with open_slide(path) as opened:
        yield opened


def test_the_levels_of_a_made_up_slide_show_its_zones(slide: Slide, drawn: SyntheticSlide) -> None:
    assert [level.shape[0] for level in slide.levels] == [SIDE, SIDE // 4, SIDE // 16, SIDE // 64]
    for y, x in ((2, 0), (3, 2), (1, 3), (0, 4)):
        window = slice(y * BLOCK_PX, (y + 1) * BLOCK_PX), slice(x * BLOCK_PX, (x + 1) * BLOCK_PX)
        shown = drawn.block_of(int(drawn.zones[y, x]), 0).mean()
        for level, tolerance in ((0, 0.5), (1, 0.5), (3, 2.0)):
            assert slide.read(*window, slide.shrink(level)).mean() == pytest.approx(shown, abs=tolerance)


def test_each_zone_looks_as_it_should(drawn: SyntheticSlide) -> None:
    seen = {
        name: look(drawn.block_of(ZONES.index(name), 0)[:800:2, :800:2], 20.0)
        for name in ("thick", "ideal", "feathered", "blurred")
    }
    assert seen["thick"]["apart"] < 0.1 < 0.9 < seen["ideal"]["apart"]
    assert seen["feathered"]["pallor"] < 0.06 < 0.3 < seen["ideal"]["pallor"]
    assert seen["blurred"]["sharpness"] < 0.5 * seen["ideal"]["sharpness"]
    assert 0.3 < seen["ideal"]["coverage"] < 0.45


def test_the_best_squares_lie_in_the_ideal_zone(slide: Slide, drawn: SyntheticSlide) -> None:
    found = drain(find_monolayer(slide, 3))
    assert found.diameter_px == pytest.approx(7.5 / 0.19)
    taken = found.squares.head(3)
    assert taken["monolayer"].all()
    corners = [
        (y + dy, x + dx) for y, x, s in taken[["y", "x", "side"]].to_numpy() for dy in (1, s) for dx in (1, s)
    ]
    assert {drawn.zone_at(y, x) for y, x in corners} == {"ideal"}
    centres = found.squares[["y", "x"]].to_numpy() + found.squares[["side"]].to_numpy() / 2
    zones = np.array([drawn.zone_at(*centre) for centre in centres])
    assert set(zones[found.squares["monolayer"].to_numpy()]) == {"ideal"}
    assert found.overview.shape == (48, 48, 3)


def test_a_small_image_and_bare_glass_are_refused(tmp_path: Path) -> None:
    for pixels, reason in ((100, "smaller than one field"), (900, "glass alone")):
        slide = Slide(tmp_path / "a.tif", (ArrayField(np.full((pixels, pixels, 3), 230, np.uint8)),))
        with pytest.raises(ImageError, match=reason):
            drain(find_monolayer(slide, 1, 40.0))
