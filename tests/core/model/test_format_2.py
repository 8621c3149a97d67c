"""Bundles of format 2 give the scores that they gave."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from scipy.special import log_ndtr, ndtri_exp

from napari_amil.core.anomaly.joint import JointDistance
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


@pytest.fixture(scope="module")
def old() -> dict[str, torch.Tensor]:
    """The tensors of the starter bundle as format 2 named them."""
    found = {}
    for name, value in load_file(starter_path()).items():
        places = [old for old, new in PLACES.items() if name.startswith(f"anomaly/{new}")]
        if name.startswith("anomaly/") and places:
            found[places[0] + name.removeprefix(f"anomaly/{PLACES[places[0]]}")] = value
        elif name in {"anomaly/joint/center", "anomaly/joint/spread"}:
            found[name.removeprefix("anomaly/")] = value
        elif name == "anomaly/joint/weights":
            found["joint/weight"] = value[1]
    assert {name.partition("/")[0] for name in found} == {old.rstrip("/") for old in PLACES} | {"joint"}
    return found


def test_the_joint_distance_of_two_channels_is_kept_to_the_last_bit(old: dict[str, torch.Tensor]) -> None:
    center, spread = (old[f"joint/{name}"].tolist() for name in ("center", "spread"))
    weight = float(old["joint/weight"])
    latent, shape = np.random.default_rng(0).uniform(0.5, 40, (2, 500))
    logs = [log_ndtr((center[i] - np.log(d)) / spread[i]) for i, d in enumerate((latent, shape))]
    both = np.logaddexp(np.log(1.0 - weight) + logs[0], np.log(weight) + logs[1])
    share = np.minimum(np.minimum(both, logs[0] - np.log(1 / 256)), 0.0)
    expected = np.exp(center[0] - spread[0] * ndtri_exp(share))
    _, tensors = converted({"classes": ["a", "b"]}, old)
    state = {
        n.removeprefix("anomaly/joint/"): v for n, v in tensors.items() if n.startswith("anomaly/joint/")
    }
    np.testing.assert_array_equal(JointDistance.from_state(state).distance([latent, shape]), expected)


def test_every_fitted_tensor_is_kept(old: dict[str, torch.Tensor]) -> None:
    header, tensors = converted({"classes": ["a", "b"]}, old)
    stored = load_file(starter_path())
    kept = {name for name in stored if name in tensors}
    assert len(kept) >= len(old)
    for name in kept:
        torch.testing.assert_close(tensors[name], stored[name], rtol=0, atol=0, msg=name)
    assert header["anomaly"]["joined"] == ["latent_distance", "morph_distance"]


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
