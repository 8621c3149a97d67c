"""Settings name registered channels, and the channels share the weight of the anomaly."""

from __future__ import annotations

import pytest

from napari_amil.core.anomaly.channels import active_channels, channel_weights, column_of, reads_pixels
from napari_amil.core.base.errors import SettingsError
from napari_amil.core.base.settings import ModelSettings


def test_names_that_are_not_registered_are_refused_with_those_that_are() -> None:
    with pytest.raises(SettingsError, match=r"named 'dreams'.*latent_distance, morph_distance"):
        active_channels(ModelSettings(channels=("latent_distance", "dreams")))


@pytest.mark.parametrize("names", [(), ("morph_distance",), ("latent_distance", "latent_distance")])
def test_the_latent_distance_comes_first_and_none_twice(names: tuple[str, ...]) -> None:
    with pytest.raises(SettingsError, match="must begin with 'latent_distance'"):
        active_channels(ModelSettings(channels=names))


@pytest.mark.parametrize(
    ("names", "weights"),
    [
        (["latent_distance"], [1.0]),
        (["latent_distance", "morph_distance"], [0.7, 0.3]),
        (["latent_distance", "morph_distance", "latent_distance"], [0.35, 0.3, 0.35]),
    ],
)
def test_measurements_have_their_weight_and_the_others_share_the_rest(
    names: list[str], weights: list[float]
) -> None:
    assert channel_weights(names, 0.3) == weights


def test_the_first_two_channels_keep_their_columns_and_need_no_pixels() -> None:
    assert [column_of(name) for name in active_channels(ModelSettings())] == [
        "latent_distance",
        "morph_distance",
    ]
    assert not reads_pixels(ModelSettings())
