from __future__ import annotations

import numpy as np
import pytest

from napari_amil.plugin.colour.legend import scale_ticks, ticks
from napari_amil.plugin.layers import colour_scale as _colours


@pytest.mark.parametrize("name", [*_colours.SEQUENTIAL_MAPS, *_colours.DIVERGING_MAPS])
def test_what_is_not_scored_is_black_visible_and_untinted(name: str) -> None:
    scale = _colours.ColourScale("anomaly", 0, 1, name)
    values = np.array([np.nan, 0.0, 0.5, 1.0, np.inf, -np.inf])
    edge, face = scale.edge_rgba(values), scale.face_rgba(values)
    np.testing.assert_array_equal(edge[0], _colours.UNSCORED_RGBA)
    assert (edge[:, 3] == 1).all()
    assert face[0, 3] == 0
    assert np.isfinite(edge).all()
    assert np.isfinite(face).all()


@pytest.mark.parametrize("name", _colours.SEQUENTIAL_MAPS)
def test_no_score_has_the_colour_of_no_score(name: str) -> None:
    colours = _colours.map_colours(name, np.linspace(0, 1, 101))
    assert np.abs(colours[:, :3] - _colours.UNSCORED_RGBA[:3]).max(axis=1).min() > 0.04


@pytest.mark.parametrize("red", [(91, 80, 113), (157, 96, 111), (201, 163, 165)])
def test_cells_without_a_score_are_seen_on_red_cells(red: tuple[int, int, int]) -> None:
    """Median colours of red cells of three microscopes; a contrast of 1 is none."""
    shades = [_luminance(np.array(red) / 255), _luminance(np.array(_colours.UNSCORED_RGBA[:3]))]
    assert (max(shades) + 0.05) / (min(shades) + 0.05) > 2.5


def _luminance(colour: np.ndarray) -> float:
    """Return the relative luminance of an sRGB colour (WCAG 2.1)."""
    linear = np.where(colour <= 0.03928, colour / 12.92, ((colour + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def test_values_beyond_the_ends_take_the_end_colours() -> None:
    scale = _colours.ColourScale("anomaly", 2, 4, "plasma")
    inside = scale.edge_rgba(np.array([2.0, 4.0]))
    np.testing.assert_array_equal(scale.edge_rgba(np.array([-9.0, 99.0])), inside)


def test_a_percentile_always_runs_from_an_ordinary_cell_to_100() -> None:
    scale = _colours.default_scale("anomaly_percentile", np.array([3.0, 4.0, np.nan]))
    assert (scale.low, scale.high) == (50, 100)


def test_equal_steps_of_rarity_have_equal_steps_of_colour() -> None:
    """A cell more ordinary than one control in ten lies in the lowest fifth of the map."""
    scale = _colours.default_scale("anomaly_percentile", np.empty(0))
    place = scale.position(np.array([50.0, 90.0, 99.0, 99.9, 99.99, 100.0, np.nan]))
    assert place[:1] == pytest.approx(0)
    assert np.diff(place[1:5]) == pytest.approx([1 / (4 - np.log10(2))] * 3)
    assert place[1] < 0.2
    assert place[4:6] == pytest.approx([1, 1])
    assert np.isnan(place[6])
    assert scale_ticks(scale) == [50, 90, 99, 99.9, 99.99]
    plain = _colours.ColourScale("anomaly", 2, 4, "plasma")
    assert plain.position(np.array([3.0])) == pytest.approx(0.5)


def test_a_distance_starts_with_round_ends_around_its_first_cells() -> None:
    scale = _colours.default_scale("anomaly", np.append(np.linspace(3.3, 17.2, 500), np.nan))
    assert (scale.low, scale.high) == (3, 17)


@pytest.mark.parametrize("values", [np.empty(0), np.array([np.nan]), np.array([2.0, 2.0])])
def test_scales_exist_for_no_cell_and_for_equal_cells(values: np.ndarray) -> None:
    for column in ("anomaly", "attention", "contribution_control"):
        scale = _colours.default_scale(column, values)
        assert scale.low < scale.high


def test_a_signed_score_has_a_diverging_map_with_zero_in_the_middle() -> None:
    scale = _colours.default_scale("contribution_control", np.array([-0.3, 0.1]))
    assert scale.low == -scale.high
    assert scale.colormap in _colours.DIVERGING_MAPS
    assert scale.face_rgba(np.array([0.0]))[0, 3] == 0


@pytest.mark.parametrize(("low", "high"), [(1.0, 1.0), (2.0, 1.0), (np.nan, 1.0), (0.0, np.inf)])
def test_impossible_ends_are_refused(low: float, high: float) -> None:
    with pytest.raises(ValueError, match="finite low < high"):
        _colours.ColourScale("anomaly", low, high, "plasma")


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 100, [0, 20, 40, 60, 80, 100]),
        (3, 17, [5, 10, 15]),
        (-0.5, 0.5, [-0.4, -0.2, 0, 0.2, 0.4]),
        (0, 3, [0, 1, 2, 3]),
    ],
)
def test_ticks_are_round_and_few(low: float, high: float, expected: list[float]) -> None:
    assert ticks(low, high) == pytest.approx(expected)
