"""Bundles of format 2 give the scores that they gave."""

from __future__ import annotations

import numpy as np
import pytest
import safetensors
import torch
from safetensors.torch import load_file
from scipy.special import log_ndtr, ndtri_exp

from napari_amil.core.model.bundle import load_bundle
from napari_amil.core.model.card import starter_path
from napari_amil.core.model.format_2 import converted

PLACES = {
    "gaussian/": "channels/latent_distance/gaussian.",
    "moments/": "channels/latent_distance/moments.",
    "morphology/": "channels/morph_distance/statistics.",
    "refits/": "channels/morph_distance/refits.",
    "calibration/": "calibrations/anomaly/",
    "novelty/": "novelty/",
}


def test_the_starter_has_the_joint_distance_of_two_channels_to_the_last_bit() -> None:
    with safetensors.safe_open(starter_path(), "np") as stored:
        assert stored.metadata()["format_version"] == "2"
    tensors = load_file(starter_path())
    center, spread = (tensors[f"joint/{name}"].tolist() for name in ("center", "spread"))
    weight = float(tensors["joint/weight"])
    latent, shape = np.random.default_rng(0).uniform(0.5, 40, (2, 500))
    logs = [log_ndtr((center[i] - np.log(d)) / spread[i]) for i, d in enumerate((latent, shape))]
    both = np.logaddexp(np.log(1.0 - weight) + logs[0], np.log(weight) + logs[1])
    share = np.minimum(np.minimum(both, logs[0] - np.log(1 / 256)), 0.0)
    expected = np.exp(center[0] - spread[0] * ndtri_exp(share))
    anomaly = load_bundle().need_scorer().anomaly
    found = anomaly.anomaly({"latent_distance": latent, "morph_distance": shape})
    np.testing.assert_array_equal(found, expected)


def test_every_fitted_tensor_of_the_starter_is_kept() -> None:
    tensors, names = load_bundle().need_scorer().anomaly.state()
    stored = load_file(starter_path())
    for old, new in PLACES.items():
        own = {name.removeprefix(old): value for name, value in stored.items() if name.startswith(old)}
        assert own, old
        for name, value in own.items():
            if bool(value.isnan().all()):  # a number that was not known
                assert new + name not in tensors
                continue
            assert torch.equal(tensors[new + name].double(), value.double()), name
    assert names["joined"] == ["latent_distance", "morph_distance"]


def test_unknown_numbers_and_classes_without_a_bag_are_written_without_nan() -> None:
    old = {
        "gaussian/mean": torch.zeros(2),
        "calibration/in_sample": torch.tensor(torch.nan),
        "novelty/means": torch.tensor([[1.0, 2.0], [torch.inf, torch.inf], [torch.nan, 0.0]]),
        "model/weight": torch.ones(1),
    }
    header, tensors = converted({"classes": ["a", "b"]}, old)
    assert header["anomaly"] == {
        "channels": ["latent_distance"],
        "joined": ["latent_distance"],
        "calibrations": ["anomaly"],
        "n_networks": 0,
    }
    assert set(tensors) == {
        "anomaly/channels/latent_distance/gaussian.mean",
        "anomaly/novelty/means",
        "anomaly/novelty/known",
        "model/weight",
    }
    assert tensors["anomaly/novelty/known"].tolist() == [True, False, True]
    assert tensors["anomaly/novelty/means"][:2].tolist() == [[1.0, 2.0], [0.0, 0.0]]
    assert bool(tensors["anomaly/novelty/means"][2].isnan().any())  # damage stays visible


@pytest.mark.parametrize("weight", [0.25, 0.5])
def test_the_weight_of_measurements_becomes_that_of_two_channels(weight: float) -> None:
    old = {
        "morphology/mean": torch.zeros(2),
        "joint/weight": torch.tensor(weight, dtype=torch.float64),
        "joint/center": torch.zeros(2),
    }
    header, tensors = converted({}, old)
    assert tensors["anomaly/joint/weights"].tolist() == [1.0 - weight, weight]
    assert tensors["anomaly/joint/alone"].tolist() == [True, False]
    assert header["anomaly"]["joined"] == ["latent_distance", "morph_distance"]
