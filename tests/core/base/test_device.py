"""The device is the wanted one or a sentence; a seed makes everything repeat."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch

from napari_amil.core.base.device import device_names, pick_device, seed_everything
from napari_amil.core.base.errors import DeviceError


def present(monkeypatch: pytest.MonkeyPatch, cuda: bool, mps: bool) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)


@pytest.mark.parametrize(
    ("cuda", "mps", "chosen"),
    [(True, True, "cuda"), (True, False, "cuda"), (False, True, "mps"), (False, False, "cpu")],
)
def test_auto_takes_the_fastest(cuda: bool, mps: bool, chosen: str, monkeypatch: pytest.MonkeyPatch) -> None:
    present(monkeypatch, cuda, mps)
    assert pick_device() == torch.device(chosen)
    assert pick_device("cpu") == torch.device("cpu")


def test_a_missing_device_is_refused_with_those_found(monkeypatch: pytest.MonkeyPatch) -> None:
    present(monkeypatch, cuda=False, mps=True)
    assert pick_device("mps") == torch.device("mps")
    with pytest.raises(DeviceError, match=r"No 'cuda' device was found here \(found: mps, cpu\)"):
        pick_device("cuda")


def test_an_unknown_device_is_refused() -> None:
    with pytest.raises(DeviceError, match="no device called 'gpu'; choose auto, cpu, cuda or mps"):
        pick_device("gpu")


def draws() -> tuple[float, float, float]:
    return random.random(), float(np.random.rand()), float(torch.rand(1))  # noqa: NPY002


@pytest.mark.parametrize("seed", [0, 7, 2**40])
def test_a_seed_makes_everything_repeat(seed: int) -> None:
    seed_everything(seed)
    first = draws()
    assert draws() != first
    seed_everything(seed)
    assert draws() == first
    seed_everything(seed + 1)
    assert draws() != first


def test_the_processor_is_always_a_device() -> None:
    assert device_names()["cpu"].startswith("Processor")
